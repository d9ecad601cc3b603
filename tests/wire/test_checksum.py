"""Checksums of packets: where they stand, what they are, and that no bit escapes them."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from xxhash import xxh3_64, xxh3_64_intdigest

from codecs_core import CorruptPayload, Geometry, ProtocolError
from codecs_core.wire import control
from codecs_core.wire.channel import ChannelParser
from codecs_core.wire.checksum import check_header, check_pages, clear, is_clear, of_pages, seal
from codecs_core.wire.packet import PacketHeader

GEOMETRY = Geometry(512, 1024)
PAGES = bytes(range(256)) * 4
HEADER = PacketHeader(
    method=0,
    packet_num=7,
    normal_pages=2,
    next_packet_size=1024,
    block="ram",
    offsets=struct.pack(">2Q", 512, 1024),
    pages_alloc=2,
)


def sealed(pages: bytes = PAGES, header: PacketHeader = HEADER) -> bytearray:
    raw = bytearray(header.encode(GEOMETRY))
    seal(raw, of_pages(pages))
    return raw


def test_layout() -> None:
    """As docs/wire-format.md says it, computed by hand."""
    raw = sealed()
    assert raw[40:48] == xxh3_64_intdigest(PAGES).to_bytes(8)
    plain = raw[:48] + bytes(8) + raw[56:]
    assert raw[48:56] == xxh3_64_intdigest(plain).to_bytes(8)
    assert raw[:40] + bytes(16) + raw[56:] == HEADER.encode(GEOMETRY)


def test_without_pages_theirs_is_zero() -> None:
    header = PacketHeader(method=0, packet_num=1, sync=True)
    raw = sealed(b"", header)
    assert raw[40:48] == bytes(8)
    assert of_pages(b"") == 0
    check_header(memoryview(raw))


def test_the_vectors_of_the_specification() -> None:
    """XXH3-64 with seed 0, so that another implementation can be held against this one."""
    assert xxh3_64_intdigest(b"") == 0x2D06800538D394C2
    assert of_pages(bytes(4096)) == xxh3_64_intdigest(bytes(4096))


def test_every_bit_of_a_header_is_covered() -> None:
    good = sealed()
    for bit in range(8 * len(good)):
        bad = bytearray(good)
        bad[bit // 8] ^= 1 << bit % 8
        with pytest.raises(ProtocolError, match="it was damaged on the way"):
            check_header(memoryview(bad))


@given(st.binary(min_size=1, max_size=2048), st.data())
def test_every_bit_of_the_pages_is_covered(pages: bytes, data: st.DataObject) -> None:
    bit = data.draw(st.integers(0, 8 * len(pages) - 1))
    bad = bytearray(pages)
    bad[bit // 8] ^= 1 << bit % 8
    check_pages(of_pages(pages), pages)
    with pytest.raises(CorruptPayload, match="its pages have the checksum"):
        check_pages(of_pages(pages), bad)


def test_checking_leaves_a_header_as_it_is() -> None:
    raw = sealed()
    before = bytes(raw)
    check_header(memoryview(raw))
    assert raw == before


def test_clearing_is_the_inverse_of_sealing() -> None:
    raw = sealed()
    assert not is_clear(raw)
    clear(raw)
    assert is_clear(raw)
    assert raw == HEADER.encode(GEOMETRY)


class TestParser:
    def test_checks_a_header_before_it_waits_for_a_payload(self) -> None:
        """A damaged size is never waited for: what would follow may never come."""
        raw = sealed()
        raw[23] ^= 1
        parser = ChannelParser(GEOMETRY, init=False, checksum=True)
        with pytest.raises(ProtocolError, match="it was damaged on the way"):
            list(parser.feed(raw))

    def test_says_damage_and_not_what_the_damage_looks_like(self) -> None:
        raw = sealed()
        raw[11] ^= 0x80
        with pytest.raises(ProtocolError, match="it was damaged on the way"):
            list(ChannelParser(GEOMETRY, init=False, checksum=True).feed(raw))
        with pytest.raises(ProtocolError, match="unknown flag bits"):
            list(ChannelParser(GEOMETRY, init=False).feed(raw))

    def test_takes_sealed_headers_whether_it_checks_or_not(self) -> None:
        for checksum in (True, False):
            parser = ChannelParser(GEOMETRY, init=False, checksum=checksum)
            header, *_ = parser.feed(bytes(sealed()) + PAGES)
            assert isinstance(header, PacketHeader)
            assert header.checksum == of_pages(PAGES)


class TestAgreement:
    """DONE's checksum of all that was said."""

    HELLO, ACCEPT = b'{"hello":1}', b'{"token":"0"}'
    DONE = control.Done(normal_pages=1, zero_pages=2, skipped_pages=3, sizes={"a": 4})

    def test_layout(self) -> None:
        done = control.seal(self.DONE, xxh3_64(self.HELLO + self.ACCEPT))
        body = control.encode(done)[control.FRAME_HEADER_SIZE :]
        assert done.checksum is not None
        plain = body.replace(done.checksum.encode(), b"0" * 16)
        assert plain.count(b"0" * 16) == 1
        assert int(done.checksum, 16) == xxh3_64_intdigest(self.HELLO + self.ACCEPT + plain)

    def test_covers_every_bit(self) -> None:
        done = control.seal(self.DONE, xxh3_64(self.HELLO + self.ACCEPT))
        body = control.encode(done)[control.FRAME_HEADER_SIZE :]
        assert control.is_sealed(done, body, xxh3_64(self.HELLO + self.ACCEPT))
        for number, said in enumerate((self.HELLO, self.ACCEPT, body)):
            for bit in range(8 * len(said)):
                bad = bytearray(said)
                bad[bit // 8] ^= 1 << bit % 8
                heard = [self.HELLO, self.ACCEPT, body]
                heard[number] = bytes(bad)
                try:
                    message = control.decode(control.Type.DONE, heard[2])
                except ProtocolError:
                    continue
                assert isinstance(message, control.Done)
                assert not control.is_sealed(message, heard[2], xxh3_64(heard[0] + heard[1]))

    def test_is_missed(self) -> None:
        body = control.encode(self.DONE)[control.FRAME_HEADER_SIZE :]
        assert not control.is_sealed(self.DONE, body, xxh3_64(self.HELLO + self.ACCEPT))


def test_what_was_not_agreed_is_not_on_the_wire() -> None:
    """A peer of an older release refuses fields that it does not know."""
    hello = control.Hello(4096, 1 << 19, 1, "none", {}, [])
    assert b"checksum" not in control.encode(hello)
    assert b"verify" not in control.encode(hello)
    done = control.encode(control.Done(0, 0, 0, {}))
    assert b"checksum" not in done
    assert b"digests" not in done
