"""The sizes of an lz4 frame, found by its headers alone (lz4's ``doc/lz4_Frame_format.md``)."""

from __future__ import annotations

from typing import Final

from codecs_core.file_format import Look, Member

__all__ = ["MAGIC", "SKIPPABLE", "measure"]

MAGIC: Final = b"\x04\x22\x4d\x18"
SKIPPABLE: Final = tuple(bytes([0x50 + kind]) + b"\x2a\x4d\x18" for kind in range(16))
"""How a frame begins that holds nothing for a decoder, but may for others."""

_HEADER: Final = 14
"""Magic, FLG, BD, content size (8): as far as they are needed."""

_VERSION: Final = 0b01
_STORED: Final = 1 << 31
_CHECKSUM: Final = 4


def measure(look: Look) -> Member | None:
    """Tell the sizes of a frame that knows its content's; see `FileFormat.measure`."""
    head = bytes(look(0, _HEADER))
    if head.startswith(SKIPPABLE):
        return Member(8 + int.from_bytes(head[4:8], "little"), 0) if len(head) >= 8 else None
    if len(head) < _HEADER or not head.startswith(MAGIC):
        return None
    flags = head[4]
    if flags >> 6 != _VERSION or not flags >> 3 & 1:
        return None
    length = int.from_bytes(head[6:14], "little")
    has_dictionary, checks_blocks, checks_content = flags & 1, flags >> 4 & 1, flags >> 2 & 1
    # Behind the content size: the dictionary's number, and the header's checksum.
    at = _HEADER + 4 * has_dictionary + 1
    while True:
        block = look(at, 4)
        if len(block) < 4:
            return None
        size = int.from_bytes(block, "little") & ~_STORED
        at += 4
        if not size:
            return Member(at + _CHECKSUM * checks_content, length)
        at += size + _CHECKSUM * checks_blocks
