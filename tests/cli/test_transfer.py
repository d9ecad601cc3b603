"""``multifd send`` and ``multifd recv``: two processes, real sockets, real files."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import pty
import resource
import signal
import socket
import subprocess
import threading
from pathlib import Path

import pytest

from codecs_core import MemoryBlock, RemoteError, Sender
from codecs_core.registry import Registry

from .conftest import MULTIFD, WAIT, Process, Receive, Start, content, end, leftovers

PAGE = 4096


@pytest.mark.parametrize("codec", list(Registry()))
def test_files_of_every_size(start: Start, receive: Receive, tmp_path: Path, codec: str) -> None:
    sizes = (0, 1, PAGE - 1, PAGE, PAGE + 1, 3 * 512 * 1024 + 77)
    files = {f"{size}.bin": content(size) for size in sizes}
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    (tmp_path / "there").mkdir()
    receiver, address = receive("there")
    sender = start("send", *files, address, "--multifd-compression", codec)
    assert end(sender) == (0, b"", "")
    assert end(receiver) == (0, b"", "")
    assert {each.name: each.read_bytes() for each in (tmp_path / "there").iterdir()} == files


@pytest.mark.parametrize("channels", ["1", "4", "255"])
def test_any_number_of_channels(
    start: Start, receive: Receive, tmp_path: Path, channels: str
) -> None:
    data = content(5 << 20)
    (tmp_path / "a").write_bytes(data)
    receiver, address = receive("b", "--json")
    sender = start("send", "a", address, "--multifd-channels", channels, "--json")
    (status, sent, _), (_, received, _) = end(sender), end(receiver)
    assert status == 0
    assert (tmp_path / "b").read_bytes() == data
    assert json.loads(sent)["pages"] == json.loads(received)["pages"] == len(data) // PAGE
    assert len(json.loads(sent)["channels"]) == int(channels)
    assert json.loads(sent)["sources"] == ["a"]
    assert json.loads(received)["files"] == ["b"]


def test_sparse_files_stay_sparse(start: Start, receive: Receive, tmp_path: Path) -> None:
    with open(tmp_path / "a", "wb") as file:
        file.truncate(10 << 30)
        file.seek(7 << 30)
        file.write(b"in the middle")
    receiver, address = receive("b")
    assert end(start("send", "a", address))[0] == 0
    assert end(receiver)[0] == 0
    copy = tmp_path / "b"
    assert copy.stat().st_size == 10 << 30
    assert copy.stat().st_blocks * 512 <= 1 << 20
    with copy.open("rb") as file:
        file.seek((7 << 30) - PAGE)
        assert file.read(3 * PAGE) == bytes(PAGE) + b"in the middle".ljust(2 * PAGE, b"\0")


@pytest.mark.parametrize("size", [0, 1, PAGE, 9 * 512 * 1024 - 1])
@pytest.mark.parametrize("dest", ["-", "copy", "there"])
def test_streams_arrive_in_order(
    start: Start, receive: Receive, tmp_path: Path, size: int, dest: str
) -> None:
    data = content(size)
    (tmp_path / "there").mkdir()
    receiver, address = receive(dest)
    sender = start("send", "-", address, "--multifd-channels", "3", stdin=subprocess.PIPE)
    out: list[bytes] = []
    reader = threading.Thread(target=lambda: out.append(end(receiver)[1]))
    reader.start()
    assert end(sender, data) == (0, b"", "")
    reader.join()
    assert receiver.returncode == 0
    arrived = {"-": None, "copy": tmp_path / "copy", "there": tmp_path / "there/stdin"}[dest]
    assert (out[0] if arrived is None else arrived.read_bytes()) == data


def test_memory_does_not_depend_on_the_stream(start: Start, receive: Receive) -> None:
    """A stream much larger than what the two processes may have."""
    limit = 600 << 20

    def bound() -> None:
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))

    receiver, address = receive("-", preexec_fn=bound)
    sender = start("send", "-", address, stdin=subprocess.PIPE, preexec_fn=bound)
    block = content(1 << 20)
    seen = hashlib.sha256()

    def read() -> None:
        assert receiver.stdout is not None
        while data := receiver.stdout.read(1 << 20):
            seen.update(data)

    reader = threading.Thread(target=read)
    reader.start()
    wanted = hashlib.sha256()
    assert sender.stdin is not None
    for _ in range(700):
        sender.stdin.write(block)
        wanted.update(block)
    sender.stdin.close()
    reader.join()
    assert sender.wait(WAIT) == receiver.wait(WAIT) == 0
    assert seen.digest() == wanted.digest()


def test_through_a_command(start: Start, tmp_path: Path) -> None:
    data = content(3 << 20)
    (tmp_path / "a").write_bytes(data)
    sender = start("send", "--multifd-channels", "1", "a", f"exec:{MULTIFD} recv fd:0 b")
    assert end(sender) == (0, b"", "")
    assert (tmp_path / "b").read_bytes() == data
    receiver = start("recv", f"exec:{MULTIFD} send b fd:0", "c")
    assert end(receiver) == (0, b"", "")
    assert (tmp_path / "c").read_bytes() == data


def test_a_command_that_takes_one_channel_says_so(start: Start, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"a")
    status, _, err = end(start("send", "a", f"exec:{MULTIFD} recv fd:0 b"))
    assert status == 1
    assert "remedy: send with --multifd-channels 1" in err
    assert not (tmp_path / "b").exists()


class TestNames:
    def test_an_existing_file_is_kept(self, start: Start, tmp_path: Path) -> None:
        (tmp_path / "b").write_bytes(b"before")
        status, _, err = end(start("recv", "tcp:127.0.0.1:0", "b"))
        assert (status, err) == (2, "multifd: error: b exists; --force replaces it\n")

    def test_an_existing_file_in_the_directory_is_kept(
        self, start: Start, receive: Receive, tmp_path: Path
    ) -> None:
        (tmp_path / "there").mkdir()
        (tmp_path / "there/a").write_bytes(b"before")
        (tmp_path / "a").write_bytes(b"after")
        receiver, address = receive("there")
        for process in (start("send", "a", address), receiver):
            status, _, err = end(process)
            assert status == 1
            assert err.endswith("there/a exists; --force replaces it\n")
        assert [each.read_bytes() for each in (tmp_path / "there").iterdir()] == [b"before"]

    def test_force_replaces(self, start: Start, receive: Receive, tmp_path: Path) -> None:
        (tmp_path / "b").write_bytes(b"before")
        (tmp_path / "a").write_bytes(b"after")
        receiver, address = receive("b", "--force")
        assert end(start("send", "a", address))[0] == 0
        assert end(receiver)[0] == 0
        assert (tmp_path / "b").read_bytes() == b"after"

    @pytest.mark.parametrize(
        "name", ["../a", "/etc/a", "..", ".", "a/b", "\N{OGHAM LETTER RUIS}" * 85 + "a"]
    )
    def test_no_name_leads_out_of_the_directory(
        self, receive: Receive, tmp_path: Path, name: str
    ) -> None:
        there = tmp_path / "there"
        there.mkdir()
        before = sorted(tmp_path.rglob("*"))
        receiver, address = receive("there")
        if len(name.encode()) > 255:
            name = name[:-1]  # the longest that travels; files may have it too
            memory = MemoryBlock(name, b"x")
            with Sender(address) as sender:
                sender.add_block(name, memory)
            assert end(receiver)[0] == 0
            assert [each.name for each in there.iterdir()] == [name]
            return
        sender = Sender(address)
        sender.add_block(name, b"x")
        with pytest.raises(RemoteError, match="is no name for a file"):
            sender.connect()
        status, _, err = end(receiver)
        assert status == 1
        assert f"{name!r} is no name for a file" in err
        assert sorted(tmp_path.rglob("*")) == before

    def test_several_files_need_a_directory(
        self, start: Start, receive: Receive, tmp_path: Path
    ) -> None:
        for name in "ab":
            (tmp_path / name).write_bytes(b"x")
        receiver, address = receive("c")
        for process in (start("send", "a", "b", address), receiver):
            status, _, err = end(process)
            assert status == 1
            assert "remedy: receive into a directory that exists" in err
        assert not (tmp_path / "c").exists()
        assert leftovers(tmp_path) == []

    def test_two_sources_of_one_name(self, start: Start, tmp_path: Path) -> None:
        (tmp_path / "d").mkdir()
        for name in ("a", "d/a"):
            (tmp_path / name).write_bytes(b"x")
        status, _, err = end(start("send", "a", "d/a", "tcp:127.0.0.1:1"))
        remedy = "remedy: a transfer for each of them"
        assert (status, err) == (2, f"multifd: error: 2 sources have the name 'a'; {remedy}\n")

    def test_a_directory_gets_the_line_that_sends_it(self, start: Start, tmp_path: Path) -> None:
        (tmp_path / "a dir").mkdir()
        status, _, err = end(start("send", "a dir", "tcp:127.0.0.1:1"))
        assert status == 2
        assert f"tar -C {tmp_path} -c 'a dir' | multifd send - URI" in err


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (("send", "absent", "tcp:127.0.0.1:1"), 1, "absent: No such file or directory"),
        (("send", "-", "tcp:127.0.0.1:1"), 1, "connecting to tcp:127.0.0.1:1: Connection refused"),
        (("send", "-", "127.0.0.1:1"), 2, "'127.0.0.1:1' is no address; give tcp:HOST:PORT"),
        (("send", "-", "tcp:127.0.0.1:65536"), 2, "a port from 0 to 65535"),
        (("send", "tcp:127.0.0.1:1"), 2, "Missing argument 'SOURCE...'"),
        (("send", "-", "tcp:h:1", "--multifd-channels", "256"), 2, "256 is not in the range"),
        (("send", "-", "tcp:h:1", "--multifd-compression", "zzz"), 2, "no codec is called 'zzz'"),
        (("send", "-", "tcp:h:1", "--multifd-zstd-level", "99"), 2, "a value between 0 and 20"),
        (("recv", "tcp:127.0.0.1:0", "absent/b"), 1, "absent is no directory"),
        (("recv", "unix:absent/s", "b"), 1, "listening on unix:absent/s: No such file"),
        (("recv", "fd:99", "b"), 2, "fd:99: Bad file descriptor"),
        (("recv", "tcp:127.0.0.1:0", "b", "--timeout", "0"), 2, "0.0 is not in the range x>0"),
    ],
)
def test_what_cannot_be_gets_one_line(
    start: Start, arguments: tuple[str, ...], status: int, message: str
) -> None:
    got, out, err = end(start(*arguments))
    assert (got, out) == (status, b""), err
    assert message in err
    assert err.count("\n") == 1, err


def test_one_thing_only_goes_to_stdout(start: Start) -> None:
    status, out, _ = end(start("recv", "tcp:127.0.0.1:0", "-", "--json"))
    assert status == 2
    assert "both write to standard output" in json.loads(out)["error"]["message"]


def test_a_port_in_use(start: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"tcp:127.0.0.1:{taken.getsockname()[1]}"
        status, _, err = end(start("recv", address, "b"))
    assert (status, err) == (1, f"multifd: error: listening on {address}: Address already in use\n")


def test_a_silent_peer(receive: Receive) -> None:
    receiver, address = receive("b", "--timeout", "0.5")
    with socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2]))):
        status, _, err = end(receiver)
    assert status == 1
    assert "connected, but said nothing for 0.5 s" in err


def test_a_receiver_that_never_answers(start: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"tcp:127.0.0.1:{silent.getsockname()[1]}"
        status, _, err = end(start("send", "-", address, "--timeout", "0.5"))
    assert (status, err) == (
        1,
        f"multifd: error: receiving: {address} was silent for 0.5 s\n",
    )


class TestFailure:
    """A transfer that is under way, and what becomes of it."""

    @pytest.fixture
    def under_way(self, start: Start, receive: Receive, tmp_path: Path) -> tuple[Process, Process]:
        """Sender and receiver of a stream whose source has stopped in the middle."""
        (tmp_path / "there").mkdir()
        receiver, address = receive("there")
        sender = start("send", "-", address, "--retry-for", "1", stdin=subprocess.PIPE)
        assert sender.stdin is not None
        sender.stdin.write(content(4 << 20))
        sender.stdin.flush()
        part = None
        while part is None or not part.stat().st_size:
            part = next((tmp_path / "there").iterdir(), None)
        return sender, receiver

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_sender_interrupted(
        self, under_way: tuple[Process, Process], tmp_path: Path, number: signal.Signals
    ) -> None:
        sender, receiver = under_way
        sender.send_signal(number)
        assert sender.wait(WAIT) == 130
        assert end(receiver)[::2] == (1, "multifd: error: the other end was interrupted\n")
        assert list((tmp_path / "there").iterdir()) == []

    def test_receiver_interrupted(self, under_way: tuple[Process, Process], tmp_path: Path) -> None:
        sender, receiver = under_way
        receiver.send_signal(signal.SIGINT)
        assert end(receiver)[::2] == (130, "multifd: interrupted\n")
        assert sender.wait(WAIT) == 1
        assert sender.stderr is not None
        assert sender.stderr.read() == b"multifd: error: the other end was interrupted\n"
        assert list((tmp_path / "there").iterdir()) == []

    def test_sender_killed(self, under_way: tuple[Process, Process], tmp_path: Path) -> None:
        sender, receiver = under_way
        sender.kill()
        status, _, err = end(receiver)
        assert status == 1
        assert "no other came in 1 s" in err
        assert list((tmp_path / "there").iterdir()) == []

    def test_receiver_killed(self, under_way: tuple[Process, Process]) -> None:
        sender, receiver = under_way
        receiver.kill()
        assert sender.wait(WAIT) == 1
        assert sender.stderr is not None
        # Nobody listens there any more: it is known at once that no other can be had.
        assert b"no other could be made: connecting to" in sender.stderr.read()

    def test_disk_full(self, start: Start, receive: Receive, tmp_path: Path) -> None:
        (tmp_path / "a").write_bytes(b"x" * (4 << 20))
        (tmp_path / "there").mkdir()

        def bound() -> None:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))

        # A file of 4 MiB cannot even be announced; a stream runs into the limit.
        receiver, address = receive("there", preexec_fn=bound)
        sender = start("send", "-", address, stdin=os.open(tmp_path / "a", os.O_RDONLY))
        for process in (sender, receiver):
            status, _, err = end(process)
            assert status == 1
            assert err.endswith("writing stdin: File too large\n"), err
        assert list((tmp_path / "there").iterdir()) == []


def test_a_terminal_sees_how_far_it_is(receive: Receive, tmp_path: Path) -> None:
    """The bar is drawn on stderr where that is a terminal; stdout stays free."""
    receiver, address = receive("b")
    terminal, stderr = pty.openpty()
    sender = subprocess.Popen(
        [MULTIFD, "send", "-", address],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=stderr,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "120"},
    )
    os.close(stderr)
    with sender:
        assert sender.stdin is not None
        assert sender.stdout is not None
        sender.stdin.write(content(4 << 20))
        sender.stdin.flush()
        seen = b""
        while b"ratio" not in seen:
            seen += os.read(terminal, 4096)
        sender.stdin.close()
        with contextlib.suppress(OSError):
            while data := os.read(terminal, 4096):
                seen += data
        assert sender.stdout.read() == b""
    os.close(terminal)
    assert sender.returncode == 0
    assert b"MiB/s" in seen
    assert b"sent 4.0 MiB in " in seen
    assert end(receiver)[0] == 0


def test_a_codec_chosen_for_every_packet(start: Start, receive: Receive, tmp_path: Path) -> None:
    data = content(9 << 20)
    (tmp_path / "a").write_bytes(data)
    receiver, address = receive("b", "--json")
    sender = start("send", "a", address, "--multifd-compression", "auto", "--json")
    (status, sent, _), (_, received, _) = end(sender), end(receiver)
    assert status == 0
    assert (tmp_path / "b").read_bytes() == data
    told, heard = json.loads(sent), json.loads(received)
    assert told["codec"] == heard["codec"] == "auto"
    assert told["methods"] == heard["methods"]
    assert sum(told["methods"].values()) == sum(
        sum(each["methods"].values()) for each in told["channels"]
    )
    assert all(each["reason"] for each in told["channels"])


def test_what_auto_chooses_is_not_for_the_user_to_set(start: Start, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"a")
    options = ("--multifd-compression", "auto", "--multifd-zstd-level", "3")
    status, _, said = end(start("send", "a", "tcp:127.0.0.1:1", *options))
    assert status == 2
    assert "--multifd-zstd-level is for --multifd-compression auto to choose" in said
    record = ("record", "there", "--listen", "unix:a.sock", "--connect", "unix:b.sock")
    status, _, said = end(start(*record, "--multifd-compression", "auto"))
    assert status == 2
    assert "chooses by what a link takes, and here is none; remedy: name a codec" in said
