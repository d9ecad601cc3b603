"""``--resume``: a process is killed in the middle, and the next goes on from there."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from codecs_core import CodecsCoreError, FileBlock, Sender, TransferError
from codecs_core.memory.output import OutputFile

MULTIFD = str(Path(sys.executable).with_name("multifd"))
WAIT = 60
SIZE = 16 << 20
HALF = SIZE // 2
Process = subprocess.Popen[bytes]

SENDS_HALF = """if True:
    import os, signal, sys
    from codecs_core import FileBlock, Sender
    sender = Sender(sys.argv[1], channels=2)
    sender.add_block("a", FileBlock.open("a", "a"))
    sender.send_pages("a", range(int(sys.argv[2]) // 4096))
    sender.sync()
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def source(tmp_path: Path) -> bytes:
    data = os.urandom(SIZE)
    (tmp_path / "a").write_bytes(data)
    return data


@pytest.fixture
def receive(tmp_path: Path) -> Iterator[Callable[..., tuple[Process, str]]]:
    """Start ``multifd recv`` into ``there``; return it and its address."""
    running: list[Process] = []
    (tmp_path / "there").mkdir()

    def run(*options: str) -> tuple[Process, str]:
        process = subprocess.Popen(
            [MULTIFD, "recv", "tcp:127.0.0.1:0", "there", "--json", *options],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        running.append(process)
        assert process.stderr is not None
        return process, process.stderr.readline().split()[-1].decode()

    yield run
    for process in running:
        process.kill()
        with process:
            pass


Receive = Callable[..., tuple[Process, str]]


def left(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "there").iterdir())


def send(tmp_path: Path, address: str, *options: str) -> Any:
    """Run ``multifd send`` to its end; what it says on stdout."""
    done = subprocess.run(
        [MULTIFD, "send", "a", address, "--json", "--retry-for", "1", *options],
        cwd=tmp_path,
        capture_output=True,
        check=True,
        timeout=WAIT,
    )
    return json.loads(done.stdout)


def test_what_is_kept_is_told(source: bytes, tmp_path: Path, receive: Receive) -> None:
    receiver, address = receive()
    subprocess.run([sys.executable, "-c", SENDS_HALF, address, "4096"], cwd=tmp_path)
    _, err = receiver.communicate(timeout=WAIT)
    (partial,) = left(tmp_path)
    assert (
        f"kept what has come of there/a as there/{partial.name}; the same commands, ".encode()
        in err
    )


def sender_is_killed(tmp_path: Path, receive: Receive) -> Path:
    """A sender dies when half is stored; what the receiver keeps."""
    receiver, address = receive()
    done = subprocess.run(
        [sys.executable, "-c", SENDS_HALF, address, str(HALF)], cwd=tmp_path, timeout=WAIT
    )
    assert done.returncode == -signal.SIGKILL
    assert receiver.wait(WAIT) == 1
    (partial,) = left(tmp_path)
    assert partial.name.startswith(".a.")
    return partial


def receiver_is_killed(tmp_path: Path, receive: Receive) -> Path:
    """A receiver dies when half is stored; what it leaves."""
    receiver, address = receive()
    with pytest.raises(CodecsCoreError):
        with Sender(address) as sender:
            sender.add_block("a", FileBlock.open(tmp_path / "a", "a"))
            sender.send_pages("a", range(HALF // 4096))
            sender.sync()
            receiver.kill()
    receiver.wait(WAIT)
    (partial,) = left(tmp_path)
    return partial


@pytest.mark.parametrize("end", [sender_is_killed, receiver_is_killed])
@pytest.mark.parametrize("codec", ["none", "zstd"])
def test_sends_the_other_half(
    source: bytes, tmp_path: Path, receive: Receive, end: Callable[..., Path], codec: str
) -> None:
    end(tmp_path, receive)
    receiver, address = receive()
    sent = send(tmp_path, address, "--multifd-compression", codec, "--verify", "full")
    assert receiver.wait(WAIT) == 0
    assert [each.name for each in left(tmp_path)] == ["a"]
    assert (tmp_path / "there/a").read_bytes() == source
    assert sent["normal_pages"] * 4096 <= 0.52 * SIZE
    assert sent["pages"] == SIZE // 4096
    assert sent["verified"]


def test_what_a_power_cut_has_spoilt_is_sent_again(
    source: bytes, tmp_path: Path, receive: Receive
) -> None:
    """Files may then be of the right size and hold anything: zeros, or what was there before."""
    partial = receiver_is_killed(tmp_path, receive)
    with open(partial, "r+b") as file:
        file.write(bytes(1 << 20))
        file.seek(5 << 20)
        file.write(os.urandom(100))
        file.seek(HALF)
        file.write(os.urandom(1 << 20))
    receiver, address = receive()
    sent = send(tmp_path, address)
    assert receiver.wait(WAIT) == 0
    assert (tmp_path / "there/a").read_bytes() == source
    assert sent["normal_pages"] * 4096 == HALF + (1 << 20) + (1 << 19)


def test_a_source_that_has_changed_is_noticed(
    source: bytes, tmp_path: Path, receive: Receive
) -> None:
    receiver_is_killed(tmp_path, receive)
    changed = os.urandom(SIZE // 4) + source[SIZE // 4 :]
    (tmp_path / "a").write_bytes(changed)
    receiver, address = receive()
    sent = send(tmp_path, address)
    assert receiver.wait(WAIT) == 0
    assert (tmp_path / "there/a").read_bytes() == changed
    assert sent["normal_pages"] * 4096 == SIZE * 3 // 4


def test_a_source_of_another_size_begins_anew(
    source: bytes, tmp_path: Path, receive: Receive
) -> None:
    receiver_is_killed(tmp_path, receive)
    (tmp_path / "a").write_bytes(source[:-1])
    receiver, address = receive()
    sent = send(tmp_path, address)
    assert receiver.wait(WAIT) == 0
    assert (tmp_path / "there/a").read_bytes() == source[:-1]
    assert sent["normal_pages"] * 4096 == SIZE


def test_a_sender_may_send_everything(source: bytes, tmp_path: Path, receive: Receive) -> None:
    receiver_is_killed(tmp_path, receive)
    receiver, address = receive()
    assert send(tmp_path, address, "--no-resume")["normal_pages"] * 4096 == SIZE
    assert receiver.wait(WAIT) == 0
    assert (tmp_path / "there/a").read_bytes() == source


def test_nothing_is_kept_where_that_is_not_wanted(
    source: bytes, tmp_path: Path, receive: Receive
) -> None:
    receiver, address = receive("--no-resume")
    subprocess.run([sys.executable, "-c", SENDS_HALF, address, str(HALF)], cwd=tmp_path)
    assert receiver.wait(WAIT) == 1
    assert left(tmp_path) == []


def test_what_holds_nothing_is_not_kept(source: bytes, tmp_path: Path, receive: Receive) -> None:
    receiver, address = receive()
    with pytest.raises(KeyError):
        with Sender(address) as sender:
            sender.add_block("a", source)
            sender.connect()
            raise KeyError
    assert receiver.wait(WAIT) == 1
    assert left(tmp_path) == []


def test_a_stream_is_not_kept(source: bytes, tmp_path: Path, receive: Receive) -> None:
    """Nobody could tell what of it would come again."""
    receiver, address = receive()
    sender = subprocess.Popen(
        [MULTIFD, "send", "-", address, "--retry-for", "1"], stdin=subprocess.PIPE
    )
    with sender:
        assert sender.stdin is not None
        sender.stdin.write(source)
        sender.stdin.flush()
        while not any(each.stat().st_size for each in left(tmp_path)):
            time.sleep(0.01)
        sender.kill()
    assert receiver.wait(WAIT) == 1
    assert left(tmp_path) == []


def test_two_receivers_of_one_file(source: bytes, tmp_path: Path, receive: Receive) -> None:
    """The second is told, and does the first no harm."""
    first, address = receive()
    with Sender(address) as sender:
        sender.add_block("a", source)
        sender.send_pages("a", range(HALF // 4096))
        sender.sync()
        second, other = receive()
        done = subprocess.run([MULTIFD, "send", "a", other], cwd=tmp_path, capture_output=True)
        assert done.returncode == 1
        assert b"there/a cannot be made: another receiver is writing it" in done.stderr
        assert second.wait(WAIT) == 1
        sender.send()
    assert first.wait(WAIT) == 0
    assert (tmp_path / "there/a").read_bytes() == source


class TestKeptFiles:
    """`OutputFile` with ``keep``."""

    def test_have_the_same_place_every_time(self, tmp_path: Path) -> None:
        places = {OutputFile(tmp_path / "a", keep=True).partial for _ in range(3)}
        assert len(places) == 1
        assert OutputFile(tmp_path / "a").partial not in places

    def test_of_names_that_are_cut_differ(self, tmp_path: Path) -> None:
        names = ["x" * 250 + end for end in "ab"]
        first, second = (OutputFile(tmp_path / name, keep=True).partial for name in names)
        assert first != second

    def test_are_left_alone_unless_they_are_ours(self, tmp_path: Path) -> None:
        partial = OutputFile(tmp_path / "a", keep=True).partial
        partial.touch()
        with OutputFile(tmp_path / "a", keep=True):
            pass
        assert partial.exists()
        with OutputFile(tmp_path / "a", keep=True) as output:
            output.claim()
        assert not partial.exists()

    def test_are_named_in_the_end(self, tmp_path: Path) -> None:
        with OutputFile(tmp_path / "a", keep=True) as output:
            output.partial.write_bytes(b"data")
            output.claim()
            output.commit()
        assert [each.name for each in tmp_path.iterdir()] == ["a"]


def test_a_file_that_gets_its_name_meanwhile_is_not_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between a receiver's opening of what was left and its lock, another may have finished it."""
    path = tmp_path / "partial"
    path.write_bytes(b"whole")
    flock = fcntl.flock

    def finish_first(fd: int, how: int) -> None:
        os.rename(path, tmp_path / "a")
        path.write_bytes(b"new")
        flock(fd, how)

    monkeypatch.setattr(fcntl, "flock", finish_first)
    with pytest.raises(TransferError, match="has another name, too; remedy: remove it"):
        FileBlock.create(path, 9, "a", resume=True)
    assert (tmp_path / "a").read_bytes() == b"whole"
