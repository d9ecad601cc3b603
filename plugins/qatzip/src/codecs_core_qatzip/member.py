"""The gzip member that QATzip writes ("gzip-ext"), and a walk along several of them.

A member is a gzip member (RFC 1952) whose extra field ``QZ`` tells its sizes, so that members can
be found without being decoded: 24 bytes of header, the deflate stream, 8 bytes of footer. The
layout is that of ``src/qatzip_gzip.c`` in QATzip.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from struct import Struct
from typing import Final, NamedTuple

from codecs_core import file_format
from codecs_core.codec import Buffer
from codecs_core.errors import CorruptPayload

__all__ = ["FOOTER", "HEADER", "MAGIC", "Member", "check", "measure", "members", "pack", "packets"]

HEADER: Final = Struct("<3sBIBBH2sHII")
"""Magic and method, flags, mtime, XFL, OS; XLEN, subfield id and size; source and deflate sizes."""
FOOTER: Final = Struct("<II")
"""CRC-32 and size of the source."""

MAGIC: Final = b"\x1f\x8b\x08"
_FLAG_EXTRA: Final = 0x04
_EXTRA_SIZE: Final = 12
_FIELD_SIZE: Final = 8
_UNKNOWN_OS: Final = 0xFF
_XFL: Final = {1: 4, 9: 2}
"""RFC 1952's mark for the fastest and for the slowest level."""


class Member(NamedTuple):
    """One member: all its bytes, and how many bytes it decodes to."""

    data: memoryview
    source_size: int


def pack(level: int, source_size: int, crc: int, deflated: Buffer) -> bytes:
    """Return a whole member around a raw deflate stream."""
    return b"".join(
        (
            HEADER.pack(
                MAGIC, _FLAG_EXTRA, 0, _XFL.get(level, 0), _UNKNOWN_OS,
                _EXTRA_SIZE, b"QZ", _FIELD_SIZE, source_size, len(deflated),
            ),
            deflated,
            FOOTER.pack(crc, source_size),
        )
    )  # fmt: skip


def check(payload: memoryview, expected: int) -> None:
    """Walk along all `members`, for what that raises."""
    for _ in members(payload, expected):
        pass


def members(payload: memoryview, expected: int) -> Iterator[Member]:
    """Walk along the members of ``payload``, which must decode to ``expected`` bytes in all.

    No size is believed before it was held against what is left. Raises `CorruptPayload`.
    """
    at = 0
    while at < len(payload):
        left = len(payload) - at
        if left < HEADER.size + FOOTER.size:
            raise CorruptPayload(f"qatzip: {left} bytes at {at} are too few for a gzip member")
        (
            magic, flags, _, _, _, extra_size, field, field_size, source_size, deflate_size,
        ) = HEADER.unpack_from(payload, at)  # fmt: skip
        if magic != MAGIC or flags != _FLAG_EXTRA:
            raise CorruptPayload(f"qatzip: no gzip member with an extra field begins at {at}")
        if (extra_size, field, field_size) != (_EXTRA_SIZE, b"QZ", _FIELD_SIZE):
            raise CorruptPayload(f"qatzip: the extra field of the member at {at} is not QATzip's")
        if not 0 < source_size <= expected:
            raise CorruptPayload(
                f"qatzip: the member at {at} announces {source_size} bytes, where 1 to "
                f"{expected} are expected"
            )
        size = HEADER.size + deflate_size + FOOTER.size
        if deflate_size == 0 or size > left:
            raise CorruptPayload(
                f"qatzip: the member at {at} announces {deflate_size} bytes of deflate, where "
                f"{left - HEADER.size - FOOTER.size} are left"
            )
        if FOOTER.unpack_from(payload, at + size - FOOTER.size)[1] != source_size:
            raise CorruptPayload(f"qatzip: header and footer of the member at {at} differ in size")
        yield Member(payload[at : at + size], source_size)
        at += size
        expected -= source_size
    if expected:
        raise CorruptPayload(f"qatzip: the payload ends {expected} bytes before its packet")


def measure(look: file_format.Look) -> file_format.Member | None:
    """Tell the sizes of a member that has the extra field; see `FileFormat.measure`."""
    head = look(0, HEADER.size)
    if len(head) < HEADER.size:
        return None
    magic, flags, _, _, _, extra_size, field, field_size, length, deflate_size = HEADER.unpack(head)
    if (magic, flags) != (MAGIC, _FLAG_EXTRA):
        return None
    if (extra_size, field, field_size) != (_EXTRA_SIZE, b"QZ", _FIELD_SIZE):
        return None
    if max(length, deflate_size) > file_format.LARGEST_MEMBER:
        # Nothing that decodes it as a stream would hold the extra field against it.
        return None
    return file_format.Member(HEADER.size + deflate_size + FOOTER.size, length)


def packets(data: memoryview, most: int) -> list[Member] | None:
    """Group the members of a file to packets that decode to at most ``most`` bytes.

    ``None`` where it is not made of whole members with the extra field alone, none of them larger:
    it may still be a gzip file. Nothing is decoded, and no footer looked at.
    """
    found = []
    at = begin = length = 0
    while at < len(data):
        each = measure(partial(_look, data, at))
        if each is None or not 0 < each.length <= most or each.size > len(data) - at:
            return None
        if length + each.length > most or at + each.size - begin > 2 * most:
            found.append(Member(data[begin:at], length))
            begin, length = at, 0
        at += each.size
        length += each.length
    found.append(Member(data[begin:], length))
    return found if data else None


def _look(data: memoryview, at: int, offset: int, size: int) -> memoryview:
    return data[at + offset : at + offset + size]
