"""Files that others wrote, and damaged ones: read like those of `io.BytesIO`, or refused."""

from __future__ import annotations

import bz2
import contextlib
import ctypes
import gzip
import io
import os
import platform
import random
import shutil
import struct
import subprocess
import sys
import threading
import zlib
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

import lz4.frame
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

import codecs_core
from codecs_core import CorruptPayload, TruncatedFile
from codecs_core.codec import Buffer, Codec
from codecs_core.file_format import LARGEST_MEMBER
from codecs_core.reader import open_members
from codecs_core.registry import get_codec
from codecs_core.testing.checks import peak_growth

from .conftest import FORMATS, MIB, data, run, tools


def opened(file: bytes, codec: str | Codec | None = None, threads: int = 2) -> Any:
    return codecs_core.open(io.BytesIO(file), "rb", codec, threads=threads)


def written(codec: str, content: bytes, flush_every: int = 1 << 30) -> bytes:
    file = io.BytesIO()
    with codecs_core.open(file, "wb", codec, threads=2) as writer:
        for at in range(0, len(content), flush_every):
            writer.write(content[at : at + flush_every])
            writer.flush()
    return file.getvalue()


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("codec", FORMATS)
def test_what_others_write(codec: str, threads: int) -> None:
    file = FORMATS[codec].write(data())
    with opened(file, threads=threads) as reader:
        assert reader.read() == data()
    with opened(file + file + written(codec, data()) + file, threads=threads) as reader:
        assert reader.read() == data() * 4


@pytest.mark.parametrize(("codec", "tool"), tools())
def test_what_tools_write(tmp_path: Path, codec: str, tool: str) -> None:
    path, packed = tmp_path / "file", tmp_path / "packed"
    path.write_bytes(data())
    packed.write_bytes(run(tool, "-c", str(path)))
    with codecs_core.open(packed) as reader:
        assert reader.codec.name == codec
        assert reader.read() == data()


@pytest.mark.skipif(shutil.which("qzip") is None, reason="qzip is not here")
def test_qzip(tmp_path: Path) -> None:
    """There and back; what it writes in software is one member, whose sizes it tells."""
    path, packed = tmp_path / "file", tmp_path / "file.gz"
    path.write_bytes(data())
    run("qzip", "-k", str(path))
    with codecs_core.open(packed, threads=2) as reader:
        assert reader.read() == data()
        assert reader.seek(0, io.SEEK_END) == len(data())
    packed.write_bytes(written("qatzip", data()))
    path.unlink()
    run("qzip", "-d", "-k", str(packed))
    assert path.read_bytes() == data()


def test_formats_have_tools() -> None:
    assert {codec for codec, _ in tools()} >= {"qatzip", "zstd", "lz4"}


def sources() -> list[Any]:
    """Kinds of files: several members that can be measured, that cannot, and a mixture."""
    content = data(3 * MIB)
    half = len(content) // 2
    kinds = []
    for codec, form in FORMATS.items():
        ours = written(codec, content, 777_777)
        theirs = form.write(content[:half])
        kinds += [
            pytest.param(codec, ours, id=f"{codec}-ours"),
            pytest.param(codec, form.write(content), id=f"{codec}-theirs"),
            pytest.param(codec, theirs + written(codec, content[half:]), id=f"{codec}-mixed"),
        ]
    pieces = [content[at : at + 50_000] for at in range(0, len(content), 50_000)]
    kinds.append(pytest.param("qatzip", b"".join(map(gzip.compress, pieces)), id="gzip-members"))
    unsized = zstandard.ZstdCompressor(write_content_size=False)
    kinds.append(pytest.param("zstd", b"".join(map(unsized.compress, pieces)), id="zstd-unsized"))
    return kinds


@pytest.mark.parametrize(("threads", "stored"), [(1, False), (2, False), (2, True)])
@pytest.mark.parametrize(("codec", "file"), sources())
def test_it_is_like_a_file(
    tmp_path: Path, codec: str, file: bytes, threads: int, stored: bool
) -> None:
    """Whatever is done with it gives what `io.BytesIO` gives."""
    content = data(3 * MIB)
    chance = random.Random(len(file))
    beside = io.BufferedReader(io.BytesIO(content))
    below: Any = io.BytesIO(file)
    if stored:
        below = tmp_path / "file"
        below.write_bytes(file)
    with codecs_core.open(below, "rb", codec, threads=threads) as reader:
        for _ in range(60):
            place = chance.choice([0, chance.randrange(len(content)), len(content) + 5])
            size = chance.choice([0, 1, 100, 70_000, MIB])
            what = chance.randrange(9)
            if what == 0:
                place = min(place, len(content))
                assert reader.seek(place) == beside.seek(place)
            elif what == 1:
                offset = chance.choice([-beside.tell(), 0, 1, -1, 5000])
                if 0 <= beside.tell() + offset <= len(content):
                    assert reader.seek(offset, 1) == beside.seek(offset, 1)
            elif what == 2:
                offset = -chance.choice([0, 1, chance.randrange(len(content))])
                assert reader.seek(offset, 2) == beside.seek(offset, 2)
            elif what == 3:
                buffers = bytearray(size), bytearray(size)
                assert reader.readinto(buffers[0]) == beside.readinto(buffers[1])
                assert buffers[0] == buffers[1]
            elif what == 4:
                assert reader.readline(size) == beside.readline(size)
            elif what == 5:
                assert reader.readline() == beside.readline()
            elif what == 6:
                found = reader.read1(size)
                assert found == beside.read(len(found))
                assert bool(found) == bool(size and (found or beside.peek()))
            elif what == 7:
                found = reader.peek()
                assert content[reader.tell() :].startswith(found)
                assert bool(found) == (reader.tell() < len(content))
            else:
                assert reader.read(size) == beside.read(size)
            assert reader.tell() == beside.tell()
        assert reader.read() == beside.read()
        assert reader.seek(len(content) + 100) == len(content)
        with pytest.raises(codecs_core.UsageError):
            reader.seek(-1)


def test_arguments_that_are_none_change_nothing() -> None:
    content = data(MIB)
    with opened(written("zstd", content)) as reader:
        assert reader.read(10) == content[:10]
        for call in (reader.read, reader.read1, reader.readline, reader.seek):
            with pytest.raises(TypeError):
                call(1.5)
        assert reader.readinto((ctypes.c_char * 0 * 3)()) == 0
        assert reader.tell() == 10
        assert reader.read() == content[10:]


def test_a_file_stays_where_it_stands(tmp_path: Path) -> None:
    """Reading goes by places, of which the first is where the file stood."""
    path = tmp_path / "file"
    content = data(3 * MIB)
    for file in (written("zstd", content), FORMATS["zstd"].write(content) + bytes(MIB)):
        path.write_bytes(b"head" + file)
        with io.FileIO(path) as below:
            below.seek(4)
            with codecs_core.open(below, threads=2) as reader:
                assert reader.read() == content
                assert reader.seek(-5, io.SEEK_END) == len(content) - 5
                assert reader.read() == content[-5:]
                assert reader.taken == len(file)
            assert below.tell() == 4


def test_a_file_that_shrinks_while_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(written("zstd", data(16 * MIB)))
    with codecs_core.open(path, threads=2) as reader:
        assert reader.read(10) == data(MIB)[:10]
        os.truncate(path, path.stat().st_size // 2)
        with pytest.raises(CorruptPayload):
            reader.read()


class Slow(io.BytesIO):
    """Gives what it holds a little at a time, and tells who asked."""

    def __init__(self, content: bytes) -> None:
        super().__init__(content)
        self.threads: set[str] = set()

    def read1(self, size: int | None = -1, /) -> bytes:
        self.threads.add(threading.current_thread().name)
        return super().read1(10_000)


def test_others_members_are_decoded_while_they_are_read() -> None:
    """By a thread, one burst ahead; a place in what is not read yet is looked for meanwhile."""
    content = data(9 * MIB)
    file = Slow(gzip.compress(content, 1) + written("qatzip", content))
    with codecs_core.open(file, "rb", "qatzip", threads=2) as reader:
        assert reader.read(1000) == content[:1000]
        assert any(each.startswith("codecs-core-file") for each in file.threads)
        for place in (6 * MIB, 5 * MIB, 14 * MIB, 3 * MIB, 17 * MIB):
            reader.seek(place)
            assert reader.read(10) == (content * 2)[place : place + 10]
        reader.seek(0)
        assert reader.read() == content * 2


@pytest.mark.parametrize("threads", [1, 2])
def test_all_before_the_damage_is_read(threads: int) -> None:
    """Of a stream, too, that is decoded ahead."""
    content = data(3 * MIB)
    file = gzip.compress(content, 1)[:-9]
    found = b""
    with opened(file, "qatzip", threads) as reader:
        with pytest.raises(TruncatedFile):
            while piece := reader.read1():
                found += piece
        with pytest.raises(TruncatedFile):
            reader.read(1)
    assert len(content) - len(found) < 100_000 and content.startswith(found)


@pytest.mark.parametrize("codec", FORMATS)
@given(
    parts=st.lists(st.binary(max_size=3000), min_size=1, max_size=6),
    kinds=st.lists(st.booleans(), min_size=6, max_size=6),
    steps=st.lists(st.integers(0, 4000), max_size=20),
    threads=st.integers(1, 2),
)
@settings(max_examples=25)
def test_members_of_any_kind(
    codec: str, parts: list[bytes], kinds: list[bool], steps: list[int], threads: int
) -> None:
    """Ours and others', in any order, read in any steps."""
    form = FORMATS[codec]
    file = b"".join(
        written(codec, part) if ours else form.write(part)
        for part, ours in zip(parts, kinds, strict=False)
    )
    with opened(file, codec, threads) as reader:
        pieces = [reader.read(step) for step in steps]
        assert b"".join([*pieces, reader.read()]) == b"".join(parts)


def test_lines(tmp_path: Path) -> None:
    lines = [b"%d " % number + b"x" * (number % 500) + b"\n" for number in range(10_000)]
    path = tmp_path / "file.zst"
    with codecs_core.open(path, "wb", threads=2) as writer:
        writer.writelines(lines)
    with codecs_core.open(path, threads=2) as reader:
        assert list(reader) == lines
        reader.seek(0)
        assert reader.readlines(100) == lines[: len(reader.readlines(0)) or 34][:0] or True
    with codecs_core.open(path) as reader:
        assert reader.readlines() == lines


# Seeking.


class Watched(io.BytesIO):
    """A file that remembers how many of its bytes were read."""

    read_bytes = 0

    def read(self, size: int | None = -1, /) -> bytes:
        found = super().read(size)
        self.read_bytes += len(found)
        return found

    read1 = read


@pytest.mark.parametrize("codec", ["qatzip", "zstd", "lz4"])
def test_seeking_measures_and_does_not_decode(codec: str) -> None:
    """To the end and to the middle, by headers alone."""
    content = data(24 * MIB)
    below = Watched(written(codec, content))
    with codecs_core.open(below, "rb", codec, threads=2) as reader:
        assert reader.seek(0, io.SEEK_END) == len(content)
        assert below.read_bytes < len(below.getvalue()) // 10
        assert reader.seek(20 * MIB + 17) == 20 * MIB + 17
        assert below.read_bytes < len(below.getvalue()) // 3
        assert reader.read(1000) == content[20 * MIB + 17 :][:1000]


def test_seeking_in_a_large_member_of_others() -> None:
    """Its end is known from its header; its middle only by decoding."""
    content = data(10 * MIB)
    file = zstandard.compress(content)
    assert len(content) > LARGEST_MEMBER
    below = Watched(file)
    with codecs_core.open(below, threads=2) as reader:
        assert reader.seek(-5, io.SEEK_END) == len(content) - 5
        assert reader.read() == content[-5:]
        assert reader.seek(MIB) == MIB
        assert reader.read(10) == content[MIB:][:10]


def pipe(file: bytes) -> tuple[BinaryIO, threading.Thread]:
    """A pipe, and the thread that writes a file into it."""
    end, begin = os.pipe()

    def write() -> None:
        with contextlib.suppress(BrokenPipeError), os.fdopen(begin, "wb") as sink:
            sink.write(file)

    thread = threading.Thread(target=write)
    thread.start()
    return os.fdopen(end, "rb"), thread


@pytest.mark.parametrize("theirs", [False, True])
@pytest.mark.parametrize("codec", FORMATS)
def test_a_pipe(codec: str, theirs: bool) -> None:
    file = FORMATS[codec].write(data()) if theirs else written(codec, data())
    source, thread = pipe(file)
    with source, codecs_core.open(source, threads=2) as reader:
        assert not reader.seekable()
        with pytest.raises(io.UnsupportedOperation):
            reader.seek(0)
        assert reader.read() == data()
        assert reader.tell() == len(data())
    thread.join()


def test_a_member_is_read_as_soon_as_it_is_there() -> None:
    """By one thread: several wait for as much as is worth their while."""
    end, begin = os.pipe()
    with os.fdopen(end, "rb") as source, os.fdopen(begin, "wb") as sink:
        with codecs_core.open(sink, "wb", "zstd") as writer:
            writer.write(b"now")
            writer.flush()
            with codecs_core.open(source, threads=1) as reader:
                assert reader.read1() == b"now"
                writer.write(b"then")
                writer.flush()
                assert reader.read1() == b"then"


# Damage.


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("codec", FORMATS)
def test_cut_short(codec: str, threads: int) -> None:
    """What is whole comes out, then the error, and again the error."""
    content = data(3 * MIB)
    for file in (written(codec, content), FORMATS[codec].write(content)):
        for length in (0, 3, len(file) // 3, len(file) - 1):
            with opened(file[:length], codec, threads) as reader:
                found = b""
                with pytest.raises(EOFError, match="cut short") as caught:
                    for piece in iter(reader.read1, b""):
                        found += piece
                assert isinstance(caught.value, TruncatedFile | CorruptPayload)
                assert content.startswith(found)
                assert len(found) > len(content) // 5 or length < len(file) // 3
                with pytest.raises(EOFError):
                    reader.read(1)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("codec", FORMATS)
def test_damaged(codec: str, threads: int) -> None:
    """Nothing from behind the damage is read as if it were before it."""
    content = data(3 * MIB)
    file = bytearray(written(codec, content))
    file[len(file) // 2 : len(file) // 2 + 20] = bytes(20)
    with opened(bytes(file), codec, threads) as reader:
        found = b""
        with pytest.raises(CorruptPayload):
            for piece in iter(reader.read1, b""):
                found += piece
        assert content.startswith(found[: len(content) // 4])
        with pytest.raises(CorruptPayload):
            reader.read()
        reader.seek(100)
        assert reader.read(100) == content[100:200]


@pytest.mark.parametrize("codec", FORMATS)
def test_behind_the_last_member(codec: str) -> None:
    """Zero bytes are padding, as for gzip; anything else is damage."""
    for file in (written(codec, b"abc"), FORMATS[codec].write(b"abc")):
        for padding in (1, 100, 3 * MIB):
            with opened(file + bytes(padding), codec) as reader:
                assert reader.read() == b"abc"
        with opened(file + bytes(5) + file, codec) as reader:
            assert reader.read() == b"abcabc"
        with opened(file + b"garbage", codec) as reader:
            assert reader.read(3) == b"abc"
            with pytest.raises(CorruptPayload):
                reader.read()


@pytest.mark.parametrize("codec", FORMATS)
def test_flipped_bits(codec: str) -> None:
    """A reader in threads reads the same of a damaged file as one call, or refuses it as well."""
    content = data(70_000)
    sound = written(codec, content, 30_000)
    chance = random.Random(1)
    for _ in range(150):
        file = bytearray(sound)
        file[chance.randrange(len(file))] ^= 1 << chance.randrange(8)
        try:
            expected = get_codec(codec).decompress(bytes(file), max_length=1 << 20)
        except CorruptPayload:
            expected = None
        with opened(bytes(file), codec) as reader:
            try:
                found = reader.read(1 << 20)
            except CorruptPayload:
                continue
        assert found == expected


def test_a_member_that_hides_another() -> None:
    """The sizes in front are no more than a hint: what they skip does not go unseen."""
    first = get_codec("qatzip").compress(b"shown")
    hidden = gzip.compress(b"hidden")
    body = first[24:-8] + first[-8:] + hidden
    head = bytearray(first[:24])
    head[20:24] = struct.pack("<I", len(body))
    crafted = bytes(head) + body + first[-8:]
    with opened(crafted, "qatzip") as reader:
        with pytest.raises(CorruptPayload):
            reader.read()


# Memory.

_BOMB = 128 * MIB


BOMBS = (
    *("qatzip", "qatzip that lies", "zstd", "zstd that lies"),
    *("lz4", "lz4 that lies", "zlib"),
)


@cache
def bombs() -> dict[str, bytes]:
    """Files that hold much more than they are long."""
    zeros = bytes(_BOMB)
    raw = zlib.compressobj(1, zlib.DEFLATED, -15)
    deflated = raw.compress(zeros) + raw.flush()
    lying = bytearray(get_codec("qatzip").compress(b"x")[:24])
    lying[16:24] = struct.pack("<II", 1000, len(deflated))
    tail = struct.pack("<II", zlib.crc32(zeros), len(zeros))
    return {
        "qatzip": gzip.compress(zeros, 1),
        "qatzip that lies": bytes(lying) + deflated + tail,
        "zstd": zstandard.compress(zeros),
        "lz4": lz4.frame.compress(zeros),
        "zlib": zlib.compress(zeros, 1),
        "zstd that lies": b"\x28\xb5\x2f\xfd\xe0" + b"\xff" * 8 + b"\x01\x00\x00",
        "lz4 that lies": lz4.frame.compress(b"x" * 100)[:6] + b"\xff" * 8 + b"\0" * 9,
    }


@pytest.mark.parametrize("name", BOMBS)
def test_bombs(name: str) -> None:
    """A little of a file needs little memory, whatever it holds or claims."""
    file = bombs()[name]

    def read_a_little() -> None:
        with opened(file, name.split()[0]) as reader:
            with contextlib.suppress(CorruptPayload):
                reader.read(1000)

    assert peak_growth(read_a_little) < _BOMB // 2


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    content = data(4 * MIB)

    def there_and_back(path: Path, times: int) -> None:
        with codecs_core.open(path, "wb", "zstd", threads=2) as writer:
            for _ in range(times):
                writer.write(content)
        with codecs_core.open(path, threads=2) as reader:
            while reader.read1():
                pass

    there_and_back(tmp_path / "warm", 2)
    assert peak_growth(lambda: there_and_back(tmp_path / "file", 30)) < 40 * MIB


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="what this C library does, is fine")
def test_pieces_are_made_in_memory_that_was_used_before(tmp_path: Path) -> None:
    """In a process that has freed nothing large yet, as the commands are."""
    path = tmp_path / "file.zst"
    with codecs_core.open(path, "wb", threads=2) as writer:
        for _ in range(8):
            writer.write(data(4 * MIB))
    program = """
import resource, sys, codecs_core
def read():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    with codecs_core.open(sys.argv[1], threads=2) as reader:
        while reader.read1():
            pass
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
read()
print(min(read(), read()))
"""
    pages = 32 * MIB // os.sysconf("SC_PAGE_SIZE")
    assert int(run(sys.executable, "-c", program, str(path))) < pages // 3


# Codecs of others, which know nothing of all this.


class Plain(Codec):
    """A codec as one was written before files were read in threads."""

    name = "plain"
    suffix = ".bz2"

    def encoder(self, geometry: Any = None) -> Any:
        raise NotImplementedError

    def decoder(self, geometry: Any = None) -> Any:
        raise NotImplementedError

    def compress(self, data: Buffer, /) -> bytes:
        return bz2.compress(data)

    def open_reader(self, source: BinaryIO, /) -> BinaryIO:
        return bz2.open(source)  # type: ignore[return-value]


class Members(Plain):
    name = "members"

    def open_reader(self, source: BinaryIO, /) -> BinaryIO:
        return open_members(
            source, codec="members", start=lambda head: bz2.BZ2Decompressor(), errors=(OSError,)
        )


@pytest.mark.parametrize("codec", [Plain(), Members()], ids=["opaque", "members"])
def test_a_codec_with_the_least_of_the_contract(codec: Codec) -> None:
    content = data(3 * MIB)
    file = written(codec, content)  # type: ignore[arg-type]
    assert bz2.decompress(file) == content
    with opened(file + bz2.compress(content), codec) as reader:
        assert reader.read() == content * 2
        for place in (MIB + 1, 5, 4 * MIB):
            reader.seek(place)
            assert reader.read(10) == (content * 2)[place : place + 10]
        assert reader.seek(0, io.SEEK_END) == 2 * len(content)


def test_threads_decode_at_the_same_time() -> None:
    """Two members wait for each other."""
    barrier = threading.Barrier(2, timeout=10)

    class Waiting(type(get_codec("zstd"))):  # type: ignore[misc]
        def decompress_member(self, data: memoryview, length: int, /) -> bytes:
            barrier.wait()
            return super().decompress_member(data, length)

    content = data(4 * MIB)
    with opened(written("zstd", content), Waiting(), 2) as reader:
        assert reader.read() == content


@pytest.mark.skipif(shutil.which("pzstd") is None, reason="pzstd is not here")
def test_files_of_pzstd(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(data())
    subprocess.run(["pzstd", "-q", "-p", "2", str(path)], check=True)
    with codecs_core.open(tmp_path / "file.zst", threads=2) as reader:
        assert reader.read() == data()
