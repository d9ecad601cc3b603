"""Fault plans: what is transferred, and what the network does to it. A plan follows from its seed.

Rules of this module:

* A plan is a value: the same seed makes the same plan, whatever machine it is made on.
* A fault strikes after a number of bytes, never after a time. (Of several channels, the quicker one
  takes more: there, the same plan may strike another packet.)
"""

from __future__ import annotations

import enum
import inspect
import math
import random
from dataclasses import dataclass, replace

from codecs_core import Sender

__all__ = ["CHECKSUM", "TIMEOUT", "Fault", "Kind", "Plan", "plan_of", "relay_plan_of"]

CHECKSUM = "checksum" in inspect.signature(Sender).parameters
"""Whether packets carry checksums. Without, only some bits are certain to be missed if flipped."""
TIMEOUT = 3.0
"""Seconds that a peer may be silent where somebody will have to wait for them."""


class Kind(enum.StrEnum):
    """What can happen to a connection."""

    CUT = "cut"
    """It is closed, both ways."""
    RESET = "reset"
    """It is closed by RST: what was on its way is lost."""
    TRUNCATE = "truncate"
    """One way ends as if its sender had closed it; what still comes is swallowed."""
    STALL = "stall"
    """One way stands still, for ``amount`` seconds."""
    DELAY = "delay"
    """Each of the next 20 pieces comes ``amount`` seconds later."""
    SPLIT = "split"
    """The next ``amount`` bytes come one by one."""
    FLIP = "flip"
    """Bit ``amount`` of the next byte is the other one."""
    REORDER = "reorder"
    """It reaches the other end after the connection that was opened behind it."""


@dataclass(frozen=True)
class Fault:
    """``kind`` strikes ``connection`` after ``at`` bytes, ``up`` to the receiver or back.

    Connections are counted as they are opened: 0 is the control connection.
    """

    kind: Kind
    connection: int
    at: int = 0
    up: bool = True
    amount: float = 0

    @property
    def harmless(self) -> bool:
        """Whether all bytes arrive, and in time."""
        if self.kind is Kind.STALL:
            return math.isfinite(self.amount)
        return self.kind in (Kind.DELAY, Kind.SPLIT, Kind.REORDER)

    def __str__(self) -> str:
        if self.kind is Kind.REORDER:
            return f"{self.kind} {self.connection}"
        amount = f" {self.amount:g}" if self.amount else ""
        return f"{self.kind} {self.connection}{'>' if self.up else '<'}{self.at}{amount}"


@dataclass(frozen=True)
class Plan:
    """A transfer and its faults. ``relay``: a migration through two relays, struck between them.

    ``pages`` of 4 KiB lie in each of ``blocks`` blocks of a ``kind``; ``rounds`` more send some
    of them again. Lost connections may take ``retry_for`` seconds to be made again.
    """

    seed: int
    relay: bool = False
    transport: str = "tcp"
    codec: str = "none"
    channels: int = 1
    kind: str = "memory"
    blocks: int = 1
    pages: int = 64
    rounds: int = 0
    faults: tuple[Fault, ...] = ()
    retry_for: float = 0

    @property
    def harmless(self) -> bool:
        """Whether the transfer must succeed."""
        return all(each.harmless for each in self.faults)

    @property
    def timeout(self) -> float:
        """Seconds that a peer may be silent: short only where somebody has to wait so long."""
        return 30.0 if self.harmless else TIMEOUT

    def __str__(self) -> str:
        what = "relay" if self.relay else f"{self.blocks}×{self.kind}"
        return (
            f"seed {self.seed}: {self.transport} {self.codec} {self.channels}ch {what} "
            f"{self.pages}p {self.rounds}r{' retried' if self.retry_for else ''}: "
            f"{', '.join(map(str, self.faults))}"
        )


_WEIGHTS = {
    Kind.CUT: 4,
    Kind.RESET: 4,
    Kind.TRUNCATE: 4,
    Kind.STALL: 5,
    Kind.DELAY: 2,
    Kind.SPLIT: 3,
    Kind.FLIP: 4,
    Kind.REORDER: 2,
}


def plan_of(seed: int) -> Plan:
    """The plan for a transfer between a sender and a receiver."""
    dice = random.Random(f"native {seed}")
    kind = dice.choice(("memory", "memory", "file", "stream"))
    channels = dice.randint(1, 4)
    plan = Plan(
        seed,
        transport=dice.choice(("tcp", "tcp", "unix")),
        codec=dice.choice(("none", "none", "zstd", "lz4", "qatzip")),
        channels=channels,
        kind=kind,
        blocks=1 if kind == "stream" else dice.randint(1, 2),
        pages=round(2 ** dice.uniform(0, 11)),
        rounds=dice.randint(0, 3) if kind == "memory" else 0,
    )
    return _struck(plan, dice)


def relay_plan_of(seed: int) -> Plan:
    """The plan for a migration through two relays."""
    dice = random.Random(f"relay {seed}")
    plan = Plan(
        seed,
        relay=True,
        transport=dice.choice(("tcp", "unix")),
        codec=dice.choice(("none", "zstd", "lz4")),
        channels=dice.randint(1, 4),
        pages=round(2 ** dice.uniform(4, 11)),
        rounds=dice.randint(0, 2),
    )
    return _struck(plan, dice)


def _struck(plan: Plan, dice: random.Random) -> Plan:
    faults = tuple(_fault(plan, dice) for _ in range(dice.choice((1, 1, 1, 2, 3))))
    return replace(plan, faults=faults, retry_for=dice.choice((0, 3)))


def _fault(plan: Plan, dice: random.Random) -> Fault:
    [kind] = dice.choices(list(_WEIGHTS), list(_WEIGHTS.values()))
    connection = dice.choice((0, dice.randint(1, plan.channels)))
    if kind is Kind.REORDER:
        return Fault(kind, dice.randint(1, plan.channels))
    # Nothing comes back on a channel.
    up = connection > 0 or dice.random() < 0.6
    at = dice.choice((_edge(dice), round(_volume(plan, connection, up) * dice.random())))
    if kind is Kind.FLIP:
        return _flip(plan, dice, connection, at, up)
    amount: float = 0
    if kind is Kind.STALL:
        amount = dice.choice((round(dice.uniform(0.05, 0.4), 2), math.inf))
    elif kind is Kind.DELAY:
        amount = round(dice.uniform(0.001, 0.02), 3)
    elif kind is Kind.SPLIT:
        amount = dice.randint(1, 3000)
    return Fault(kind, connection, at, up, amount)


def _edge(dice: random.Random) -> int:
    """Where something begins or ends: a preamble, an init, a header."""
    return dice.choice((0, 1, 5, 8, 13, 24, 63, 64, 65, 64 + 320, 64 + 384, 64 + 385))


def _volume(plan: Plan, connection: int, up: bool) -> int:
    """About how many bytes pass."""
    if connection == 0:
        return 600 if up else 150
    size = plan.pages * plan.blocks * 4096
    return 64 + size // plan.channels // (1 if plan.codec == "none" else 2)


def _flip(plan: Plan, dice: random.Random, connection: int, at: int, up: bool) -> Fault:
    """A flip that must be noticed."""
    if plan.relay:
        # The main channel travels as QEMU sends it, which checks it no further.
        connection, up = dice.randint(1, plan.channels), True
    if not CHECKSUM or plan.relay:
        at = dice.choice((*range(25), *range(64, 72))) if connection else dice.randint(0, 8)
    return Fault(Kind.FLIP, connection, at, up, dice.randint(0, 7))
