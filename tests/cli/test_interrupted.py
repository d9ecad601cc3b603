"""Ctrl-C and SIGTERM whenever they come: a status, a line, and nothing left over."""

from __future__ import annotations

import contextlib
import os
import random
import re
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from codecs_core import CodecsCoreError, FileBlock, LinkError, RemoteError, Sender
from codecs_core.engine.control import Control
from codecs_core.memory.output import OutputFile
from codecs_core.wire import control as wire
from tests.engine.conftest import Running

from .conftest import WAIT, Process, Receive, Result, Start, content, end, leftovers, whole

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
    if who == "send" and hit.wait(WAIT):
        # A receiver whom the sender has not reached yet waits for another.
        with contextlib.suppress(subprocess.TimeoutExpired):
            receiver.wait(PATIENCE)
        receiver.terminate()
    status, _, said = end(sender)
    received, _, heard = end(receiver)
    assert_one_line(status, said)
    assert_one_line(received, heard.removeprefix(kept(there) if received else ""))
    assert (hit.returncode, other.returncode) == (0, 0) or hit.returncode == 130
    for name in whole(there):
        assert (there / name).read_bytes() == data
    # Who is told that all has arrived finds it there, under its name.
    assert whole(there) or (status and received)
    # Of a stream there is nothing that another try could go on with.
    assert leftovers(there) == [] or (received and source == "a")
    for process in (sender, receiver):
        with pytest.raises(ProcessLookupError):
            os.killpg(process.pid, 0)


def assert_one_line(status: int, said: str) -> None:
    """Status 130 has one line, a failure has another, success none."""
    wanted = {0: "", 1: r"multifd: error: [^\n]+\n", 130: "multifd: interrupted\n"}
    assert re.fullmatch(wanted[status], said), (status, said)


def kept(there: Path) -> str:
    """What a receiver says, where it fails, of that which it leaves."""
    for name in whole(there):
        return f"kept there/{name}, which is whole; the sender may not have been told\n"
    for name in leftovers(there):
        return (
            f"kept what has come of there/a as there/{name}; the same commands, run again, go on "
            "from there\n"
        )
    return ""


def catches(process: Process, signum: signal.Signals) -> None:
    """Wait until a process does more than to die of a signal: it has begun."""
    while process.poll() is None:
        status = Path(f"/proc/{process.pid}/status").read_text()
        caught = re.search(r"^SigCgt:\s+(\w+)", status, re.MULTILINE)
        assert caught is not None
        if int(caught[1], 16) >> signum - 1 & 1:
            return
        time.sleep(0.005)


def listens(path: str) -> bool:
    """Whether who has bound a socket listens, too: between the two it refuses everybody."""
    # Without a connection, of which the receiver would tell. The flag is the kernel's ACCEPTCON.
    rows = map(str.split, Path("/proc/net/unix").read_text().splitlines())
    return Path(path).exists() and any(row[3] == "00010000" and row[-1] == path for row in rows)


class TestTheLastMoment:
    """All has come and is verified: files get their names, and the sender is told."""

    @pytest.fixture
    def there(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        monkeypatch.chdir(tmp_path)
        for name in "ab":
            (tmp_path / name).write_bytes(content(300_000))
        place = tmp_path / "there"
        place.mkdir()
        return place

    @pytest.fixture
    def receive_both(
        self, there: Path, multifd: Callable[..., Result]
    ) -> Callable[..., tuple[Result, BaseException | None]]:
        """Run ``multifd recv`` here, and a sender beside it: what becomes of either."""

        def send() -> None:
            give_up = time.monotonic() + WAIT
            while not listens("s") and time.monotonic() < give_up:
                time.sleep(0.01)
            with Sender("unix:s") as sender:
                for name in "ab":
                    sender.add_block(name, FileBlock.open(name, name))
                sender.send()

        def run(*options: str) -> tuple[Result, BaseException | None]:
            sending = Running(send)
            result = multifd("recv", "unix:s", "there", *options)
            return result, sending.wait()

        return run

    @pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
    @pytest.mark.parametrize("after", ["a", "b"])
    def test_interrupted_while_files_get_their_names(
        self,
        there: Path,
        receive_both: Callable[..., Any],
        monkeypatch: pytest.MonkeyPatch,
        signum: signal.Signals,
        after: str,
    ) -> None:
        """All have one, or none has; they are kept for another try."""
        commit = OutputFile.commit

        def interrupted(self: OutputFile) -> None:
            commit(self)
            if self.path.name == after:
                os.kill(os.getpid(), signum)

        monkeypatch.setattr(OutputFile, "commit", interrupted)
        result, error = receive_both()
        assert result.status == 130
        assert whole(there) == []
        assert len(leftovers(there)) == 2
        said = result.err.splitlines()
        assert [each.partition(" as ")[0] for each in said] == [
            "kept what has come of there/a",
            "kept what has come of there/b",
            "multifd: interrupted",
        ]
        assert isinstance(error, RemoteError)
        assert str(error) == "the other end was interrupted"

    def test_the_next_try_sends_nothing(
        self, there: Path, receive_both: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(OutputFile, "commit", lambda self: os.kill(os.getpid(), signal.SIGINT))
            assert receive_both()[0].status == 130
        result, error = receive_both("--json")
        assert (result.status, error) == (0, None)
        assert result.json["normal_pages"] == 0
        assert whole(there) == ["a", "b"]
        assert leftovers(there) == []

    @pytest.mark.parametrize("told", [False, True])
    @pytest.mark.parametrize(
        ("what", "status", "line"),
        [
            (KeyboardInterrupt(), 130, "multifd: interrupted"),
            (LinkError("the way is lost"), 1, "multifd: error: the way is lost"),
        ],
    )
    def test_what_has_its_name_keeps_it(
        self,
        there: Path,
        receive_both: Callable[..., Any],
        monkeypatch: pytest.MonkeyPatch,
        told: bool,
        what: BaseException,
        status: int,
        line: str,
    ) -> None:
        """For the sender may have been told, and then it is there; the receiver says so."""
        send_last = Control.send_last

        def fail(self: Control, message: wire.Message) -> None:
            if told:
                send_last(self, message)
            raise what

        monkeypatch.setattr(Control, "send_last", fail)
        result, error = receive_both()
        assert result.status == status
        assert result.err.splitlines() == [
            *(
                f"kept there/{name}, which is whole; the sender may not have been told"
                for name in "ab"
            ),
            line,
        ]
        for name in "ab":
            assert (there / name).read_bytes() == content(300_000)
        assert leftovers(there) == []
        assert error is None if told else isinstance(error, CodecsCoreError)
