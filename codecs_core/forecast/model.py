"""A model of a transfer, and no more than arithmetic: rates in, a prediction out.

Pages pass through three stages that work at once: the sender's channels compress, the link
carries, the receiver's channels decompress. The slowest sets the pace.

* A channel compresses on one thread, so that an end does ``channels`` times what one channel does.
* An end has no more CPU time than CPUs. A software codec keeps a CPU busy, and more channels than
  CPUs help nothing; a codec with a device leaves the CPU idle meanwhile, and they do. Both ends on
  one host share its CPUs.
* The link carries ``bandwidth x ratio`` bytes of pages a second. Moving a byte on the wire costs
  both ends some CPU time, too, which is all that ``none`` costs.

A migration sends all pages, then those that were dirtied meanwhile, and so on: rounds, each
``dirty rate / page rate`` times as large as the one before, until the rest fits into the downtime
limit at that rate. Where pages are dirtied faster than they move, that never happens.

Sizes are in bytes, times in seconds, rates in bytes a second; of pages, where nothing else is said.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from codecs_core.errors import UsageError

__all__ = ["Engine", "Measured", "Plan", "Prediction", "break_even", "predict", "rank"]

_SAME = 1.03
"""Times that differ by less are the same: no measurement is better."""
_ZERO_PAGE_SHARE = 8 / 4096
"""What a zero page takes on the wire, of its size: its offset."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What one codec does: ``encode`` and ``decode`` are rates of one channel on a CPU of its own.

    ``encode_cpu`` and ``decode_cpu`` are CPU seconds a byte of pages. ``ratio`` is bytes of normal
    pages to bytes on the wire, headers included. ``hardware`` is the part of the packets that a
    device served, ``None`` for a codec without one.
    """

    codec: str
    encode: float
    decode: float
    encode_cpu: float
    decode_cpu: float
    ratio: float
    hardware: float | None = None


@dataclass(frozen=True, slots=True)
class Engine:
    """What moving costs an end without any codec: CPU seconds a byte on the wire.

    ``zero_cpu`` is what it costs the sender to find that a byte belongs to a zero page.
    """

    wire_cpu: float = 0.0
    zero_cpu: float = 0.0


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be moved, and between what.

    ``zero`` is the part of the memory that is zero pages; ``dirty_rate`` how fast a guest dirties
    pages, 0 for what stands still; ``downtime_limit`` for how long it may be stopped. ``peer_cpus``
    are the other end's CPUs, ``None`` where both ends share ``cpus``. Raises `UsageError` for a
    value out of its range.
    """

    memory: int
    channels: int = 2
    cpus: int = 1
    peer_cpus: int | None = 1
    dirty_rate: float = 0.0
    downtime_limit: float = 0.3
    zero: float = 0.0
    engine: Engine = Engine()

    def __post_init__(self) -> None:
        for name, value, fits, wanted in (
            ("memory", self.memory, self.memory > 0, "a size above 0"),
            ("channels", self.channels, 1 <= self.channels <= 255, "1 to 255"),
            ("cpus", self.cpus, self.cpus >= 1, "1 or more"),
            ("peer_cpus", self.peer_cpus, (self.peer_cpus or 1) >= 1, "1 or more"),
            ("dirty_rate", self.dirty_rate, 0 <= self.dirty_rate < math.inf, "0 or more"),
            ("downtime_limit", self.downtime_limit, self.downtime_limit > 0, "a time above 0"),
            ("zero", self.zero, 0 <= self.zero <= 1, "0 to 1"),
        ):
            if not fits:
                raise UsageError(f"{name}={value}: give {wanted}")


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a plan takes with one codec, on one link.

    ``rate`` is that of normal pages, ``limit`` the stage that sets it: ``link``, ``sender``,
    ``receiver``, or ``CPUs`` where both ends share them. ``rounds`` are those in which the guest
    runs; then it stands still for ``downtime`` while the rest moves. ``pages`` is what moves in
    all, ``wire`` what that takes on the link. Where the rounds do not converge, all these are
    ``None``.
    """

    codec: str
    bandwidth: float
    rate: float
    limit: str
    rounds: int | None = None
    seconds: float | None = None
    downtime: float | None = None
    pages: float | None = None
    wire: float | None = None
    sender_cpu: float | None = None
    receiver_cpu: float | None = None

    @property
    def converges(self) -> bool:
        """Whether the transfer ends."""
        return self.seconds is not None

    @property
    def cpu(self) -> float | None:
        """The CPU seconds of both ends."""
        if self.sender_cpu is None or self.receiver_cpu is None:
            return None
        return self.sender_cpu + self.receiver_cpu

    def as_dict(self) -> dict[str, Any]:
        """Everything, for JSON."""
        return asdict(self) | {"converges": self.converges, "cpu": self.cpu}


def predict(codec: Measured, plan: Plan, bandwidth: float) -> Prediction:
    """Predict a transfer over a link that carries ``bandwidth`` bytes a second.

    Raises `UsageError` for a bandwidth that is not above 0.
    """
    if not bandwidth > 0:
        raise UsageError(f"bandwidth={bandwidth}: give a number of bytes a second above 0")
    link = _Cost(1 / (bandwidth * codec.ratio), _ZERO_PAGE_SHARE / bandwidth)
    stages = {"link": link, **_ends(codec, plan)}
    limit = max(stages, key=lambda name: stages[name].normal)
    rate = 1 / stages[limit].normal
    zeros = plan.memory * plan.zero
    normal = plan.memory - zeros
    first = max(normal * each.normal + zeros * each.zero for each in stages.values())
    # Each round takes this many times as long as the one before.
    growth = plan.dirty_rate / rate
    rounds = _rounds(first, growth, plan.downtime_limit)
    if rounds is None:
        return Prediction(codec.codec, bandwidth, rate, limit)
    seconds = first * _series(growth, rounds)
    pages = normal + (seconds - first) * rate
    moving = plan.engine.wire_cpu / codec.ratio
    return Prediction(
        codec=codec.codec,
        bandwidth=bandwidth,
        rate=rate,
        limit=limit,
        rounds=rounds,
        seconds=seconds,
        downtime=first * growth**rounds,
        pages=pages,
        wire=pages / codec.ratio + zeros * _ZERO_PAGE_SHARE,
        sender_cpu=pages * (codec.encode_cpu + moving) + zeros * plan.engine.zero_cpu,
        receiver_cpu=pages * (codec.decode_cpu + moving),
    )


def break_even(codec: Measured, plan: Plan) -> float:
    """The bandwidth above which sending the pages as they are is sooner done; 0: always."""
    if codec.ratio <= 1:
        return 0.0
    return 1 / max(each.normal for each in _ends(codec, plan).values())


def rank(predictions: Iterable[Prediction]) -> list[Prediction]:
    """Sort by time; of those that are done at the same time, the one with less work comes first.

    What does not converge comes last, the fastest of it first.
    """
    rest = sorted(
        predictions, key=lambda each: (not each.converges, each.seconds or 0.0, -each.rate)
    )
    ranked: list[Prediction] = []
    while rest:
        latest = (rest[0].seconds or 0.0) * _SAME
        same = [each for each in rest if each.converges and (each.seconds or 0.0) <= latest]
        same = same or rest[:1]
        ranked += sorted(same, key=lambda each: each.cpu or 0.0)
        rest = rest[len(same) :]
    return ranked


@dataclass(frozen=True, slots=True)
class _Cost:
    """What a stage takes for a byte of normal pages and of zero pages, in seconds."""

    normal: float
    zero: float = 0.0


def _ends(codec: Measured, plan: Plan) -> dict[str, _Cost]:
    moving = plan.engine.wire_cpu / codec.ratio
    sender_cpu, receiver_cpu = codec.encode_cpu + moving, codec.decode_cpu + moving
    zero = plan.engine.zero_cpu
    there = plan.peer_cpus or plan.cpus
    ends = {
        "sender": _Cost(
            max((1 / codec.encode + moving) / plan.channels, sender_cpu / plan.cpus),
            zero / min(plan.channels, plan.cpus),
        ),
        "receiver": _Cost(max((1 / codec.decode + moving) / plan.channels, receiver_cpu / there)),
    }
    if plan.peer_cpus is None:
        ends["CPUs"] = _Cost((sender_cpu + receiver_cpu) / plan.cpus, zero / plan.cpus)
    return ends


def _rounds(first: float, growth: float, limit: float) -> int | None:
    """How many rounds it takes until the next one fits into ``limit``; ``None``: it never does."""
    if first <= limit:
        return 0
    if growth >= 1:
        return None
    if first * growth <= limit:
        return 1
    return math.ceil(math.log(limit / first) / math.log(growth))


def _series(base: float, last: int) -> float:
    """``1 + base + … + base ** last``, for a base of 0 or more."""
    if base == 1 or not last:
        return last + 1.0
    return (1 - base ** (last + 1)) / (1 - base)
