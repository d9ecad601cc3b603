"""What a host does not give: each time one clear error, told to the other end, and no output."""

from __future__ import annotations

import os
import re
import resource
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from .conftest import WAIT, Process, Receive, Start, end, leftovers, whole

TIMEOUT = 10.0
SmallDisk = Callable[[str], Path]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[SmallDisk]:
    """Mount a small file system with these options, at ``disk``."""
    if os.geteuid():
        pytest.skip("only root may mount a file system")
    mounted = []

    def mount(options: str) -> Path:
        place = tmp_path / "disk"
        place.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", place], check=True)
        mounted.append(place)
        return place

    yield mount
    for place in mounted:
        # Lazily: after a failure somebody may still be writing there.
        subprocess.run(["umount", "--lazy", place], check=True)


def fails(process: Process, reason: str, *, kept: str = "") -> None:
    """The process ends with status 1 and one line, which gives the reason.

    A receiver says on one before it, what it keeps.
    """
    status, _, err = end(process)
    assert status == 1, err
    assert re.fullmatch(rf"{kept}multifd: error: [^\n]*{reason}\n", err), err


def kept(there: Path) -> str:
    """What a receiver says of a file that is kept in ``there``, as a pattern."""
    return "".join(
        rf"kept what has come of {there.name}/a as {there.name}/{re.escape(name)}; [^\n]+\n"
        for name in leftovers(there)
    )


@pytest.mark.parametrize("source", ["a", "-"])
class TestDisk:
    def test_full(
        self, start: Start, receive: Receive, tmp_path: Path, small_disk: SmallDisk, source: str
    ) -> None:
        disk = small_disk("size=1m")
        (tmp_path / "a").write_bytes(os.urandom(4 << 20))
        receiver, address = receive("disk")
        with (tmp_path / "a").open("rb") as stdin:
            sender = start("send", source, address, stdin=stdin.fileno())
        reason = r"writing (disk/a|stdin): No space left on device"
        fails(sender, reason)
        receiver.wait(WAIT)
        # Of a stream there is nothing that another try could go on with.
        assert len(leftovers(disk)) == (source == "a")
        fails(receiver, reason, kept=kept(disk))
        assert whole(disk) == []

    @pytest.mark.parametrize(
        ("options", "reason"),
        [
            ("ro", "Read-only file system"),
            ("nr_inodes=1", "No space left on device"),
        ],
    )
    def test_that_takes_no_file(
        self,
        start: Start,
        receive: Receive,
        tmp_path: Path,
        small_disk: SmallDisk,
        source: str,
        options: str,
        reason: str,
    ) -> None:
        disk = small_disk(options)
        (tmp_path / "a").write_bytes(b"a")
        receiver, address = receive("disk")
        with (tmp_path / "a").open("rb") as stdin:
            sender = start("send", source, address, stdin=stdin.fileno())
        name = "stdin" if source == "-" else source
        for process in (sender, receiver):
            fails(process, rf"disk/{name} cannot be made: {reason}")
        assert whole(disk) == leftovers(disk) == []


class TestProcess:
    """A limit on one of the two: they do their work, or both say in a line why not."""

    @pytest.mark.parametrize("side", ["sender", "receiver"])
    @pytest.mark.parametrize("limit", range(5, 19, 2))
    def test_few_descriptors(self, start: Start, tmp_path: Path, side: str, limit: int) -> None:
        transfer_under(start, tmp_path, side, resource.RLIMIT_NOFILE, limit, "open files")

    @pytest.mark.parametrize("side", ["sender", "receiver"])
    @pytest.mark.parametrize("limit", range(60, 300, 60))
    def test_little_memory(self, start: Start, tmp_path: Path, side: str, limit: int) -> None:
        transfer_under(start, tmp_path, side, resource.RLIMIT_AS, limit << 20, "memory")


def transfer_under(
    start: Start, tmp_path: Path, side: str, kind: int, limit: int, reason: str
) -> None:
    there = tmp_path / "there"
    there.mkdir()
    data = os.urandom(300_000)
    (tmp_path / "a").write_bytes(data)
    address = f"unix:{tmp_path}/s"

    def bound() -> None:
        resource.setrlimit(kind, (limit, limit))

    bounds = {side: bound}
    options = ("--timeout", str(TIMEOUT))
    receiver = start("recv", address, "there", *options, preexec_fn=bounds.get("receiver"))
    while not (tmp_path / "s").exists() and receiver.poll() is None:
        time.sleep(0.01)
    options = (*options, "--multifd-channels", "4")
    sender = start("send", "a", address, *options, preexec_fn=bounds.get("sender"))
    limited, other = (sender, receiver) if side == "sender" else (receiver, sender)
    limited.wait(WAIT)
    if other is receiver and limited.returncode:
        dismiss(receiver)
    other.wait(WAIT)
    left = kept(there)
    status, _, err = end(limited)
    other_status, _, other_err = end(other)
    if status == 0:
        assert (other_status, err, other_err) == (0, "", "")
        assert (there / "a").read_bytes() == data
        return
    assert status == 1, err
    assert other_status in (1, 130), other_err
    for process, said, why in ((limited, err, reason), (other, other_err, "")):
        mine = left if process is receiver else ""
        assert re.fullmatch(rf"{mine}multifd: [^\n]*{why}[^\n]*\n", said), said
    assert whole(there) == []


def dismiss(receiver: Process) -> None:
    """Have a receiver end that waits for another sender; one that was reached ends by itself."""
    give_up = time.monotonic() + WAIT
    alone = 0
    while receiver.poll() is None and alone < 5 and time.monotonic() < give_up:
        time.sleep(0.1)
        alone = alone + 1 if sockets(receiver) == 1 else 0
    receiver.terminate()


def sockets(process: Process) -> int:
    """How many sockets a process has; one that listens and was not reached has one."""
    count = 0
    with suppress(OSError):
        for each in Path(f"/proc/{process.pid}/fd").iterdir():
            with suppress(OSError):
                count += os.readlink(each).startswith("socket:")
    return count
