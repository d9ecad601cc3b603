"""Channel init and RAM packet headers of QEMU's multifd format, version 1.

All integers are big-endian. A packet is a header of ``320 + 8 × slots`` bytes, where ``slots`` is
the number of pages a full packet holds, and a payload that follows at once where the packet has
normal pages. Source: QEMU's ``migration/multifd.h`` and ``multifd.c``, checked against recorded
migrations of QEMU 7.2 and 10.0.
"""

from __future__ import annotations

import functools
import struct
from dataclasses import dataclass
from typing import Final, NamedTuple
from uuid import UUID

from codecs_core.codec import DEFAULT_GEOMETRY, Buffer, Geometry
from codecs_core.errors import ProtocolError

__all__ = [
    "BLOCK_NAME_SIZE",
    "BY_NAME",
    "FIXED_SIZE",
    "INIT_SIZE",
    "MAGIC",
    "VERSION",
    "ChannelInit",
    "PacketHeader",
    "header_size",
    "pack_fixed",
]

MAGIC: Final = 0x11223344
VERSION: Final = 1
SYNC: Final = 0x01
METHOD_SHIFT: Final = 1
METHOD_MASK: Final = 0x1F << METHOD_SHIFT
BY_NAME: Final = 31
"""The method of codecs that QEMU has none for: agreed by name in the handshake."""
DEVICE_STATE: Final = 0x40
BLOCK_NAME_SIZE: Final = 256

_INIT = struct.Struct(">II16sB39x")
_FIXED = struct.Struct(f">IIIIIIQIIQQQ{BLOCK_NAME_SIZE}s")
INIT_SIZE: Final = _INIT.size
FIXED_SIZE: Final = _FIXED.size
"""The part of a packet header before its offsets: 320 bytes."""


def header_size(geometry: Geometry) -> int:
    """The size of every packet header of a channel, SYNC packets included: 1344 by default."""
    return FIXED_SIZE + 8 * geometry.pages_per_packet


@dataclass(frozen=True, slots=True)
class ChannelInit:
    """The first 64 bytes of a multifd channel.

    ``uuid`` is the source VM's, or on a native link the session token; ``channel`` counts
    from 0.
    """

    uuid: UUID
    channel: int

    def encode(self) -> bytes:
        """Return the 64 bytes. Raises `ProtocolError` for a channel outside 0-255."""
        if not 0 <= self.channel <= 255:
            raise ProtocolError(f"channel id {self.channel} is not between 0 and 255")
        return _INIT.pack(MAGIC, VERSION, self.uuid.bytes, self.channel)

    @classmethod
    def decode(cls, data: Buffer) -> ChannelInit:
        """Read 64 bytes. Raises `ProtocolError` for a wrong size, magic or version."""
        if len(data) != INIT_SIZE:
            raise ProtocolError(f"a channel init has {INIT_SIZE} bytes, not {len(data)}")
        magic, version, uuid, channel = _INIT.unpack(data)
        _check_magic("channel init", magic, version)
        return cls(UUID(bytes=uuid), channel)


class PacketHeader(NamedTuple):
    """The header of one RAM packet. One is made for every packet that comes: a tuple is quick.

    ``offsets`` is the used part of the wire's array: ``normal_pages + zero_pages`` big-endian
    u64, the normal pages first; each is a byte offset in the block. ``checksum`` of the pages
    rides in the first unused u64 (at offset 40), zero unless both ends have agreed on it; that of
    the header itself behind it is not looked at here.
    """

    method: int
    packet_num: int
    normal_pages: int = 0
    zero_pages: int = 0
    next_packet_size: int = 0
    block: str = ""
    offsets: bytes = b""
    sync: bool = False
    pages_alloc: int = 0
    checksum: int = 0

    @property
    def flags(self) -> int:
        """The flags word as on the wire."""
        return (SYNC if self.sync else 0) | self.method << METHOD_SHIFT

    @property
    def payload_size(self) -> int:
        """How many bytes of payload follow the header.

        QEMU 7.2 leaves a stale ``next_packet_size`` in packets without normal pages.
        """
        return self.next_packet_size if self.normal_pages else 0

    @property
    def normal_offsets(self) -> tuple[int, ...]:
        """The byte offsets of the normal pages, in the payload's order."""
        return struct.unpack_from(f">{self.normal_pages}Q", self.offsets)

    @property
    def zero_offsets(self) -> tuple[int, ...]:
        """The byte offsets of the zero pages."""
        return struct.unpack_from(f">{self.zero_pages}Q", self.offsets, 8 * self.normal_pages)

    def encode(self, geometry: Geometry = DEFAULT_GEOMETRY) -> bytes:
        """Return the whole header. Raises `ProtocolError` for one that `decode` would refuse."""
        where = f"packet {self.packet_num}: "
        if len(self.offsets) != 8 * (self.normal_pages + self.zero_pages):
            raise ProtocolError(
                f"{where}{len(self.offsets)} bytes of offsets for {self.normal_pages} normal and "
                f"{self.zero_pages} zero pages"
            )
        if not 0 <= self.method <= BY_NAME:
            raise ProtocolError(f"{where}method {self.method} is not between 0 and {BY_NAME}")
        _check_counts(
            where,
            geometry,
            pages_alloc=self.pages_alloc,
            normal=self.normal_pages,
            zero=self.zero_pages,
            size=self.next_packet_size,
        )
        buffer = bytearray(header_size(geometry))
        try:
            pack_fixed(
                buffer,
                flags=self.flags,
                pages_alloc=self.pages_alloc,
                normal_pages=self.normal_pages,
                next_packet_size=self.next_packet_size,
                packet_num=self.packet_num,
                zero_pages=self.zero_pages,
                checksum=self.checksum,
                block=encode_block_name(self.block),
            )
        except struct.error as error:
            raise ProtocolError(f"{where}a field does not fit the header: {error}") from None
        buffer[FIXED_SIZE : FIXED_SIZE + len(self.offsets)] = self.offsets
        return bytes(buffer)

    @classmethod
    def decode(cls, data: Buffer, geometry: Geometry = DEFAULT_GEOMETRY) -> PacketHeader:
        """Read a whole header and check everything that needs no knowledge of the blocks.

        Raises `ProtocolError` for a wrong magic or version, unknown flag bits, device state,
        counts above the slots, a payload above ``geometry.max_payload``, or a block name without
        an end or not in UTF-8; so a payload buffer may be chosen by the result. The offsets are
        taken as they are.
        """
        if len(data) != header_size(geometry):
            raise ProtocolError(
                f"a packet header has {header_size(geometry)} bytes, not {len(data)}"
            )
        (
            magic,
            version,
            flags,
            pages_alloc,
            normal,
            size,
            packet_num,
            zero,
            _,
            checksum,
            _,
            _,
            block,
        ) = _FIXED.unpack_from(data)
        _check_magic("packet header", magic, version)
        where = f"packet {packet_num}: "
        if flags & ~(SYNC | METHOD_MASK):
            what = "device state" if flags & DEVICE_STATE else f"unknown flag bits in {flags:#x}"
            raise ProtocolError(f"{where}{what}, which this version does not read")
        _check_counts(where, geometry, pages_alloc=pages_alloc, normal=normal, zero=zero, size=size)
        end = FIXED_SIZE + 8 * (normal + zero)
        return cls(
            method=(flags & METHOD_MASK) >> METHOD_SHIFT,
            packet_num=packet_num,
            normal_pages=normal,
            zero_pages=zero,
            next_packet_size=size,
            block=_decode_block_name(block, where),
            offsets=bytes(data[FIXED_SIZE:end]),
            sync=bool(flags & SYNC),
            pages_alloc=pages_alloc,
            checksum=checksum,
        )


def pack_fixed(
    buffer: bytearray | memoryview,
    *,
    flags: int,
    pages_alloc: int,
    normal_pages: int,
    next_packet_size: int,
    packet_num: int,
    zero_pages: int,
    block: bytes,
    checksum: int = 0,
) -> None:
    """Write a header's first 320 bytes; the offsets behind them are left as they are."""
    _FIXED.pack_into(
        buffer,
        0,
        MAGIC,
        VERSION,
        flags,
        pages_alloc,
        normal_pages,
        next_packet_size,
        packet_num,
        zero_pages,
        0,
        checksum,
        0,
        0,
        block,
    )


@functools.lru_cache(maxsize=64)
def encode_block_name(name: str) -> bytes:
    """Return a block's name as the wire carries it, without its padding.

    Raises `ProtocolError` where it is longer than 255 bytes, holds a NUL or is not Unicode.
    """
    try:
        encoded = name.encode()
    except UnicodeEncodeError:
        raise ProtocolError(f"block name {name!r} cannot be written in UTF-8") from None
    if len(encoded) >= BLOCK_NAME_SIZE or b"\0" in encoded:
        raise ProtocolError(
            f"block name {name!r} does not fit {BLOCK_NAME_SIZE - 1} bytes without a NUL"
        )
    return encoded


def _check_counts(
    where: str, geometry: Geometry, *, pages_alloc: int, normal: int, zero: int, size: int
) -> None:
    slots = geometry.pages_per_packet
    if pages_alloc > slots:
        raise ProtocolError(f"{where}pages_alloc {pages_alloc} is above the {slots} agreed")
    if normal + zero > pages_alloc:
        raise ProtocolError(
            f"{where}{normal} normal and {zero} zero pages are more than pages_alloc {pages_alloc}"
        )
    if normal and not 0 < size <= geometry.max_payload:
        raise ProtocolError(
            f"{where}a payload of {size} bytes for {normal} pages; "
            f"1 to {geometry.max_payload} are accepted"
        )


def _decode_block_name(data: bytes, where: str) -> str:
    name, terminator, _ = data.partition(b"\0")
    if not terminator:
        raise ProtocolError(f"{where}the block name is not terminated")
    try:
        return name.decode()
    except UnicodeDecodeError:
        raise ProtocolError(f"{where}the block name {name!r} is not UTF-8") from None


def _check_magic(what: str, magic: int, version: int) -> None:
    if magic != MAGIC:
        raise ProtocolError(f"{what}: magic {magic:#010x}, not {MAGIC:#010x}")
    if version != VERSION:
        raise ProtocolError(f"{what}: version {version}; this reads version {VERSION}")
