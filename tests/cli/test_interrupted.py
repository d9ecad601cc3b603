"""Ctrl-C and SIGTERM whenever they come: a status, a line, and nothing left over."""

from __future__ import annotations

import contextlib
import os
import random
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

from .conftest import Process, Receive, Start, content, end, leftovers, whole

LONGEST = 0.6
"""Seconds from the beginning of the transfer: a little more than it takes."""
SAMPLE = 12
PATIENCE = 3.0
"""Seconds in which a receiver notices that its sender has gone."""


def sample() -> list[tuple[str, str, signal.Signals, float]]:
    """Who is interrupted in sending what, how, and when."""
    dice = random.Random(7)
    return [
        (
            ("send", "recv")[number % 2],
            ("a", "-")[number // 4 % 2],
            (signal.SIGINT, signal.SIGTERM)[number // 2 % 2],
            round(dice.uniform(0, LONGEST), 3),
        )
        for number in range(SAMPLE)
    ]


@pytest.mark.parametrize(("who", "source", "signum", "after"), sample())
def test_a_signal_at_any_time(
    start: Start,
    receive: Receive,
    tmp_path: Path,
    who: str,
    source: str,
    signum: signal.Signals,
    after: float,
) -> None:
    data = content(12 << 20)
    (tmp_path / "a").write_bytes(data)
    there = tmp_path / "there"
    there.mkdir()
    receiver, address = receive("there", start_new_session=True)
    options = ("--multifd-compression", "zlib", "--multifd-zlib-level", "6")
    with (tmp_path / "a").open("rb") as stdin:
        sender = start("send", source, address, *options, stdin=stdin, start_new_session=True)
    catches(sender, signal.SIGTERM)
    time.sleep(after)
    hit, other = (sender, receiver) if who == "send" else (receiver, sender)
    with contextlib.suppress(ProcessLookupError):
        hit.send_signal(signum)
    status, _, said = end(hit)
    if who == "send" and status:
        # A receiver whom the sender has not reached yet waits for another.
        with contextlib.suppress(subprocess.TimeoutExpired):
            receiver.wait(PATIENCE)
        receiver.terminate()
    told, _, heard = end(other)
    if status:
        assert (status, said) == (130, "multifd: interrupted\n")
        # The end of a transfer is no moment: one side may have all of it before the other knows.
        assert told == 0 or re.fullmatch(r"multifd: (error: )?[^\n]+\n", heard), heard
    else:
        assert (told, said, heard) == (0, "", "")
    if receiver.returncode:
        # What has its name already when the signal comes is whole, though nobody was told.
        assert all((there / name).read_bytes() == data for name in whole(there))
        # Of a stream there is nothing that another try could go on with.
        assert source == "a" or leftovers(there) == []
    else:
        [name] = (each.name for each in there.iterdir())
        assert (there / name).read_bytes() == data
    for process in (sender, receiver):
        with pytest.raises(ProcessLookupError):
            os.killpg(process.pid, 0)


def catches(process: Process, signum: signal.Signals) -> None:
    """Wait until a process does more than to die of a signal: it has begun."""
    while process.poll() is None:
        status = Path(f"/proc/{process.pid}/status").read_text()
        caught = re.search(r"^SigCgt:\s+(\w+)", status, re.MULTILINE)
        assert caught is not None
        if int(caught[1], 16) >> signum - 1 & 1:
            return
        time.sleep(0.005)
