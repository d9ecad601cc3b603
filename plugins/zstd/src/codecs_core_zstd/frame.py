"""The sizes of a zstd frame, found by its headers alone (RFC 8878, 3.1)."""

from __future__ import annotations

from typing import Final

from codecs_core.file_format import Look, Member

__all__ = ["MAGIC", "SKIPPABLE", "measure"]

MAGIC: Final = b"\x28\xb5\x2f\xfd"
SKIPPABLE: Final = tuple(bytes([0x50 + kind]) + b"\x2a\x4d\x18" for kind in range(16))
"""How a frame begins that holds nothing for a decoder, but may for others."""

_RLE: Final = 1
_COMPRESSED: Final = 2
_DICTIONARY_SIZES: Final = (0, 1, 2, 4)
_CHECKSUM: Final = 4


def measure(look: Look) -> Member | None:
    """Tell the sizes of a frame that knows its content's; see `FileFormat.measure`."""
    # No more than is needed is looked at: it might be a pipe that has no more yet.
    head = bytes(look(0, 5))
    if head.startswith(SKIPPABLE):
        field = look(4, 4)
        return Member(8 + int.from_bytes(field, "little"), 0) if len(field) == 4 else None
    if len(head) < 5 or not head.startswith(MAGIC):
        return None
    descriptor = head[4]
    single = descriptor >> 5 & 1
    kind = descriptor >> 6
    at = 5 + (1 - single) + _DICTIONARY_SIZES[descriptor & 3]
    size = 1 << kind if kind or single else 0
    field = look(at, size)
    if not size or len(field) < size:
        return None
    # Two bytes count from 256 on: less has room in one.
    length = int.from_bytes(field, "little") + (256 if size == 2 else 0)
    at += size
    last = False
    while not last:
        block = look(at, 3)
        if len(block) < 3:
            return None
        header = int.from_bytes(block, "little")
        last = bool(header & 1)
        if header >> 1 & 3 > _COMPRESSED:
            return None
        at += 3 + (1 if header >> 1 & 3 == _RLE else header >> 3)
    return Member(at + (_CHECKSUM if descriptor >> 2 & 1 else 0), length)
