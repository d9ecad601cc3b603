"""Members that lie, in every field: refused, with nothing written past the packet."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable
from struct import pack_into

import pytest
from codecs_core_qatzip import QatzipCodec
from codecs_core_qatzip.member import FOOTER, HEADER, members, packets
from hypothesis import example, given
from hypothesis import strategies as st

from codecs_core.errors import CorruptPayload, ParameterError
from codecs_core.testing.data import sample

PAGE = 4096
DATA = sample("text", 2 * PAGE, 1)
GUARD = b"\xa5" * PAGE
Damage = Callable[[bytearray], object]


def encode(data: bytes) -> bytearray:
    return bytearray(QatzipCodec(backend="software").encoder().encode(memoryview(data)))


def refuse(payload: bytes, size: int = len(DATA)) -> str:
    """Decode into memory with guards around it; return the error."""
    memory = bytearray(GUARD + bytes(size) + GUARD)
    packet = memoryview(memory)[PAGE : PAGE + size]
    with pytest.raises(CorruptPayload) as caught:
        QatzipCodec(backend="software").decoder().decode_into(memoryview(payload), packet)
    assert memory[:PAGE] == memory[-PAGE:] == GUARD
    return str(caught.value)


@pytest.mark.parametrize(
    ("format_", "offset", "value", "said"),
    [
        ("<B", 0, 0x1E, "no gzip member"),
        ("<B", 1, 0x8C, "no gzip member"),
        ("<B", 2, 7, "no gzip member"),
        ("<B", 3, 0, "no gzip member"),
        ("<B", 3, 0x0C, "no gzip member"),
        ("<H", 10, 11, "extra field"),
        ("<H", 10, 0xFFFF, "extra field"),
        ("<B", 12, ord("q"), "extra field"),
        ("<H", 14, 9, "extra field"),
        ("<I", 16, 0, "announces 0 bytes"),
        ("<I", 16, len(DATA) + 1, "announces 8193 bytes"),
        ("<I", 16, 0xFFFFFFFF, "announces 4294967295 bytes"),
        ("<I", 16, len(DATA) - 1, "differ in size"),
        ("<I", 20, 0, "announces 0 bytes of deflate"),
        ("<I", 20, 0xFFFFFFFF, "bytes of deflate"),
        ("<I", -4, len(DATA) - 1, "differ in size"),
        ("<I", -8, 1, "damaged"),
    ],
)
def test_every_field_is_checked(format_: str, offset: int, value: int, said: str) -> None:
    payload = encode(DATA)
    pack_into(format_, payload, offset % len(payload), value)
    assert said in refuse(payload)


@pytest.mark.parametrize("change", [-1, 1, 7])
def test_a_deflate_size_that_lies_a_little(change: int) -> None:
    payload = encode(DATA)
    size = len(payload) - HEADER.size - FOOTER.size
    pack_into("<I", payload, 20, size + change)
    refuse(payload)
    refuse(payload + bytes(8))


def test_cut_at_every_byte() -> None:
    payload = bytes(encode(DATA))
    for end in range(len(payload)):
        refuse(payload[:end])


def test_trailing_bytes_and_members() -> None:
    payload = bytes(encode(DATA))
    for more in (b"\0", b"\x1f", bytes(7), bytes(32), bytes(100), payload, payload[:40]):
        refuse(payload + more)


def test_too_few_and_too_many_pages() -> None:
    assert "before its packet" in refuse(bytes(encode(DATA[:PAGE])))
    assert "announces" in refuse(bytes(encode(DATA)), PAGE)
    assert "too few" in refuse(bytes(encode(DATA[:PAGE])) + b"\x1f\x8b")
    assert "before its packet" in refuse(b"")


def test_a_bomb_stops_at_the_packet() -> None:
    """A stream of 64 MiB of zeros that says it is two pages."""
    stream = zlib.compressobj(9, zlib.DEFLATED, -15)
    deflated = stream.compress(bytes(64 << 20)) + stream.flush()
    payload = bytearray(encode(DATA)[: HEADER.size]) + deflated + FOOTER.pack(0, len(DATA))
    pack_into("<I", payload, 20, len(deflated))
    assert "damaged" in refuse(payload)


def test_a_stream_that_gives_less_than_it_says() -> None:
    stream = zlib.compressobj(9, zlib.DEFLATED, -15)
    deflated = stream.compress(DATA[:100]) + stream.flush()
    payload = bytearray(encode(DATA)[: HEADER.size]) + deflated
    payload += FOOTER.pack(zlib.crc32(DATA[:100]), len(DATA))
    pack_into("<I", payload, 20, len(deflated))
    refuse(payload)


@given(payload=st.binary(max_size=200), expected=st.integers(1, PAGE))
def test_noise_is_refused(payload: bytes, expected: int) -> None:
    with pytest.raises(CorruptPayload):
        list(members(memoryview(payload), expected))


@given(at=st.integers(0), bit=st.integers(0, 7))
@example(at=309, bit=4)
def test_every_flipped_bit_is_noticed_or_means_nothing(at: int, bit: int) -> None:
    payload = encode(DATA)
    at %= len(payload)
    payload[at] ^= 1 << bit
    packet = bytearray(len(DATA))
    try:
        QatzipCodec().decoder().decode_into(memoryview(payload), memoryview(packet))
    except CorruptPayload:
        return
    # The time stamp, the mark of the level and the operating system mean nothing; and a stream may
    # say the same in two ways.
    assert packet == DATA


@pytest.mark.parametrize("size", [1 << 10, 64 << 10, 512 << 10])
def test_buffer_sizes_that_fit(size: int) -> None:
    assert QatzipCodec(hw_buff_sz=size).hw_buff_sz == size


@pytest.mark.parametrize(
    "wrong",
    [
        {"level": 0}, {"level": 10}, {"backend": "zlib"}, {"hw_buff_sz": 65535},
        {"hw_buff_sz": 512}, {"hw_buff_sz": 1 << 20}, {"input_sz_thrshold": 127},
        {"input_sz_thrshold": (512 << 10) + 1}, {"huffman_hdr": "fixed"}, {"sw_backup": 1},
    ],
)  # fmt: skip
def test_parameters_that_do_not_fit(wrong: dict[str, object]) -> None:
    (field,) = wrong
    with pytest.raises(ParameterError, match=f"multifd-qatzip-{field.replace('_', '-')} expects"):
        QatzipCodec(**wrong)  # type: ignore[arg-type]


def test_a_file_is_grouped_to_packets() -> None:
    """As many members as fit, of the file's bytes and of what they decode to."""
    small = bytes(encode(b"page" * 1024))
    large = bytes(encode(bytes(PAGE)))
    file = memoryview(small * 3 + large * 2)
    grouped = packets(file, 2 * PAGE)
    assert grouped is not None
    assert [each.source_size for each in grouped] == [2 * PAGE, 2 * PAGE, PAGE]
    assert b"".join(each.data for each in grouped) == file
    # Members of a byte are longer than what they hold.
    grouped = packets(memoryview(bytes(encode(b"x")) * 10_000), 2 * PAGE)
    assert grouped is not None
    assert sum(each.source_size for each in grouped) == 10_000
    assert max(len(each.data) for each in grouped) < 2 * 2 * PAGE


@pytest.mark.parametrize("size", [0, 1, PAGE, (1 << 20) + 5])
def test_files_of_any_gzip_writer_decode(size: int) -> None:
    codec = QatzipCodec(backend="software")
    data = sample("memory", size)
    for file in (
        codec.compress(data),
        gzip.compress(data),
        codec.compress(data) + gzip.compress(b""),
        gzip.compress(b"") + codec.compress(data),
    ):
        assert codec.decompress(file) == codec.decompress(file, max_length=size) == data
        if size:
            with pytest.raises(CorruptPayload, match=f"max_length={size - 1} "):
                codec.decompress(file, max_length=size - 1)


def test_only_files_of_qatzip_are_grouped() -> None:
    member = bytes(encode(DATA))
    for other in (
        b"",
        gzip.compress(DATA),
        member + gzip.compress(DATA),
        member[:-1],
        member + b"x",
    ):
        assert packets(memoryview(other), len(DATA)) is None
    assert packets(memoryview(member), len(DATA) - 1) is None


def test_a_size_that_lies_in_a_file_is_noticed() -> None:
    codec = QatzipCodec(backend="software")
    file = encode(DATA)
    for size in (len(DATA) - 1, len(DATA) + 1, 1 << 19):
        pack_into("<I", file, 16, size)
        pack_into("<I", file, len(file) - 4, size)
        with pytest.raises(CorruptPayload):
            codec.decompress(file)
