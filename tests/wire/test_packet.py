"""Channel inits and packet headers: the identity, the layout, and every field that can be wrong."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codecs_core.codec import Geometry
from codecs_core.errors import ProtocolError
from codecs_core.wire.packet import (
    BY_NAME,
    FIXED_SIZE,
    INIT_SIZE,
    ChannelInit,
    PacketHeader,
    header_size,
)

if TYPE_CHECKING:
    from tests.wire.conftest import Drawn

UUIDS = st.uuids()
UUID_0 = UUID("00112233-4455-6677-8899-aabbccddeeff")

HEADER = PacketHeader(
    method=2,
    packet_num=7,
    normal_pages=2,
    zero_pages=1,
    next_packet_size=1000,
    block="pc.ram",
    offsets=struct.pack(">3Q", 0x1000, 0x3000, 0x2000),
    pages_alloc=128,
    checksum=0xFEDCBA9876543210,
)


def patched(data: bytes, offset: int, field: bytes) -> bytes:
    return data[:offset] + field + data[offset + len(field) :]


def u32(value: int) -> bytes:
    return value.to_bytes(4, "big")


class TestInit:
    @given(UUIDS, st.integers(0, 255))
    def test_decoding_is_the_inverse_of_encoding(self, uuid: UUID, channel: int) -> None:
        init = ChannelInit(uuid, channel)
        assert ChannelInit.decode(init.encode()) == init

    def test_layout(self) -> None:
        assert ChannelInit(UUID_0, 3).encode() == (
            bytes.fromhex("11223344 00000001 00112233445566778899aabbccddeeff 03") + bytes(39)
        )

    def test_what_is_unused_is_not_looked_at(self) -> None:
        data = ChannelInit(UUID_0, 3).encode()[:25] + b"\xff" * 39
        assert ChannelInit.decode(data) == ChannelInit(UUID_0, 3)

    @pytest.mark.parametrize("channel", [-1, 256])
    def test_channel_ids_are_bytes(self, channel: int) -> None:
        with pytest.raises(ProtocolError, match=f"channel id {channel} is not between 0 and 255"):
            ChannelInit(UUID_0, channel).encode()

    @pytest.mark.parametrize(
        ("offset", "field", "message"),
        [
            (0, b"QEVM", "channel init: magic 0x5145564d, not 0x11223344"),
            (4, u32(2), "channel init: version 2; this reads version 1"),
        ],
    )
    def test_bad_fields_are_named(self, offset: int, field: bytes, message: str) -> None:
        with pytest.raises(ProtocolError, match=f"^{message}$"):
            ChannelInit.decode(patched(ChannelInit(UUID_0, 0).encode(), offset, field))

    @pytest.mark.parametrize("size", [0, 1, INIT_SIZE - 1, INIT_SIZE + 1])
    def test_other_sizes_are_refused(self, size: int) -> None:
        with pytest.raises(ProtocolError, match=f"a channel init has 64 bytes, not {size}"):
            ChannelInit.decode(bytes(size))

    @given(st.binary(min_size=INIT_SIZE, max_size=INIT_SIZE))
    def test_nothing_else_escapes(self, data: bytes) -> None:
        for candidate in (data, u32(0x11223344) + u32(1) + data[8:]):
            try:
                ChannelInit.decode(candidate)
            except ProtocolError:
                assert candidate is data


class TestHeader:
    @given(data=st.data())
    def test_decoding_is_the_inverse_of_encoding(self, drawn: Drawn, data: st.DataObject) -> None:
        header = data.draw(drawn.headers)
        encoded = header.encode(drawn.geometry)
        assert len(encoded) == header_size(drawn.geometry)
        assert PacketHeader.decode(encoded, drawn.geometry) == header
        assert (
            PacketHeader.decode(memoryview(encoded), drawn.geometry).encode(drawn.geometry)
            == encoded
        )

    def test_sizes_are_qemus(self) -> None:
        assert FIXED_SIZE == 320
        assert header_size(Geometry()) == 1344

    def test_layout(self) -> None:
        encoded = HEADER.encode()
        assert encoded[:64] == bytes.fromhex(
            "11223344 00000001 00000004 00000080 00000002 000003e8 0000000000000007"
            "00000001 00000000 fedcba9876543210 0000000000000000 0000000000000000"
        )
        assert encoded[64:320] == b"pc.ram".ljust(256, b"\0")
        assert encoded[320:] == HEADER.offsets.ljust(1024, b"\0")

    def test_a_sync_of_qemu_10(self) -> None:
        """Flags of exactly 1, no slots, no pages, and a whole header all the same."""
        encoded = PacketHeader(method=0, packet_num=5, sync=True).encode()
        expected = bytes.fromhex("11223344 00000001 00000001") + bytes(12) + (5).to_bytes(8, "big")
        assert encoded == expected.ljust(1344, b"\0")
        header = PacketHeader.decode(encoded)
        assert (header.sync, header.method, header.flags) == (True, 0, 1)
        assert header.payload_size == 0

    def test_a_sync_on_a_data_packet_as_qemu_7_writes_it(self) -> None:
        header = PacketHeader.decode(HEADER._replace(method=1, sync=True).encode())
        assert (header.flags, header.payload_size) == (3, 1000)

    def test_without_normal_pages_the_size_means_nothing(self) -> None:
        header = PacketHeader(method=1, packet_num=0, next_packet_size=0xFFFFFFFF, block="stale")
        assert PacketHeader.decode(header.encode()).payload_size == 0

    def test_offsets_come_in_order_normal_pages_first(self) -> None:
        header = PacketHeader.decode(HEADER.encode())
        assert header.normal_offsets == (0x1000, 0x3000)
        assert header.zero_offsets == (0x2000,)

    def test_the_largest_payload_is_a_mebibyte(self) -> None:
        header = HEADER._replace(next_packet_size=1 << 20)
        assert PacketHeader.decode(header.encode()).payload_size == 1 << 20

    def test_names_fill_their_field_but_for_the_nul(self) -> None:
        header = HEADER._replace(block="é" * 127 + "x")
        assert PacketHeader.decode(header.encode()).block == header.block

    def test_what_is_unused_is_not_looked_at(self) -> None:
        data = HEADER.encode()
        for offset, size in ((36, 4), (48, 16), (320 + 24, 1000)):
            data = patched(data, offset, b"\xff" * size)
        # Behind a name's NUL QEMU 7.2 leaves the end of a longer one.
        data = patched(data, 64 + 7, b"leftover")
        assert PacketHeader.decode(data) == HEADER

    @pytest.mark.parametrize(
        ("offset", "field", "message"),
        [
            (0, b"QEVM", "packet header: magic 0x5145564d, not 0x11223344"),
            (4, u32(0), "packet header: version 0; this reads version 1"),
            (8, u32(0x44), "packet 7: device state, which this version does not read"),
            (8, u32(0x84), "packet 7: unknown flag bits in 0x84, which this"),
            (8, u32(0x80000004), "packet 7: unknown flag bits in 0x80000004, which this"),
            (12, u32(129), "packet 7: pages_alloc 129 is above the 128 agreed"),
            (12, u32(0xFFFFFFFF), "packet 7: pages_alloc 4294967295 is above the 128 agreed"),
            (12, u32(2), "packet 7: 2 normal and 1 zero pages are more than pages_alloc 2"),
            (16, u32(128), "packet 7: 128 normal and 1 zero pages are more than pages_alloc 128"),
            (16, u32(0xFFFFFFFF), "packet 7: 4294967295 normal and 1 zero pages are more than"),
            (32, u32(127), "packet 7: 2 normal and 127 zero pages are more than pages_alloc 128"),
            (32, u32(0xFFFFFFFF), "packet 7: 2 normal and 4294967295 zero pages are more than"),
            (20, u32(0), "packet 7: a payload of 0 bytes for 2 pages; 1 to 1048576 are"),
            (20, u32(0x100001), "packet 7: a payload of 1048577 bytes for 2 pages; 1 to"),
            (20, u32(0xFFFFFFFF), "packet 7: a payload of 4294967295 bytes for 2 pages; 1 to"),
            (64, b"x" * 256, "packet 7: the block name is not terminated"),
            (64, b"\xff\0", r"packet 7: the block name b'\\xff' is not UTF-8"),
        ],
    )
    def test_bad_fields_are_named(self, offset: int, field: bytes, message: str) -> None:
        with pytest.raises(ProtocolError, match=f"^{message}"):
            PacketHeader.decode(patched(HEADER.encode(), offset, field))

    @pytest.mark.parametrize(
        ("fields", "message"),
        [
            ({"method": 32}, "packet 7: method 32 is not between 0 and 31"),
            ({"method": -1}, "packet 7: method -1 is not between 0 and 31"),
            ({"pages_alloc": 129}, "packet 7: pages_alloc 129 is above the 128 agreed"),
            ({"pages_alloc": 2}, "packet 7: 2 normal and 1 zero pages are more than"),
            ({"pages_alloc": -1}, "packet 7: 2 normal and 1 zero pages are more than"),
            ({"next_packet_size": 0}, "packet 7: a payload of 0 bytes for 2 pages"),
            ({"next_packet_size": 0x100001}, "packet 7: a payload of 1048577 bytes for 2 pages"),
            ({"offsets": bytes(16)}, "packet 7: 16 bytes of offsets for 2 normal and 1 zero"),
            ({"zero_pages": 2}, "packet 7: 24 bytes of offsets for 2 normal and 2 zero"),
            ({"normal_pages": 4, "zero_pages": -1}, "packet 7: a field does not fit"),
            ({"packet_num": -1}, "packet -1: a field does not fit"),
            ({"packet_num": 1 << 64}, "packet 18446744073709551616: a field does not fit"),
            ({"checksum": 1 << 64}, "packet 7: a field does not fit"),
            ({"block": "x" * 256}, "block name 'x+' does not fit 255 bytes without a NUL"),
            ({"block": "é" * 128}, "block name 'é+' does not fit 255 bytes without a NUL"),
            ({"block": "a\0b"}, r"block name 'a\\x00b' does not fit"),
            ({"block": "\udcff"}, r"block name '\\udcff' cannot be written in UTF-8"),
        ],
    )
    def test_what_would_be_refused_is_not_sent(self, fields: dict[str, Any], message: str) -> None:
        with pytest.raises(ProtocolError, match=f"^{message}"):
            HEADER._replace(**fields).encode()

    @pytest.mark.parametrize("size", [0, 320, 1343, 1345])
    def test_other_sizes_are_refused(self, size: int) -> None:
        with pytest.raises(ProtocolError, match=f"a packet header has 1344 bytes, not {size}"):
            PacketHeader.decode(bytes(size))

    @given(data=st.data())
    def test_whatever_decodes_is_within_bounds(self, drawn: Drawn, data: st.DataObject) -> None:
        """Arbitrary bytes, with a good magic so that they get anywhere: nothing else escapes."""
        geometry = drawn.geometry
        size = header_size(geometry)
        counts = st.integers(0, 2 * geometry.pages_per_packet).map(u32)
        garbage = data.draw(st.binary(min_size=size, max_size=size))
        candidate = patched(garbage, 0, u32(0x11223344) + u32(1))
        for offset in (8, 12, 16, 32):
            candidate = patched(candidate, offset, data.draw(counts))
        candidate = patched(candidate, 20, u32(data.draw(st.integers(0, 4 << 20))))
        try:
            header = PacketHeader.decode(candidate, geometry)
        except ProtocolError:
            return
        pages = header.normal_pages + header.zero_pages
        assert pages <= header.pages_alloc <= geometry.pages_per_packet
        assert len(header.offsets) == 8 * pages
        assert header.payload_size <= geometry.max_payload
        assert bool(header.payload_size) == bool(header.normal_pages)
        assert header.method <= BY_NAME
