"""Each fault by itself, where it hurts: what becomes of the transfer, and what the ends say."""

from __future__ import annotations

import math
import re
from typing import Any

import pytest

from .campaign import carry_out
from .plan import CHECKSUM, TIMEOUT, Fault, Kind, Plan
from .verdict import Verdict

INIT = 64
MIDDLE = 99_999
"""Somewhere in a packet in the middle of a channel's stream."""
FILE: dict[str, Any] = {"kind": "file", "channels": 2, "pages": 200}
SINGLE: dict[str, Any] = {**FILE, "channels": 1}
"""So that the channel carries enough: otherwise whoever is quicker takes more."""
ROUNDS: dict[str, Any] = {"kind": "memory", "channels": 1, "pages": 40, "rounds": 3}
RELAY: dict[str, Any] = {"relay": True, "channels": 2, "pages": 500}
DOWN = False
LOST = "1 of 2 channels came|ends after|reset by peer|Broken pipe"
"""Who of the two is the first to say so, is a matter of chance."""
SILENT = f"was silent for {TIMEOUT:g} s|bytes in {TIMEOUT:g} s"

FAILS = {
    # The name: what is transferred, the fault, and what one of the two says (a pattern).
    "a channel is cut": (SINGLE, Fault(Kind.CUT, 1, MIDDLE), LOST),
    "a channel is reset": (SINGLE, Fault(Kind.RESET, 1, MIDDLE), "Connection reset by peer"),
    "a channel is cut within a header": (ROUNDS, Fault(Kind.CUT, 1, 3 * INIT), LOST),
    "a channel never gets through": (FILE, Fault(Kind.CUT, 1), LOST),
    "a channel ends within a packet": (SINGLE, Fault(Kind.TRUNCATE, 1, MIDDLE), "ends after"),
    "a channel ends between two packets": (
        ROUNDS, Fault(Kind.TRUNCATE, 1, INIT), "channel 0 ended after 0 packets",
    ),
    "a channel stands still": (
        SINGLE, Fault(Kind.STALL, 1, MIDDLE, amount=math.inf), "channel 0 stands still",
    ),
    "a channel stands still between two packets": (
        ROUNDS, Fault(Kind.STALL, 1, INIT, amount=math.inf), "channel 0 stands still",
    ),
    "a channel stands still before its init": (
        FILE, Fault(Kind.STALL, 1, amount=math.inf), "1 of 2 channels came",
    ),
    "the control connection is cut in HELLO": (FILE, Fault(Kind.CUT, 0, 30), "closed the"),
    "the control connection is cut in ACCEPT": (FILE, Fault(Kind.CUT, 0, 30, DOWN), "closed the"),
    "the control connection is cut under way": (ROUNDS, Fault(Kind.CUT, 0, 80, DOWN), "closed the"),
    "the control connection is reset": (FILE, Fault(Kind.RESET, 0, 100), "reset by peer"),
    "HELLO stands still": (FILE, Fault(Kind.STALL, 0, 30, amount=math.inf), SILENT),
    "ACCEPT stands still": (
        FILE, Fault(Kind.STALL, 0, 30, DOWN, amount=math.inf), SILENT,
    ),
    "a bit of the preamble is flipped": (FILE, Fault(Kind.FLIP, 0, 2, amount=3), "neither a"),
    "a bit of a channel's init is flipped": (
        FILE, Fault(Kind.FLIP, 1, 10, amount=3), LOST,
    ),
    "a bit of a packet's magic is flipped": (
        SINGLE, Fault(Kind.FLIP, 1, INIT, amount=0), "magic|checksum",
    ),
    "relays: a channel is cut": (RELAY, Fault(Kind.CUT, 1, MIDDLE), LOST),
    "relays: a channel is reset": (RELAY, Fault(Kind.RESET, 1, MIDDLE), "Connection reset"),
    "relays: a channel ends between two packets": (
        RELAY, Fault(Kind.TRUNCATE, 1, 2 * INIT), "channel . ended after 0 packets",
    ),
    "relays: a channel never gets through": (
        RELAY, Fault(Kind.STALL, 1, 30, amount=math.inf),
        f"channel . did not come in {TIMEOUT:g} s",
    ),
    "relays: a channel stands still": (
        RELAY, Fault(Kind.STALL, 1, MIDDLE, amount=math.inf), "channel . stands still",
    ),
    "relays: the control connection is cut": (
        RELAY, Fault(Kind.CUT, 0, 20_000), "closed the connection|reset by peer",
    ),
    "relays: the control connection stands still": (
        RELAY, Fault(Kind.STALL, 0, 20_000, amount=math.inf), SILENT,
    ),
}  # fmt: skip
if CHECKSUM:
    FAILS |= {
        "a bit of a page is flipped": (
            SINGLE, Fault(Kind.FLIP, 1, MIDDLE, amount=1), "checksum",
        ),
        "a bit of a payload is flipped": (
            {**SINGLE, "codec": "zstd"}, Fault(Kind.FLIP, 1, 470, amount=1), "packet ",
        ),
    }  # fmt: skip

HARMLESS = {
    "a channel comes late": (FILE, Fault(Kind.REORDER, 1)),
    "a channel pauses": (SINGLE, Fault(Kind.STALL, 1, MIDDLE, amount=0.3)),
    "the control connection pauses": (ROUNDS, Fault(Kind.STALL, 0, 80, DOWN, amount=0.3)),
    "everything is late": (ROUNDS, Fault(Kind.DELAY, 1, amount=0.01)),
    "byte by byte": (ROUNDS, Fault(Kind.SPLIT, 1, amount=5000)),
    "byte by byte on the control connection": (FILE, Fault(Kind.SPLIT, 0, amount=5000)),
    "relays: a channel comes late": (RELAY, Fault(Kind.REORDER, 1)),
    "relays: byte by byte": (RELAY, Fault(Kind.SPLIT, 1, amount=5000)),
}


def plan(name: str) -> Plan:
    what, fault, *_ = {**FAILS, **HARMLESS}[name]
    return Plan(list({**FAILS, **HARMLESS}).index(name), faults=(fault,), **what)


@pytest.fixture(scope="module")
def verdicts() -> dict[int, Verdict]:
    """What came of all of them, at once: most of it is waiting."""
    return {each.plan.seed: each for each in carry_out(map(plan, {**FAILS, **HARMLESS}), jobs=10)}


@pytest.mark.parametrize("name", FAILS)
def test_what_is_lost_fails_both_ends(verdicts: dict[int, Verdict], name: str) -> None:
    """No partial output is left; one of the two says why."""
    verdict = verdicts[plan(name).seed]
    assert verdict.wrong == []
    assert (verdict.end, len(verdict.fired)) == ("failed", 1), verdict
    assert re.search(FAILS[name][2], " ".join(verdict.errors)), verdict


@pytest.mark.parametrize("name", HARMLESS)
def test_what_only_takes_time_changes_nothing(verdicts: dict[int, Verdict], name: str) -> None:
    verdict = verdicts[plan(name).seed]
    assert verdict.wrong == []
    assert verdict.end in ("acknowledged", "arrived"), verdict
    assert len(verdict.fired) == 1, verdict
