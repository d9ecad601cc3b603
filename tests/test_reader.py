"""Reading standard file formats through decompressor objects."""

import bz2
import io
import lzma
from collections.abc import Callable
from typing import BinaryIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codecs_core.errors import CodecError, CorruptPayload
from codecs_core.reader import Decompressor, open_members
from codecs_core.testing.data import sample

Start = Callable[[bytes], Decompressor]

FORMATS: dict[str, tuple[Callable[[bytes], bytes], Start, type[Exception]]] = {
    "bz2": (bz2.compress, lambda head: bz2.BZ2Decompressor(), OSError),
    "lzma": (lzma.compress, lambda head: lzma.LZMADecompressor(), lzma.LZMAError),
}


def open_as(name: str, data: bytes, read_size: int = 1000) -> BinaryIO:
    _, start, error = FORMATS[name]
    source = io.BytesIO(data)
    return open_members(source, codec=name, start=start, errors=(error,), read_size=read_size)


@pytest.mark.parametrize("name", FORMATS)
@given(
    parts=st.lists(st.binary(max_size=3000), min_size=1, max_size=4),
    read_size=st.integers(1, 200),
    step=st.integers(1, 5000),
)
def test_members_come_back_in_any_steps(
    name: str, parts: list[bytes], read_size: int, step: int
) -> None:
    write = FORMATS[name][0]
    reader = open_as(name, b"".join(map(write, parts)), read_size)
    pieces = iter(lambda: reader.read(step), b"")
    assert b"".join(pieces) == b"".join(parts)


@pytest.mark.parametrize("name", FORMATS)
def test_cut_short_anywhere_but_between_members(name: str) -> None:
    write = FORMATS[name][0]
    first, second = write(b"page" * 100), write(b"packet" * 100)
    whole = first + second
    for length in range(len(whole)):
        if length == len(first):
            assert open_as(name, whole[:length]).read() == b"page" * 100
            continue
        with pytest.raises(CorruptPayload, match=f"{name}: the data is"):
            open_as(name, whole[:length]).read()


@pytest.mark.parametrize("name", FORMATS)
def test_anything_but_a_member_behind_a_member_is_damage(name: str) -> None:
    data = FORMATS[name][0](b"page") + b"no member at all"
    with pytest.raises(CorruptPayload, match="damaged") as caught:
        open_as(name, data).read()
    assert isinstance(caught.value.__cause__, FORMATS[name][2])


@pytest.mark.parametrize("name", FORMATS)
def test_reads_no_more_than_asked_for(name: str) -> None:
    """What the reader holds is bounded by what is read at a time."""
    data = FORMATS[name][0](sample("zeros", 10 << 20))
    reader = open_as(name, data)
    assert reader.read(10) == bytes(10)
    assert len(reader.read()) == (10 << 20) - 10


def test_other_errors_pass_through() -> None:
    class Failing(io.RawIOBase):
        def read(self, size: int = -1, /) -> bytes:
            raise OSError("the disk is gone")

    start = FORMATS["lzma"][1]
    reader = open_members(Failing(), codec="lzma", start=start, errors=(lzma.LZMAError,))  # type: ignore[arg-type]
    with pytest.raises(OSError, match="the disk is gone"):
        reader.read(1)


def test_first_bytes_choose_the_decompressor() -> None:
    def start(head: bytes) -> Decompressor:
        return bz2.BZ2Decompressor() if head.startswith(b"BZh") else lzma.LZMADecompressor()

    mixed = bz2.compress(b"one ") + lzma.compress(b"two ") + bz2.compress(b"three")
    reader = open_members(
        io.BytesIO(mixed), codec="mixed", start=start, errors=(OSError, lzma.LZMAError)
    )
    assert reader.read() == b"one two three"


def test_a_decompressor_that_returns_too_much_is_named() -> None:
    class Lavish:
        """Takes the bound for a hint."""

        eof = False
        needs_input = True
        unused_data = b""

        def decompress(self, data: bytes, max_length: int) -> bytes:
            return bytes(max_length + 1)

    reader = open_members(io.BytesIO(b"x"), codec="alpha", start=lambda _: Lavish(), errors=())
    with pytest.raises(CodecError, match=r"alpha: its decompressor returned .* asked for; rep"):
        reader.read()
