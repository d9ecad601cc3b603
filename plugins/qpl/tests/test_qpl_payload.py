"""Payloads that lie, in every field: refused, with nothing written past the packet."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from struct import pack, pack_into

import pytest
from codecs_core_qpl import QplCodec, software
from codecs_core_qpl.library import LibrarySession, binding
from codecs_core_qpl.payload import Wrong
from hypothesis import given
from hypothesis import strategies as st

from codecs_core.codec import DEFAULT_GEOMETRY, Decoder
from codecs_core.device import GuardedDecoder
from codecs_core.errors import CodecError, CorruptPayload, ParameterError
from codecs_core.testing.data import sample

PAGE = 4096
DATA = sample("text", 2 * PAGE, 1)
GUARD = b"\xa5" * PAGE

READERS: dict[str, Callable[[], Decoder]] = {
    "one call": lambda: software.PacketDecoder(DEFAULT_GEOMETRY),
    "page by page": lambda: software.PagesDecoder(DEFAULT_GEOMETRY),
    "libqpl": lambda: QplCodec(backend="libqpl").decoder(),
}


@pytest.fixture(params=READERS)
def reader(request: pytest.FixtureRequest) -> Decoder:
    return READERS[request.param]()


def encode(data: bytes) -> bytearray:
    return bytearray(QplCodec(backend="software").encoder().encode(memoryview(data)))


def deflated(data: bytes) -> bytes:
    stream = zlib.compressobj(1, zlib.DEFLATED, -12)
    return stream.compress(data) + stream.flush()


def payload_of(*pages: bytes) -> bytes:
    return pack(f">{len(pages)}I", *map(len, pages)) + b"".join(pages)


def refuse(reader: Decoder, payload: bytes, size: int = len(DATA)) -> str:
    """Decode into memory with guards around it; return the error."""
    memory = bytearray(GUARD + bytes(size) + GUARD)
    packet = memoryview(memory)[PAGE : PAGE + size]
    with pytest.raises(CorruptPayload) as caught:
        reader.decode_into(memoryview(payload), packet)
    assert memory[:PAGE] == memory[-PAGE:] == GUARD
    return str(caught.value)


@pytest.mark.parametrize("page", [0, 1])
@pytest.mark.parametrize("length", [0, PAGE + 1, 1 << 31, 0xFFFFFFFF])
def test_a_length_that_cannot_be(reader: Decoder, page: int, length: int) -> None:
    payload = encode(DATA)
    pack_into(">I", payload, 4 * page, length)
    assert f"page {page} announces {length} bytes" in refuse(reader, payload)


@pytest.mark.parametrize("change", [-1, 1, 100])
def test_lengths_that_differ_from_what_is_there(reader: Decoder, change: int) -> None:
    payload = encode(DATA)
    length = int.from_bytes(payload[4:8], "big")
    pack_into(">I", payload, 4, length + change)
    assert "the pages announce" in refuse(reader, payload)


@pytest.mark.parametrize("change", [-1, 1, -20, 20])
def test_lengths_that_move_a_border(reader: Decoder, change: int) -> None:
    """The sum is right, but each page has a part of the other."""
    payload = encode(DATA)
    for page, by in ((0, change), (1, -change)):
        length = int.from_bytes(payload[4 * page : 4 * page + 4], "big")
        pack_into(">I", payload, 4 * page, length + by)
    refuse(reader, payload)


def test_cut_at_every_byte_and_lengthened(reader: Decoder) -> None:
    payload = bytes(encode(DATA))
    for end in range(len(payload)):
        said = refuse(reader, payload[:end])
        assert ("too few for the lengths of 2 pages" if end < 8 else "are there") in said
    for more in (b"\0", bytes(100), payload):
        assert "are there" in refuse(reader, payload + more)


def test_too_few_and_too_many_pages(reader: Decoder) -> None:
    refuse(reader, encode(DATA[:PAGE]))
    refuse(reader, encode(DATA), PAGE)
    refuse(reader, b"")


def test_a_stream_of_less_than_a_page(reader: Decoder) -> None:
    for size in (0, 1, PAGE - 1):
        said = refuse(reader, payload_of(deflated(DATA[:PAGE]), deflated(DATA[:size])))
        assert "page 1 decodes to less than 4096 bytes" in said


def test_a_stream_of_more_than_a_page(reader: Decoder) -> None:
    for size in (PAGE + 1, 2 * PAGE, 64 << 10, 512 << 10):
        said = refuse(reader, payload_of(deflated(bytes(size)), deflated(DATA[:PAGE])))
        assert "page 0 is no deflate stream of 4096 bytes or less" in said


def test_bytes_behind_a_stream() -> None:
    stream = deflated(DATA[:PAGE])
    for name in ("one call", "page by page"):
        said = refuse(READERS[name](), payload_of(stream, stream + b"\0"))
        assert "the stream of page 1 ends before its announced length" in said


@pytest.mark.parametrize("distance_code", [0, 5, 12, 23, 24, 29, 30, 31])
def test_distances_past_what_was_written(reader: Decoder, distance_code: int) -> None:
    """The first symbol is a match, of a page that has nothing to match yet."""
    bits = (
        0b011 | int(f"{257 - 256:07b}"[::-1], 2) << 3 | int(f"{distance_code:05b}"[::-1], 2) << 10
    )
    stream = bits.to_bytes(16, "little")
    assert "page 0 is no deflate stream" in refuse(reader, payload_of(stream), PAGE)


def test_a_distance_into_the_page_before(reader: Decoder) -> None:
    """Pages stand alone: what lies before in the packet cannot be referred to."""
    stream = zlib.compressobj(9, zlib.DEFLATED, -15, 9, 0, DATA[:PAGE])
    second = stream.compress(DATA[:PAGE]) + stream.flush()
    assert len(second) < 100
    said = refuse(reader, payload_of(deflated(DATA[:PAGE]), second))
    assert "page 1 is no deflate stream" in said


@given(payload=st.binary(max_size=300))
def test_noise_is_refused(payload: bytes) -> None:
    for make in READERS.values():
        with make() as reader:
            refuse(reader, payload, PAGE)


@given(at=st.integers(0), bit=st.integers(0, 7), kind=st.sampled_from(["text", "memory"]))
def test_a_flipped_bit_hurts_nothing(at: int, bit: int, kind: str) -> None:
    """There is no checksum; what is accepted fills the packet, and no more. All readers agree."""
    payload = encode(sample(kind, 2 * PAGE, 2))
    payload[at % len(payload)] ^= 1 << bit
    results = []
    for make in READERS.values():
        memory = bytearray(GUARD + bytes(2 * PAGE) + GUARD)
        with make() as reader:
            try:
                reader.decode_into(memoryview(payload), memoryview(memory)[PAGE:-PAGE])
                results.append(bytes(memory[PAGE:-PAGE]))
            except CorruptPayload:
                results.append(b"")
        assert memory[:PAGE] == memory[-PAGE:] == GUARD
    assert results[0] == results[1]


def test_the_numbers_of_what_is_wrong_are_those_of_c() -> None:
    for module in (binding(), software._kernel()):
        assert module is not None
        for each in Wrong:
            assert getattr(module.lib, f"CQ_{each.name}") == each


def test_a_session_without_our_software_refuses_lies_too() -> None:
    session = LibrarySession(DEFAULT_GEOMETRY, hardware=False)
    packet = memoryview(bytearray(PAGE))
    for payload in (b"", bytes(4), pack(">I", PAGE) + bytes(PAGE - 1)):
        with pytest.raises(CorruptPayload):
            session.decompress(memoryview(payload), packet)
    with pytest.raises(CodecError):
        session.decompress(memoryview(pack(">I", 9) + b"\xff" * 9), packet)
    session.close()
    session.close()


def test_libqpl_is_guarded() -> None:
    assert isinstance(READERS["libqpl"](), GuardedDecoder)


def test_a_backend_that_there_is_not() -> None:
    with pytest.raises(ParameterError, match="multifd-qpl-backend expects one of auto, hardware"):
        QplCodec(backend="zlib")
