"""What we write, others read; and what goes wrong below a writer is told, and stops it."""

from __future__ import annotations

import ctypes
import errno
import gc
import gzip
import io
import itertools
import os
import subprocess
import threading
import zlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import codecs_core
from codecs_core import CodecError, TransferError
from codecs_core.codec import Buffer
from codecs_core.file_format import FilePacker
from codecs_core.registry import get_codec

from .conftest import FORMATS, MIB, data, run, tools


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("codec", FORMATS)
def test_modules_read_it(codec: str, threads: int) -> None:
    for content in (b"", b"x", data()):
        file = io.BytesIO()
        with codecs_core.open(file, "wb", codec, threads=threads) as writer:
            assert writer.write(content) == len(content)
            assert writer.tell() == len(content)
        assert FORMATS[codec].read(file.getvalue()) == content


@pytest.mark.parametrize(("codec", "tool"), tools())
def test_tools_read_it(tmp_path: Path, codec: str, tool: str) -> None:
    path = tmp_path / f"file{FORMATS[codec].suffix}"
    with codecs_core.open(path, "wb", threads=2) as writer:
        writer.write(data())
    with codecs_core.open(path, "ab", threads=2) as writer:
        writer.write(b"more")
    assert run(tool, "-dc", str(path)) == data() + b"more"


@pytest.mark.parametrize("codec", FORMATS)
@given(
    sizes=st.lists(st.integers(0, 700_000), max_size=8),
    flushes=st.sets(st.integers(0, 8)),
    kind=st.sampled_from([bytes, bytearray, memoryview]),
    threads=st.integers(1, 3),
)
@settings(max_examples=20)
def test_written_in_any_steps(
    codec: str, sizes: list[int], flushes: set[int], kind: type, threads: int
) -> None:
    """And what is flushed is there."""
    content = data()[: sum(sizes)]
    ends = list(itertools.accumulate(sizes, initial=0))
    file = io.BytesIO()
    with codecs_core.open(file, "wb", codec, threads=threads) as writer:
        for number, (start, end) in enumerate(itertools.pairwise(ends)):
            source = kind(content[start:end])
            writer.write(source)
            if kind is bytearray:
                source[:] = bytes(len(source))
            if number in flushes and end:
                writer.flush()
                with codecs_core.open(io.BytesIO(file.getvalue()), "rb", codec) as reader:
                    assert reader.read(end) == content[:end]
    assert FORMATS[codec].read(file.getvalue()) == content


def test_other_buffers() -> None:
    import array

    numbers = array.array("I", range(1000))
    file = io.BytesIO()
    with codecs_core.open(file, "wb", "zstd") as writer:
        assert writer.write(numbers) == 4000
        assert writer.write((ctypes.c_char * 0 * 3)()) == 0
        with pytest.raises(TypeError):
            writer.write("text")  # type: ignore[arg-type]
        with pytest.raises(TypeError):
            writer.write(memoryview(b"abcdef")[::2])
    assert FORMATS["zstd"].read(file.getvalue()) == numbers.tobytes()


def test_a_zlib_file_is_one_stream() -> None:
    """Python's own zlib would silently ignore a second one."""
    file = io.BytesIO()
    for level in range(10):
        file.seek(0)
        file.truncate()
        with codecs_core.open(file, "wb", "zlib", threads=2, level=level) as writer:
            writer.write(data(3 * MIB))
            writer.flush()
            writer.write(b"end")
        stream = zlib.decompressobj()
        assert stream.decompress(file.getvalue()) == data(3 * MIB) + b"end"
        assert stream.eof and not stream.unused_data


def test_a_gzip_file_tells_its_sizes() -> None:
    """As QATzip writes it: each member's extra field."""
    file = io.BytesIO()
    with codecs_core.open(file, "wb", "qatzip", threads=2) as writer:
        writer.write(data(MIB))
    codec = get_codec("qatzip")
    content, at = file.getvalue(), 0
    lengths = []
    while at < len(content):
        member = codec.measure(lambda offset, size, at=at: content[at + offset :][:size])
        assert member is not None
        lengths.append(member.length)
        at += member.size
    assert lengths == [MIB // 2] * 2


# What goes wrong.


class Full(io.RawIOBase):
    """A disk with little room, and a descriptor that takes little at a time."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.content = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, buffer: Any, /) -> int:
        if len(self.content) >= self.room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        taken = bytes(buffer[:10_000])
        self.content += taken
        return len(taken)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("codec", FORMATS)
def test_a_full_disk(codec: str, threads: int) -> None:
    """It is told, again and again, and closing does not hide or repeat it."""
    disk = Full(200_000)
    writer = codecs_core.open(disk, "wb", codec, threads=threads)  # type: ignore[call-overload]
    with pytest.raises(OSError, match="No space left"):
        for _ in range(100):
            writer.write(data(MIB))
    for again in (lambda: writer.write(b"x"), writer.flush):
        with pytest.raises(OSError, match="No space left"):
            again()
    taken = len(disk.content)
    disk.room = 1 << 30
    writer.close()
    assert writer.closed
    assert len(disk.content) == taken


def test_a_full_disk_that_shows_at_the_end() -> None:
    writer = codecs_core.open(Full(10), "wb", "zstd")  # type: ignore[call-overload]
    writer.write(data(100_000))
    with pytest.raises(OSError, match="No space left"):
        writer.close()
    assert writer.closed
    writer.close()


def test_a_file_that_does_not_block_is_refused() -> None:
    end, begin = os.pipe()
    os.set_blocking(begin, False)
    with os.fdopen(end, "rb"), os.fdopen(begin, "wb", buffering=0) as sink:
        with pytest.raises(BlockingIOError):
            with codecs_core.open(sink, "wb", "none") as writer:
                writer.write(data())


class Failing(FilePacker):
    piece_size = 1000

    def pack(self, piece: memoryview, /) -> Buffer:
        if piece[0] == ord("x"):
            raise CodecError("the library failed")
        return bytes(piece)


@pytest.mark.parametrize("threads", [1, 2])
def test_a_failing_codec(tmp_path: Path, threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error of the first piece in order is raised, and nothing behind it is written."""
    codec = get_codec("zstd")
    monkeypatch.setattr(type(codec), "file_packer", lambda self: Failing())
    path = tmp_path / "file"
    writer = codecs_core.open(path, "wb", codec, threads=threads)
    with pytest.raises(CodecError, match="the library failed"):
        writer.write(b"a" * 2000 + b"x" * 1000 + b"b" * 100_000)
        writer.flush()
    writer.close()
    assert path.read_bytes() == b"a" * 2000


def test_a_block_left_by_an_exception_writes_no_end() -> None:
    file = io.BytesIO()
    with pytest.raises(RuntimeError, match="mine"):
        with codecs_core.open(file, "wb", "zlib") as writer:
            writer.write(data(3 * MIB))
            raise RuntimeError("mine")
    assert writer.closed
    with codecs_core.open(io.BytesIO(file.getvalue()), "rb", "zlib") as reader:
        with pytest.raises(EOFError):
            reader.read()


@pytest.mark.parametrize("mode", ["wb", "wt"])
@pytest.mark.parametrize("codec", FORMATS)
def test_what_is_given_up_looks_cut_short(tmp_path: Path, codec: str, mode: str) -> None:
    """Whole members behind each other would look like a whole file."""
    path = tmp_path / "file"
    content = data(3 * MIB)
    with pytest.raises(RuntimeError, match="mine"):
        with codecs_core.open(path, mode, codec, threads=2) as writer:
            writer.write(content if mode == "wb" else content.hex())
            raise RuntimeError("mine")
    with codecs_core.open(path, "rb", codec) as reader:
        with pytest.raises(EOFError):
            reader.read()
    for each, tool in tools():
        if each == codec:
            done = subprocess.run([tool, "-dc"], input=path.read_bytes(), capture_output=True)
            assert done.returncode != 0


def test_what_is_appended_in_vain_leaves_whole_members(tmp_path: Path) -> None:
    """What is appended the next time must be readable."""
    path = tmp_path / "file.gz"
    with codecs_core.open(path, "wb") as writer:
        writer.write(b"first")
    with pytest.raises(RuntimeError, match="mine"):
        with codecs_core.open(path, "ab") as writer:
            writer.write(b"second")
            raise RuntimeError("mine")
    with codecs_core.open(path, "ab") as writer:
        writer.write(b"third")
    assert gzip.decompress(path.read_bytes()) == b"firstthird"


def test_an_interrupt_is_not_forgotten() -> None:
    class Interrupted(Full):
        def write(self, buffer: Any, /) -> int:
            raise KeyboardInterrupt

    writer = codecs_core.open(Interrupted(0), "wb", "none")  # type: ignore[call-overload]
    writer.write(b"abc")
    with pytest.raises(KeyboardInterrupt):
        writer.flush()
    with pytest.raises(TransferError, match="writing was interrupted"):
        writer.write(b"x")
    writer.close()


def test_threads_pack_at_the_same_time() -> None:
    """Two pieces wait for each other."""
    barrier = threading.Barrier(2, timeout=10)

    class Waiting(FilePacker):
        def pack(self, piece: memoryview, /) -> Buffer:
            barrier.wait()
            return gzip.compress(piece)

    codec = get_codec("qatzip")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(codec), "file_packer", lambda self: Waiting())
        file = io.BytesIO()
        with codecs_core.open(file, "wb", codec, threads=2) as writer:
            writer.write(data(4 * MIB))
    assert gzip.decompress(file.getvalue()) == data(4 * MIB)


def test_garbage_in_its_own_thread() -> None:
    """A thread does not wait for itself; what is left behind looks cut short."""
    codec = get_codec("qatzip")
    gone = threading.Event()
    go = threading.Event()

    class Collecting(FilePacker):
        piece_size = 1000

        def pack(self, piece: memoryview, /) -> Buffer:
            if piece[:1] == b"x":
                go.wait(10)
                gc.collect()
                gone.set()
            return gzip.compress(piece)

    file = io.BytesIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(codec), "file_packer", lambda self: Collecting())
        writer = codecs_core.open(file, "wb", codec, threads=2)
    writer.write(b"a" * 1000)
    writer.flush()
    writer.write(b"x" * 1000 + b"b" * 1000)
    writer.circle = writer  # type: ignore[attr-defined]
    del writer
    go.set()
    assert gone.wait(10)
    with pytest.raises(EOFError):
        gzip.decompress(file.getvalue())


def test_a_file_that_is_forgotten_is_finished(tmp_path: Path) -> None:
    """As files are; and its threads end."""
    path = tmp_path / "file.gz"
    writer = codecs_core.open(path, "wb", threads=2)
    writer.write(data())
    del writer
    assert gzip.decompress(path.read_bytes()) == data()
