from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codecs_core.errors import ProtocolError
from codecs_core.wire.mapped_ram import HEADER_SIZE, MappedRam, page_runs

offsets = st.integers(0, (1 << 64) - 1)


@given(st.sampled_from([1 << bits for bits in range(10, 20)]), offsets, offsets)
def test_decoding_undoes_encoding(page_size: int, bitmap: int, pages: int) -> None:
    header = MappedRam(page_size, bitmap, pages)
    assert MappedRam.decode(header.encode()) == header


@given(st.binary(min_size=HEADER_SIZE, max_size=HEADER_SIZE))
def test_encoding_undoes_decoding_of_whatever_is_accepted(data: bytes) -> None:
    try:
        header = MappedRam.decode(data)
    except ProtocolError:
        return
    assert header.encode() == data


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (bytes(27), "28 bytes, not 27"),
        (MappedRam(4096, 0, 0).encode()[:3] + b"\2" + bytes(24), "version 2"),
        (MappedRam(4096, 0, 0).encode().replace(b"\x10\0", b"\x10\1", 1), "page size 4097"),
        (MappedRam(1 << 63, 0, 0).encode(), "page size 9223372036854775808"),
    ],
)
def test_a_header_that_cannot_be_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(ProtocolError, match=message):
        MappedRam.decode(data)


def test_a_field_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ProtocolError, match="does not fit"):
        MappedRam(4096, -1, 0).encode()


def test_bitmap_and_pages_follow_the_header() -> None:
    MappedRam(4096, 100, 1 << 20).check(100, 4096 * 8)
    for bitmap, pages in ((99, 1 << 20), (100, 100), (1 << 20, 100)):
        with pytest.raises(ProtocolError, match="do not follow the header"):
            MappedRam(4096, bitmap, pages).check(100, 4096 * 8)
    with pytest.raises(ProtocolError, match="beyond any file"):
        MappedRam(4096, 100, (1 << 63) - 4096).check(100, 4096 * 8)
    with pytest.raises(ProtocolError, match="no whole pages"):
        MappedRam(4096, 100, 1 << 20).check(100, 4095)


@given(st.sets(st.integers(0, 200)), st.integers(0, 201), st.integers(1, 40))
def test_the_runs_are_the_set_bits(bits: set[int], pages: int, longest: int) -> None:
    bitmap = sum(1 << bit for bit in bits).to_bytes(26, "little")
    runs = list(page_runs(bitmap, pages, longest))
    assert [page for first, count in runs for page in range(first, first + count)] == sorted(
        bit for bit in bits if bit < pages
    )
    assert all(1 <= count <= longest for _, count in runs)
