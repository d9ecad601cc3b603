"""The sizes of a zstd frame, found by its headers alone (RFC 8878, 3.1)."""

from __future__ import annotations

from typing import Final

from codecs_core.file_format import Look, Member

__all__ = ["MAGIC", "SKIPPABLE", "Blocks", "measure"]

MAGIC: Final = b"\x28\xb5\x2f\xfd"
SKIPPABLE: Final = tuple(bytes([0x50 + kind]) + b"\x2a\x4d\x18" for kind in range(16))
"""How a frame begins that holds nothing for a decoder, but may for others."""

_RLE: Final = 1
_COMPRESSED: Final = 2
_DICTIONARY_SIZES: Final = (0, 1, 2, 4)
_CHECKSUM: Final = 4
_FEW: Final = 4


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
    at, size = _content_size_field(descriptor)
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
        at += _block_size(header)
    return Member(at + (_CHECKSUM if descriptor >> 2 & 1 else 0), length)


class Blocks:
    """Follows the blocks of one frame, as its bytes come, so that few are decoded at a time.

    A block of four bytes may hold 128 KiB: what input decodes to is bounded by its blocks alone.
    """

    def __init__(self) -> None:
        self._begun = False
        self._ended = False
        # What is left of the header, or of the block, at hand.
        self._left = 0

    def portion(self, data: memoryview) -> int:
        """Return how many of the next bytes hold no more than 512 KiB; 0 where more must come.

        That many are taken to be decoded. What is no frame is for the decoder to refuse.
        """
        if not self._begun:
            if len(data) < 5:
                return 0
            self._begun = True
            self._ended = bytes(data[:4]) != MAGIC
            self._left = sum(_content_size_field(data[4]))
        at = self._left
        for _ in range(_FEW):
            if self._ended or at + 3 > len(data):
                break
            header = int.from_bytes(data[at : at + 3], "little")
            self._ended = bool(header & 1)
            at += _block_size(header)
        taken = len(data) if self._ended else min(at, len(data))
        self._left = at - taken
        return taken


def _content_size_field(descriptor: int) -> tuple[int, int]:
    """Where a frame header tells the content's size, and in how many bytes; blocks follow."""
    single = descriptor >> 5 & 1
    kind = descriptor >> 6
    at = 5 + (1 - single) + _DICTIONARY_SIZES[descriptor & 3]
    return at, 1 << kind if kind or single else 0


def _block_size(header: int) -> int:
    """How many bytes a block takes, with its header."""
    return 3 + (1 if header >> 1 & 3 == _RLE else header >> 3)
