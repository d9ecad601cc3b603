"""Blocks over memory, files and streams."""

from __future__ import annotations

import errno
import io
import os
import resource
import signal
import struct
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codecs_core import (
    Block,
    FileBlock,
    MemoryBlock,
    ProtocolError,
    StreamSink,
    StreamSource,
    TransferError,
    UsageError,
)
from codecs_core.memory.output import OutputFile

PAGE = 4096


def packed(*offsets: int) -> bytes:
    return struct.pack(f">{len(offsets)}Q", *offsets)


def read_all(block: Block, **options: Any) -> dict[int, bytes]:
    """What the block sends: page number → page."""
    scratch = memoryview(bytearray(8 * PAGE))
    pages = {}
    for run in block.runs(8, **options):
        data = block.read(run, scratch)
        for i in range(len(data) // PAGE):
            pages[run.first + i] = bytes(data[i * PAGE : (i + 1) * PAGE])
    return pages


@given(st.integers(0, 20 * PAGE), st.lists(st.integers(0, 19), max_size=30))
def test_runs_of_chosen_pages(size: int, chosen: list[int]) -> None:
    memory = bytearray(os.urandom(size))
    block = MemoryBlock("ram", memory)
    chosen = [page for page in chosen if page < block.pages]
    scratch = memoryview(bytearray(8 * PAGE))
    got = b"".join(bytes(block.read(run, scratch)) for run in block.runs_of(chosen, 8))
    assert got == b"".join(
        bytes(memory[p * PAGE : (p + 1) * PAGE]).ljust(PAGE, b"\0") for p in chosen
    )
    block.close()


@pytest.mark.parametrize("pages", [[-1], [2**64], ["x"], [1.5]])
def test_pages_that_are_none(pages: list[Any]) -> None:
    block = MemoryBlock("ram", bytes(PAGE))
    with pytest.raises(UsageError, match="pages of block 'ram'"):
        list(block.runs_of(pages, 8))


def test_adjacent_pages_are_used_in_place() -> None:
    memory = bytearray(8 * PAGE)
    block = MemoryBlock("ram", memory)
    scratch = memoryview(bytearray(8 * PAGE))
    target = block.target(packed(PAGE, 2 * PAGE), 2, scratch)
    target[:1] = b"!"
    assert memory[PAGE] == ord("!")
    assert block.target(packed(2 * PAGE, PAGE), 2, scratch).obj is scratch.obj
    (run,) = block.runs_of([3, 4], 8)
    assert block.read(run, scratch).obj is memory


def test_directions() -> None:
    sink = StreamSink("out", io.BytesIO())
    (run,) = MemoryBlock("a", bytes(1)).runs(1)
    with pytest.raises(UsageError, match="'out' cannot be sent from"):
        sink.read(run, memoryview(bytearray(PAGE)))
    source = StreamSource("in", io.BytesIO())
    with pytest.raises(UsageError, match="'in' cannot be received into"):
        source.store(b"", 0, memoryview(b""))


class TestFile:
    def test_holes_are_skipped_and_stay(self, tmp_path: Path) -> None:
        path = tmp_path / "sparse"
        with path.open("wb") as file:
            for at in (0, 40 * PAGE, 99 * PAGE + 5):
                file.seek(at)
                file.write(b"data")
        block = FileBlock.open(path, "a")
        sent = read_all(block, skip_holes=True)
        assert set(sent) == {0, 40, 99}
        assert set(read_all(block)) == set(range(100))
        copy = FileBlock.create(tmp_path / "copy", path.stat().st_size, "a")
        assert copy.reads_zero
        for number, page in sent.items():
            copy.store(packed(number * PAGE), 1, memoryview(page))
        block.close()
        copy.close()
        assert (tmp_path / "copy").read_bytes() == path.read_bytes()
        assert (tmp_path / "copy").stat().st_blocks == path.stat().st_blocks
        assert (tmp_path / "copy").stat().st_mode & 0o777 == 0o600

    def test_that_shrinks(self, tmp_path: Path) -> None:
        path = tmp_path / "a"
        path.write_bytes(bytes(4 * PAGE))
        block = FileBlock.open(path, "a")
        os.truncate(path, PAGE)
        with pytest.raises(TransferError, match="it became shorter than the 16384 bytes"):
            read_all(block)
        block.close()

    def test_that_is_none(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="neither a regular file nor a block device"):
            FileBlock.open(tmp_path, "a")
        with pytest.raises(FileNotFoundError):
            FileBlock.open(tmp_path / "absent", "a")
        with pytest.raises(TransferError, match=r"shown cannot be made: .*File exists"):
            (tmp_path / "b").write_bytes(b"")
            FileBlock.create(tmp_path / "b", 1, "b", shown="shown")
        with pytest.raises(TransferError, match="cannot be made"):
            FileBlock.create(tmp_path / "c", 2**63 - 1, "c")
        assert not (tmp_path / "c").exists()

    def test_disk_full(self, tmp_path: Path) -> None:
        block = FileBlock.create(tmp_path / "a", 64 * PAGE, "a", shown="the name")
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (PAGE, hard))
        try:
            with pytest.raises(TransferError, match=r"^writing the name: File too large$"):
                block.store(packed(PAGE), 1, memoryview(b"x" * PAGE))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
            signal.signal(signal.SIGXFSZ, handler)
            block.close()


class TestStream:
    @pytest.mark.parametrize("size", [0, 1, PAGE - 1, PAGE, 8 * PAGE, 20 * PAGE + 3])
    @pytest.mark.parametrize("pipe", [False, True])
    def test_source(self, size: int, pipe: bool) -> None:
        data = os.urandom(size)
        source: Any = io.BytesIO(data)
        if pipe:
            source, end = os.pipe()
            writer = threading.Thread(target=lambda: (os.write(end, data), os.close(end)))
            writer.start()
        block = StreamSource("in", source)
        pages = read_all(block)
        assert b"".join(pages.values()) == data.ljust(-(-size // PAGE) * PAGE, b"\0")
        assert list(pages) == list(range(len(pages)))
        assert block.final_size == size
        if pipe:
            writer.join()
            os.close(source)

    def test_source_is_woken(self) -> None:
        read, write = os.pipe()
        block = StreamSource("in", read)
        timer = threading.Timer(0.05, block.abort)
        timer.start()
        with pytest.raises(TransferError, match="in: the transfer was stopped"):
            read_all(block)
        timer.join()
        os.close(read)
        os.close(write)

    @given(st.integers(0, 12 * PAGE), st.integers(1, 4), st.randoms())
    def test_sink_takes_turns(self, size: int, channels: int, random: Any) -> None:
        """Whichever channel has which packet, the stream is in order."""
        data = os.urandom(size)
        out = io.BytesIO()
        sink = StreamSink("out", out)
        sink.expect(channels)
        packets = [
            (at, data[at : at + 2 * PAGE].ljust(min(2, -(-(size - at) // PAGE)) * PAGE, b"\0"))
            for at in range(0, size, 2 * PAGE)
        ]
        shares: list[list[Any]] = [[] for _ in range(channels)]
        for packet in packets:
            random.choice(shares).append(packet)

        def work(share: list[Any]) -> None:
            for at, pages in share:
                offsets = packed(*range(at, at + len(pages), PAGE))
                sink.store(offsets, len(pages) // PAGE, memoryview(pages))
            sink.leave()

        threads = [threading.Thread(target=work, args=(share,)) for share in shares]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        sink.finish(size)
        assert out.getvalue() == data

    def test_sink_puts_zero_pages_in_place(self) -> None:
        out = io.BytesIO()
        sink = StreamSink("out", out)
        pages = memoryview(b"a" * PAGE + b"c" * PAGE)
        sink.store(packed(0, 2 * PAGE, PAGE, 3 * PAGE), 2, pages)
        sink.finish(3 * PAGE + 1)
        assert out.getvalue() == b"a" * PAGE + bytes(PAGE) + b"c" * PAGE + b"\0"

    def test_sink_of_known_size_writes_no_more(self) -> None:
        out = io.BytesIO()
        sink = StreamSink("out", out, PAGE + 1)
        sink.store(packed(0, PAGE), 2, memoryview(b"x" * 2 * PAGE))
        sink.finish(None)
        assert out.getvalue() == b"x" * (PAGE + 1)

    @pytest.mark.parametrize(
        ("offsets", "message"),
        [
            ([[PAGE]], "the pages at 0x0 did not come"),
            ([[0], [2 * PAGE]], "the pages at 0x1000 did not come"),
            ([[0], [0]], "the pages at 0x0 came twice"),
            ([[0, 2 * PAGE]], "the pages of a packet at 0x0 leave gaps"),
            ([[0, 0]], "leave gaps"),
        ],
    )
    def test_sink_misses_pages(self, offsets: list[list[int]], message: str) -> None:
        sink = StreamSink("out", io.BytesIO())
        with pytest.raises(ProtocolError, match=message):
            for each in offsets:
                sink.store(packed(*each), len(each), memoryview(bytes(len(each) * PAGE)))

    @pytest.mark.parametrize("size", [0, PAGE - 1 + PAGE, 3 * PAGE])
    def test_sink_checks_the_size(self, size: int) -> None:
        sink = StreamSink("out", io.BytesIO())
        sink.store(packed(0), 1, memoryview(bytes(PAGE)))
        with pytest.raises(ProtocolError, match=f"pages for 4096 bytes came, {size} were"):
            sink.finish(size)

    def test_sink_fails_when_all_others_have_ended(self) -> None:
        """A channel that waits for pages which nobody is left to bring."""
        sink = StreamSink("out", io.BytesIO())
        sink.expect(2)
        errors = []

        def wait() -> None:
            try:
                sink.store(packed(PAGE), 1, memoryview(bytes(PAGE)))
            except ProtocolError as error:
                errors.append(error)

        thread = threading.Thread(target=wait)
        thread.start()
        sink.leave()
        thread.join()
        assert "did not come" in str(errors[0])

    def test_sink_that_takes_no_more_says_why_to_all(self) -> None:
        """To the channel that writes, and to the one that waits for its turn."""

        class Full(io.RawIOBase):
            def write(self, data: Any) -> int:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        sink = StreamSink("out", Full(), 2 * PAGE)
        sink.expect(2)
        errors = []

        def store(page: int) -> None:
            try:
                sink.store(packed(page * PAGE), 1, memoryview(bytes(PAGE)))
            except TransferError as error:
                errors.append(str(error))

        thread = threading.Thread(target=store, args=(1,))
        thread.start()
        while not sink._waiting:
            assert thread.is_alive()
        store(0)
        thread.join()
        assert errors == ["writing out: No space left on device"] * 2

    def test_sink_whose_reader_goes(self) -> None:
        read, write = os.pipe()
        sink = StreamSink("out", write)
        os.close(read)
        with pytest.raises(TransferError, match="writing out: Broken pipe"):
            sink.store(packed(0, PAGE), 2, memoryview(bytes(2 * PAGE)))
        sink.close()
        os.close(write)


class TestOutputFile:
    def test_appears_when_whole(self, tmp_path: Path) -> None:
        path = tmp_path / "a"
        with OutputFile(path) as output:
            output.partial.write_bytes(b"data")
            assert not path.exists()
            output.commit()
        assert path.read_bytes() == b"data"
        assert list(tmp_path.iterdir()) == [path]

    def test_is_gone_after_an_error(self, tmp_path: Path) -> None:
        with pytest.raises(KeyError):
            with OutputFile(tmp_path / "a") as output:
                output.partial.write_bytes(b"data")
                raise KeyError
        assert list(tmp_path.iterdir()) == []

    def test_never_replaces_what_came_meanwhile(self, tmp_path: Path) -> None:
        path = tmp_path / "a"
        with pytest.raises(TransferError, match="a cannot be made: File exists"):
            with OutputFile(path) as output:
                output.partial.write_bytes(b"ours")
                path.write_bytes(b"theirs")
                output.commit()
        assert path.read_bytes() == b"theirs"
        assert list(tmp_path.iterdir()) == [path]

    def test_replaces_by_force(self, tmp_path: Path) -> None:
        path = tmp_path / "a"
        path.write_bytes(b"theirs")
        with pytest.raises(UsageError, match="a exists; --force replaces it"):
            OutputFile(path)
        with OutputFile(path, force=True) as output:
            output.partial.write_bytes(b"ours")
            output.commit()
        assert path.read_bytes() == b"ours"

    def test_a_name_of_any_length(self, tmp_path: Path) -> None:
        path = tmp_path / ("é" * 127)
        with OutputFile(path) as output:
            output.partial.write_bytes(b"")
            output.commit()
        assert path.exists()

    def test_a_dangling_link_is_kept(self, tmp_path: Path) -> None:
        (tmp_path / "a").symlink_to(tmp_path / "absent")
        with pytest.raises(UsageError, match="a exists"):
            OutputFile(tmp_path / "a")
