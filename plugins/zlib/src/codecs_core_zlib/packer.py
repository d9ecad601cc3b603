"""One zlib stream (RFC 1950), packed in pieces by several threads.

Other readers of the format expect one stream a file, so pieces cannot be streams of their own.
Each is deflated for itself and ends, by a sync flush, at a byte; so they can stand behind each
other. The checksum of the whole comes from those of the pieces.
"""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct
from typing import Final

from codecs_core.codec import Buffer
from codecs_core.file_format import FilePacker

__all__ = ["ZlibPacker", "adler32_combine"]

_HEADERS: Final = (b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda")
"""A 32 KiB window, and the level in four steps; a multiple of 31 (RFC 1950, 2.2)."""

_LAST_BLOCK: Final = b"\x03\x00"
"""A block of nothing, the last of the stream (RFC 1951, 3.2.3 and 3.2.6)."""

_ADLER_BASE: Final = 65521
_TAIL: Final = Struct(">II")
"""Behind a packed piece, on its way from a thread to the file: its Adler-32 and its size."""


class ZlibPacker(FilePacker):
    """Packs by ``deflate``, which returns a raw deflate stream up to a sync flush."""

    def __init__(
        self,
        level: int,
        deflate: Callable[[memoryview], bytes],
        adler32: Callable[[memoryview], int],
    ) -> None:
        self._header = _HEADERS[0 if level < 2 else 1 if level < 6 else 2 if level < 7 else 3]
        self._deflate = deflate
        self._adler32 = adler32
        self._checksum = 1
        self._begun = False

    def pack(self, piece: memoryview, /) -> Buffer:
        """Return the piece, deflated, and what `join` needs. Raises `CodecError`."""
        return self._deflate(piece) + _TAIL.pack(self._adler32(piece), len(piece))

    def join(self, packed: Buffer, /) -> Buffer:
        """Return the deflated piece, behind the header where it is the first."""
        end = len(packed) - _TAIL.size
        checksum, size = _TAIL.unpack_from(packed, end)
        self._checksum = adler32_combine(self._checksum, checksum, size)
        deflated = memoryview(packed)[:end]
        return deflated if self._begun else self._begin() + deflated

    def end(self) -> Buffer:
        """Return the stream's last block and its checksum."""
        head = b"" if self._begun else self._begin()
        return head + _LAST_BLOCK + self._checksum.to_bytes(4)

    def break_off(self) -> Buffer:
        """Return nothing: a stream without an end is cut short."""
        return b""

    def _begin(self) -> bytes:
        self._begun = True
        return self._header


def adler32_combine(first: int, second: int, size: int) -> int:
    """Return the Adler-32 of two strings behind each other, from both of theirs.

    ``size`` is the length of the second, in bytes (RFC 1950, 8.2).
    """
    low, high = first & 0xFFFF, first >> 16
    # Each begins with a first sum of 1. The second one adds the first up, byte by byte.
    sum1 = (low + (second & 0xFFFF) - 1) % _ADLER_BASE
    sum2 = (high + (second >> 16) + size * (low - 1)) % _ADLER_BASE
    return sum2 << 16 | sum1
