"""Going on with what an earlier transfer has left: proven there, compared here."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codecs_core import (
    FileBlock,
    LinkTimeout,
    MemoryBlock,
    ProtocolError,
    Receiver,
    Sender,
    TransferError,
)
from codecs_core.engine.resume import Comparison, held
from codecs_core.wire import control

from .conftest import GEOMETRY, Running

PAGE = GEOMETRY.page_size
EXTENT = GEOMETRY.packet_size
SIZE = 40 * EXTENT - 100
"""Of which the last page is not whole, nor the last extent."""


def unchecked() -> None:
    pass


def write(path: Path, size: int, pieces: dict[int, bytes]) -> None:
    """A sparse file."""
    with open(path, "wb") as file:
        file.truncate(size)
        for offset, data in pieces.items():
            os.pwrite(file.fileno(), data[: max(0, size - offset)], offset)


def resumed(path: Path, size: int = SIZE) -> FileBlock:
    return FileBlock.create(path, size, "a", PAGE, resume=True)


class TestLeftOver:
    """What stands where a receiver wants to make its file."""

    def test_nothing(self, tmp_path: Path) -> None:
        block = resumed(tmp_path / "a")
        assert (block.reads_zero, block.resumed) == (True, False)
        block.close()
        assert (tmp_path / "a").stat().st_mode & 0o777 == 0o600

    def test_a_file_of_another_size_is_emptied(self, tmp_path: Path) -> None:
        write(tmp_path / "a", SIZE + 1, {0: b"x" * SIZE})
        block = resumed(tmp_path / "a")
        assert (block.reads_zero, block.resumed) == (True, False)
        block.close()
        assert (tmp_path / "a").read_bytes() == bytes(SIZE)

    def test_a_file_without_data(self, tmp_path: Path) -> None:
        write(tmp_path / "a", SIZE, {})
        block = resumed(tmp_path / "a")
        assert (block.reads_zero, block.resumed) == (True, False)
        block.close()

    def test_a_file_with_data(self, tmp_path: Path) -> None:
        write(tmp_path / "a", SIZE, {0: b"x"})
        block = resumed(tmp_path / "a")
        assert (block.reads_zero, block.resumed) == (False, True)
        block.close()

    def test_a_file_that_is_in_use(self, tmp_path: Path) -> None:
        first = resumed(tmp_path / "a")
        with pytest.raises(TransferError, match="another receiver is writing it"):
            resumed(tmp_path / "a")
        first.close()
        resumed(tmp_path / "a").close()

    def test_a_file_system_without_locks(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def flock(fd: int, how: int) -> None:
            raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

        monkeypatch.setattr(fcntl, "flock", flock)
        with pytest.raises(TransferError, match=r"has no locks .*; remedy: --no-resume"):
            resumed(tmp_path / "a")

    def test_a_link_is_not_followed(self, tmp_path: Path) -> None:
        (tmp_path / "b").write_bytes(b"theirs")
        (tmp_path / "a").symlink_to(tmp_path / "b")
        with pytest.raises(TransferError, match="Too many levels of symbolic links"):
            resumed(tmp_path / "a", 6)
        (tmp_path / "a").unlink()
        os.link(tmp_path / "b", tmp_path / "a")
        with pytest.raises(TransferError, match="has another name, too; remedy: remove it"):
            resumed(tmp_path / "a", 6)
        assert (tmp_path / "b").read_bytes() == b"theirs"


class TestComparison:
    @given(data=st.data())
    def test_what_is_sent_makes_the_copy_the_same(
        self, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
    ) -> None:
        """Whatever is held, and whatever the source has become: data, holes, zeros, both sides."""
        place = tmp_path_factory.mktemp("files")
        size = data.draw(st.integers(1, 30 * PAGE))
        pieces = st.dictionaries(
            st.integers(0, 29).map(lambda page: page * PAGE),
            st.sampled_from([b"a" * PAGE, b"b" * PAGE, bytes(PAGE), b"a" * 5 * PAGE]),
        )
        write(place / "source", size, data.draw(pieces))
        write(place / "copy", size, data.draw(pieces))
        source = FileBlock.open(place / "source", "a", PAGE)
        copy = FileBlock("a", os.open(place / "copy", os.O_RDWR), size, "copy", PAGE)
        comparison = Comparison(source, GEOMETRY)
        for message in held(copy, GEOMETRY, unchecked):
            comparison.take(message)
        assert comparison.ended
        scratch = memoryview(bytearray(EXTENT))
        seen: set[int] = set()
        for run in comparison.runs():
            pages = range(run.first, run.first + run.count)
            assert seen.isdisjoint(pages)
            seen.update(pages)
            offsets = b"".join((page * PAGE).to_bytes(8) for page in pages)
            copy.store(offsets, run.count, source.read(run, scratch))
        assert (place / "copy").read_bytes() == (place / "source").read_bytes()
        source.close()
        copy.close()

    def test_what_is_the_same_is_not_sent(self, tmp_path: Path) -> None:
        content = os.urandom(SIZE)
        write(tmp_path / "copy", SIZE, {0: content[: 22 * EXTENT]})
        source = MemoryBlock("a", content, PAGE)
        copy = resumed(tmp_path / "copy")
        comparison = Comparison(source, GEOMETRY)
        for message in held(copy, GEOMETRY, unchecked):
            comparison.take(message)
        runs = list(comparison.runs())
        assert [run.first for run in runs] == list(range(88, 160, 4))
        copy.close()
        source.close()

    def test_messages_are_bounded_and_tell_no_hole(self, tmp_path: Path) -> None:
        size = 2000 * EXTENT
        write(tmp_path / "a", size, {0: b"x" * 700 * EXTENT, 1500 * EXTENT: b"y" * 4 * EXTENT})
        block = resumed(tmp_path / "a", size)
        messages = list(held(block, GEOMETRY, unchecked))
        assert [(each.first, len(each.digests)) for each in messages] == [
            (0, 256), (256, 256), (512, 188), (1500, 4), (2000, 0),
        ]  # fmt: skip
        assert all(len(control.encode(each)) < 16 << 10 for each in messages)
        block.close()

    @pytest.mark.parametrize(
        "messages",
        [
            [(5, 1), (5, 1)],
            [(5, 1), (4, 1)],
            [(0, 6)],
            [(6, 1)],
            [(2**63 - 1, 1)],
            [(5, 0), (5, 0)],
            [(5, 0), (5, 1)],
        ],
    )
    def test_extents_out_of_order_or_place(self, messages: list[tuple[int, int]]) -> None:
        block = MemoryBlock("a", bytes(5 * EXTENT + (EXTENT if messages[0][1] == 1 else 0)), PAGE)
        comparison = Comparison(block, GEOMETRY)
        with pytest.raises(ProtocolError, match="HELD tells of extents"):
            for first, count in [*messages, (7, 1)]:
                comparison.take(control.Held("a", first, ["0" * 32] * count))


class TestTransfer:
    def transfer(self, source: bytes, place: Path, **options: Any) -> Any:
        """Send ``source`` to what has been left at ``place``."""
        with Receiver("tcp:127.0.0.1:0") as receiver:
            receiver.add_block("a", FileBlock.create(place, len(source), "a", resume=True))
            receiving = Running(receiver.receive)
            with Sender(receiver.address, codec="zstd", **options) as sender:
                sender.add_block("a", source)
                sender.send()
            receiving.result()
        assert place.read_bytes() == source
        return sender.progress()

    def test_sends_only_what_is_not_held(self, tmp_path: Path) -> None:
        source = os.urandom(10 << 20)
        (tmp_path / "a").write_bytes(source[: 5 << 20])
        os.truncate(tmp_path / "a", len(source))
        done = self.transfer(source, tmp_path / "a", verify="full")
        assert done.normal_pages * 4096 == done.held_pages * 4096 == 5 << 20
        assert done.skipped_pages == 0
        assert done.pages == done.total_pages
        assert done.verified

    def test_sends_what_has_changed_meanwhile(self, tmp_path: Path) -> None:
        source = bytearray(os.urandom(10 << 20))
        (tmp_path / "a").write_bytes(source)
        source[3 << 20] ^= 1
        source[7 << 20 : 8 << 20] = bytes(1 << 20)
        done = self.transfer(bytes(source), tmp_path / "a")
        assert (done.normal_pages, done.zero_pages, done.held_pages) == (128, 256, 2176)

    def test_may_be_waived(self, tmp_path: Path) -> None:
        source = os.urandom(1 << 20)
        (tmp_path / "a").write_bytes(source)
        assert self.transfer(source, tmp_path / "a", resume=False).normal_pages == 256

    def test_over_one_connection(self, tmp_path: Path) -> None:
        source = os.urandom(4 << 20)
        (tmp_path / "a").write_bytes(source[: 3 << 20].ljust(4 << 20, b"x"))
        ours, theirs = socket.socketpair()
        with ours, theirs, Receiver(f"fd:{theirs.fileno()}") as receiver:
            receiver.add_block("a", FileBlock.create(tmp_path / "a", 4 << 20, "a", resume=True))
            receiving = Running(receiver.receive)
            with Sender(f"fd:{ours.fileno()}") as sender:
                sender.add_block("a", source)
                sender.send()
            receiving.result()
        assert (tmp_path / "a").read_bytes() == source
        assert sender.progress().normal_pages == 256


class TestHostileReceiver:
    def test_holds_what_nobody_has(self, script: Any) -> None:
        address = script(lambda peer, listener: peer.send(control.Accept("0" * 32, [], ["b"])))
        with pytest.raises(ProtocolError, match="holds block 'b', of which it was not asked"):
            with Sender(address) as sender:
                sender.add_block("a", b"1")
                sender.send()

    def test_tells_of_a_block_that_it_does_not_hold(self, script: Any) -> None:
        def play(peer: Any, listener: Any) -> None:
            peer.send(control.Accept("0" * 32))
            peer.sockets.append(listener.accept()[0])
            peer.send(control.Held("a", 0, []))
            peer.reason()

        with pytest.raises(ProtocolError, match="sent HELD where none was due"):
            with Sender(script(play), channels=1) as sender:
                sender.add_block("a", b"1")
                sender.send()

    def test_never_ends(self, script: Any) -> None:
        """It lives, but does not say that it has told all: silence is what ends it."""

        def play(peer: Any, listener: Any) -> None:
            peer.send(control.Accept("0" * 32, [], ["a"]))
            peer.sockets.append(listener.accept()[0])
            peer.reason()

        with pytest.raises(LinkTimeout, match=r"was silent for 0\.5 s"):
            with Sender(script(play), channels=1, timeout=0.5) as sender:
                sender.add_block("a", b"1")
                sender.send()
