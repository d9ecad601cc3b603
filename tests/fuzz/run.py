"""Runs targets: on what they keep, and on what is made of it."""

from __future__ import annotations

import contextlib
import resource
import signal
import time
import tracemalloc
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from tests.fuzz.mutate import mutations
from tests.fuzz.target import LIMIT, Target

_HEADROOM = 512 << 20
"""How much the process may grow, in bytes: more than the windows of all codecs together."""
_WATCHED = 1024
"""Of so many executions the memory of one is measured; all of them have the process's limit."""


class Hang(BaseException):
    """An execution takes too long. No handler of the program's may catch it."""


class Defect(Exception):
    """A target failed on ``data``; the cause says how."""

    def __init__(self, target: Target, data: bytes) -> None:
        super().__init__(f"{target.name} fails on {len(data)} bytes: {data[:64].hex()}")
        self.target = target
        self.data = data


@dataclass
class Tally:
    """How often a target was executed, how much of that it accepted, and in how many seconds."""

    executions: int = 0
    accepted: int = 0
    seconds: float = 0.0


def watched(target: Target, data: bytes) -> bool:
    """Execute a target once, and measure what it allocates. Raises `AssertionError`, too."""
    tracemalloc.start()
    try:
        accepted = target.accepts(data)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak <= target.memory, f"{peak} bytes of memory; the bound is {target.memory}"
    return accepted


def replay(target: Target, inputs: list[bytes]) -> Tally:
    """Execute a target on given inputs, watching its memory. Raises `Defect`."""
    tally = Tally()
    with _bounded(tally):
        for data in inputs:
            tally.executions += 1
            try:
                tally.accepted += watched(target, data)
            except (Exception, Hang) as error:
                raise Defect(target, data) from error
    return tally


def fuzz(target: Target, *, executions: int, seconds: float = 1e9, seed: int = 0) -> Tally:
    """Execute a target so often, or for so long. Raises `Defect`, with the input made small."""
    tally = Tally()
    start = time.monotonic()
    data = b""
    inputs = mutations(target.corpus(), target.tokens, target.size, seed)
    try:
        with _bounded(tally):
            run, refuses = target.run, target.refuses
            for number in range(1, executions + 1):
                data = next(inputs)
                tally.executions = number
                if not number % _WATCHED:
                    tally.accepted += watched(target, data)
                    continue
                try:
                    run(data)
                    tally.accepted += 1
                except refuses:
                    pass
                if not number % 16 and time.monotonic() - start > seconds:
                    break
    except (Exception, Hang) as error:
        raise Defect(target, data) from error
    tally.seconds = time.monotonic() - start
    return tally


def minimised(target: Target, data: bytes) -> bytes:
    """Remove what is not needed for the target to fail on ``data`` in the same way."""
    kind = _failure(target, data)
    step = max(1, len(data) // 2)
    while step:
        at = 0
        while at < len(data):
            shorter = data[:at] + data[at + step :]
            if _failure(target, shorter) == kind:
                data = shorter
            else:
                at += step
        step //= 2
    return data


def _failure(target: Target, data: bytes) -> object:
    """What distinguishes a failure from others: the error's type and the line that raised it."""
    try:
        replay(target, [data])
    except Defect as defect:
        error = defect.__cause__
        trace = error.__traceback__ if error else None
        while trace and trace.tb_next:
            trace = trace.tb_next
        # Where a hang was when it was stopped, or memory ran out, is chance.
        line = trace.tb_lineno if trace and not isinstance(error, Hang | MemoryError) else 0
        return type(error), line
    return None


@contextlib.contextmanager
def _bounded(tally: Tally) -> Iterator[None]:
    """Stop an execution that hangs, and fail an allocation that no target may need."""
    last = -1

    def tick(signum: int, frame: FrameType | None) -> None:
        nonlocal last
        if tally.executions == last:
            raise Hang(f"more than {LIMIT} s of CPU")
        last = tally.executions

    # CPU time, so that what else the machine does matters not.
    handler = signal.signal(signal.SIGVTALRM, tick)
    limits = resource.getrlimit(resource.RLIMIT_AS)
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    signal.setitimer(signal.ITIMER_VIRTUAL, LIMIT, LIMIT)
    # A sanitizer has reserved most of the address space already: there is nothing to bound.
    if size < 1 << 40:
        resource.setrlimit(resource.RLIMIT_AS, (size + _HEADROOM, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, handler)
