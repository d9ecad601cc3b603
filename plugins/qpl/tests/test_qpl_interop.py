"""The real libqpl beside ours: each reads what the other writes, limited to a page of output."""

from __future__ import annotations

import random
import re
import subprocess
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from struct import pack, unpack_from

import pytest
from codecs_core_qpl import QplCodec, build_info, software
from codecs_core_qpl.codes import LibraryError, meaning
from codecs_core_qpl.library import LibrarySession
from codecs_core_qpl.probe import hardware
from hypothesis import given
from hypothesis import strategies as st

from codecs_core.codec import DEFAULT_GEOMETRY, Decoder, Encoder, Geometry
from codecs_core.errors import CodecUnavailable, CorruptPayload
from codecs_core.testing.data import KINDS, sample

PAGE = 4096


class Libqpl(Encoder, Decoder):
    """libqpl's software path alone, called as QEMU calls it, without our software behind it."""

    def __init__(self, geometry: Geometry = DEFAULT_GEOMETRY) -> None:
        self.session = LibrarySession(geometry, hardware=False)

    def encode(self, packet: memoryview, /) -> memoryview:
        return self.session.compress(packet)[0]

    def decode_into(self, payload: memoryview, packet: memoryview, /) -> None:
        self.session.decompress(payload, packet)

    def close(self) -> None:
        self.session.close()


@pytest.fixture(scope="module")
def theirs() -> Iterator[Libqpl]:
    with Libqpl() as session:
        yield session


def packet_encoder() -> Encoder:
    return software.PacketEncoder(DEFAULT_GEOMETRY)


def pages_encoder() -> Encoder:
    return software.PagesEncoder(DEFAULT_GEOMETRY)


def packet_decoder() -> Decoder:
    return software.PacketDecoder(DEFAULT_GEOMETRY)


def pages_decoder() -> Decoder:
    return software.PagesDecoder(DEFAULT_GEOMETRY)


ENCODERS = pytest.mark.parametrize("encoder", [packet_encoder, pages_encoder])
DECODERS = pytest.mark.parametrize("decoder", [packet_decoder, pages_decoder])


def decode(decoder: Decoder, payload: bytes, size: int) -> bytes:
    packet = bytearray(size)
    decoder.decode_into(memoryview(payload), memoryview(packet))
    return bytes(packet)


def encode(encoder: Encoder, packet: bytes) -> bytes:
    return bytes(encoder.encode(memoryview(packet)))


def diverse() -> bytes:
    """One page of every kind that strains a compressor, one packet after another."""
    chance = random.Random(1)
    pages = [sample(kind, PAGE, seed) for kind in KINDS for seed in range(60)]
    for period in (1, 2, 3, 5, 7, 8, 16, 255, 256, 257, 258, 259, 1024, 2047, 2048, 4095):
        unit = chance.randbytes(period)
        pages.append((unit * PAGE)[:PAGE])
        # The same with a change in the last bytes, and noise before it.
        pages.append(pages[-1][:-1] + b"\x01")
        pages.append(chance.randbytes(PAGE // 2) + (unit * PAGE)[: PAGE // 2])
    # On the border between pages that pay and pages that do not.
    pages += [chance.randbytes(PAGE - n) + bytes(n) for n in range(0, 400, 2)]
    pages += [bytes(n) + chance.randbytes(PAGE - n) for n in range(0, 400, 8)]
    return b"".join(pages)


@ENCODERS
def test_libqpl_reads_every_page_of_ours(theirs: Libqpl, encoder: Callable[[], Encoder]) -> None:
    """The trap: it says MORE_OUTPUT_NEEDED for some valid streams where the page is full."""
    data = diverse()
    ours = encoder()
    for at in range(0, len(data), PAGE):
        page = data[at : at + PAGE]
        assert decode(theirs, encode(ours, page), PAGE) == page, at // PAGE


@DECODERS
def test_we_read_every_page_of_libqpl(theirs: Libqpl, decoder: Callable[[], Decoder]) -> None:
    data = diverse()
    ours = decoder()
    for at in range(0, len(data), PAGE):
        page = data[at : at + PAGE]
        assert decode(ours, encode(theirs, page), PAGE) == page, at // PAGE


@given(
    units=st.lists(
        st.tuples(st.binary(min_size=1, max_size=40), st.integers(1, 400)), min_size=1, max_size=60
    )
)
def test_any_page_passes_both_ways(theirs: Libqpl, units: list[tuple[bytes, int]]) -> None:
    joined = b"".join(unit * count for unit, count in units)
    packet = (joined * (3 * PAGE // len(joined) + 1))[: 3 * PAGE]
    for encoder in (theirs, packet_encoder(), pages_encoder()):
        payload = encode(encoder, packet)
        for decoder in (theirs, packet_decoder(), pages_decoder()):
            assert decode(decoder, payload, len(packet)) == packet


def test_a_packet_of_128_pages_passes_both_ways(theirs: Libqpl) -> None:
    packet = sample("memory", 512 << 10, 1)
    for encoder in (theirs, packet_encoder(), pages_encoder()):
        for decoder in (theirs, packet_decoder(), pages_decoder()):
            assert decode(decoder, encode(encoder, packet), len(packet)) == packet


class Bits:
    """A deflate stream written by hand: RFC 1951, section 3.2.6."""

    def __init__(self) -> None:
        self.value = self.count = 0

    def put(self, value: int, count: int) -> None:
        """A number, its lowest bit first."""
        self.value |= value << self.count
        self.count += count

    def code(self, value: int, count: int) -> None:
        """A Huffman code, its highest bit first."""
        self.put(int(f"{value:0{count}b}"[::-1], 2), count)

    def to_bytes(self) -> bytes:
        return self.value.to_bytes(-(-self.count // 8), "little")


def page_of(letter: int) -> bytes:
    """4096 times a letter below 144: a literal, 15 matches of 258 at distance 1, one of 225."""
    bits = Bits()
    bits.put(1, 1)  # the last block
    bits.put(1, 2)  # fixed codes
    bits.code(0x30 + letter, 8)
    for _ in range(15):
        bits.code(0b11000000 + 285 - 280, 8)
        bits.code(0, 5)
    bits.code(0b11000000 + 283 - 280, 8)
    bits.put(225 - 195, 5)
    bits.code(0, 5)
    bits.code(0, 7)  # end of block
    return bits.to_bytes()


def test_the_payload_byte_by_byte(theirs: Libqpl) -> None:
    """Three pages, written by hand after the format's description, not by any encoder."""
    noise = random.Random(7).randbytes(PAGE)
    first, last = page_of(ord("A")), page_of(ord("z"))
    payload = b"".join(
        (bytes([0, 0, 0, len(first)]), bytes([0, 0, 16, 0]), bytes([0, 0, 0, len(last)]))
    ) + (first + noise + last)
    packet = b"A" * PAGE + noise + b"z" * PAGE
    for decoder in (theirs, packet_decoder(), pages_decoder()):
        assert decode(decoder, payload, len(packet)) == packet


@ENCODERS
def test_what_we_write_read_byte_by_byte(encoder: Callable[[], Encoder]) -> None:
    """By the standard library alone, with a window of 4 KiB."""
    packet = sample("memory", 64 * PAGE, 5)
    payload = encode(encoder(), packet)
    lengths = unpack_from(">64I", payload)
    at, raw = 4 * 64, 0
    for page, length in enumerate(lengths):
        stream = payload[at : at + length]
        at += length
        if length == PAGE:
            raw += 1
            inflated = stream
        else:
            member = zlib.decompressobj(-12)
            inflated = member.decompress(stream)
            assert member.eof
            assert member.unused_data == b""
        assert inflated == packet[PAGE * page : PAGE * (page + 1)]
    assert at == len(payload)
    assert 0 < raw < 64


@ENCODERS
def test_noise_goes_raw(encoder: Callable[[], Encoder]) -> None:
    packet = sample("random", 4 * PAGE, 3)
    assert encode(encoder(), packet) == pack(">4I", *[PAGE] * 4) + packet


def test_far_matches_are_not_written(theirs: Libqpl) -> None:
    """Of a page of 64 KiB a device remembers 4 KiB, as zlib with a window of that size."""
    geometry = Geometry(1 << 16, 1 << 16)
    unit = random.Random(2).randbytes(5000)
    packet = (unit * 14)[: 1 << 16]
    near = (unit[:3000] * 30)[: 1 << 16]
    for encoder in (software.PacketEncoder(geometry), software.PagesEncoder(geometry)):
        payload = encode(encoder, near)
        assert len(payload) < 40_000
        assert zlib.decompressobj(-12).decompress(payload[4:]) == near
        assert len(encode(encoder, packet)) == 4 + len(packet)


def test_libqpl_survives_a_long_run(capfd: pytest.CaptureFixture[str]) -> None:
    page = sample("text", PAGE, 1)
    with QplCodec(backend="libqpl").encoder() as encoder:
        for _ in range(5000):
            payload = bytes(encoder.encode(memoryview(page)))
        assert encoder.statistics() == {"hardware_packets": 0, "software_packets": 5000}
    assert decode(QplCodec().decoder(), payload, PAGE) == page
    assert capfd.readouterr() == ("", "")


def test_what_libqpl_refuses_our_software_judges() -> None:
    packet = sample("text", 2 * PAGE, 1)
    payload = bytearray(encode(packet_encoder(), packet))
    payload[8:12] = b"\xff" * 4
    with pytest.raises(LibraryError) as refused, Libqpl() as libqpl:
        decode(libqpl, bytes(payload), len(packet))
    assert refused.value.data
    with QplCodec(backend="libqpl").decoder() as decoder, pytest.raises(CorruptPayload):
        decode(decoder, bytes(payload), len(packet))


def test_this_host_has_the_bindings_and_no_device() -> None:
    assert build_info().built
    assert build_info("isal").built
    backend = QplCodec.availability().backend
    assert build_info().version in backend
    if not hardware().found:
        assert "no device" in backend
        with pytest.raises(CodecUnavailable, match=r"backend hardware.*missing on the way"):
            QplCodec(backend="hardware").encoder()


def test_the_named_statuses_are_those_of_the_header(build_environment: dict[str, str]) -> None:
    asked = ["pkg-config", "--variable=includedir", "qpl"]
    done = subprocess.run(asked, env=build_environment, capture_output=True, text=True, check=True)
    header = Path(done.stdout.strip(), "qpl/c_api/status.h").read_text()
    bases = {
        name: int(value) for name, value in re.findall(r"#define (QPL_\w+)_BASE +(\d+)U", header)
    }
    found = {
        bases[base] + int(offset): name
        for name, base, offset in re.findall(
            r"^ +(QPL_STS_\w+) .*= (QPL_\w+)\((\d+)U?\)", header, re.MULTILINE
        )
    }
    assert len(found) > 100
    named = {
        status: match[1]
        for status in found
        if (match := re.match(r"(QPL_STS_\w+): ", meaning(status)))
    }
    assert len(named) > 10
    assert all(found[status] == name for status, name in named.items())
    assert "status 777" in meaning(777)
