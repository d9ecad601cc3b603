"""Migration files of QEMU's ``mapped-ram``: RAM at fixed places.

Such a file is a main stream (`codecs_core.wire.qemu`) in which each RAM block's entry is followed
by a header that says where in the file the block's bitmap and pages stand. A page whose bit is
clear is zero, whatever bytes the file holds at its place. Source: QEMU's ``migration/ram.c``
(``MappedRamHeader``), checked against a file of QEMU 10.0.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from codecs_core.codec import Buffer
from codecs_core.errors import ProtocolError

__all__ = ["HEADER_SIZE", "MappedRam", "page_runs"]

VERSION: Final = 1
_HEADER = struct.Struct(">IQQQ")
HEADER_SIZE: Final = _HEADER.size
"""28 bytes, right behind the block's entry in the main stream."""


@dataclass(frozen=True, slots=True)
class MappedRam:
    """Where a block's memory stands; offsets are bytes from the beginning of the file.

    The pages are laid out like the block itself, so the page at block offset ``o`` stands at
    ``pages_offset + o``.
    """

    page_size: int
    bitmap_offset: int
    pages_offset: int

    def bitmap_size(self, size: int) -> int:
        """The bytes of bitmap that a block of ``size`` bytes, which are whole pages, needs."""
        return -(-size // self.page_size // 8)

    def encode(self) -> bytes:
        """Return the 28 bytes. Raises `ProtocolError` where a field does not fit."""
        try:
            return _HEADER.pack(VERSION, self.page_size, self.bitmap_offset, self.pages_offset)
        except struct.error as error:
            raise ProtocolError(f"a field of {self} does not fit the header: {error}") from None

    @classmethod
    def decode(cls, data: Buffer) -> MappedRam:
        """Read 28 bytes. Raises `ProtocolError` for a wrong size, version or page size."""
        if len(data) != HEADER_SIZE:
            raise ProtocolError(f"a mapped-ram header has {HEADER_SIZE} bytes, not {len(data)}")
        version, page_size, bitmap_offset, pages_offset = _HEADER.unpack(data)
        if version != VERSION:
            raise ProtocolError(f"mapped-ram version {version}; this reads version {VERSION}")
        if page_size.bit_count() != 1 or not 1 << 10 <= page_size <= 1 << 19:
            raise ProtocolError(
                f"mapped-ram page size {page_size} is not a power of two between 1024 and 524288"
            )
        return cls(page_size, bitmap_offset, pages_offset)

    def check(self, position: int, size: int) -> None:
        """Raise `ProtocolError` unless bitmap and pages follow ``position`` in this order.

        ``position`` is where this header ends, ``size`` the block's bytes. A file that keeps this
        order can be read front to back.
        """
        if size % self.page_size:
            raise ProtocolError(
                f"mapped-ram header: {size:#x} bytes are no whole pages of {self.page_size} bytes"
            )
        bitmap_end = self.bitmap_offset + self.bitmap_size(size)
        if not position <= self.bitmap_offset <= bitmap_end <= self.pages_offset:
            raise ProtocolError(
                f"mapped-ram header: a bitmap at {self.bitmap_offset:#x}, {bitmap_end:#x} its end, "
                f"and pages at {self.pages_offset:#x} do not follow the header, which ends at "
                f"{position:#x}"
            )
        if self.pages_offset + size >= 1 << 63:
            raise ProtocolError(
                f"mapped-ram header: {size:#x} bytes of pages at {self.pages_offset:#x} end beyond "
                "any file"
            )


def page_runs(bitmap: Buffer, pages: int, longest: int) -> Iterator[tuple[int, int]]:
    """Yield the pages whose bits are set, as runs ``(first, count)`` of at most ``longest`` pages.

    Bit ``i`` is bit ``i % 8`` of byte ``i // 8``; bits from ``pages`` on are padding.
    """
    first = count = 0
    for index, byte in enumerate(bitmap):
        if not byte and not count:
            continue
        for bit in range(8):
            page = 8 * index + bit
            if byte >> bit & 1 and page < pages:
                first, count = (first, count + 1) if count else (page, 1)
                if count < longest:
                    continue
            if count:
                yield first, count
                count = 0
    if count:
        yield first, count
