"""Checksums of packets, where both ends of a link have agreed on them.

Two words of a packet's header, unused in QEMU, tell what left the sender:

* at offset 40 the XXH3-64 of the normal pages, uncompressed; 0 where there are none;
* at offset 48 the XXH3-64 of the header itself, with this word 0.

The header is checked as soon as it is there, so a damaged size is never waited for and a damaged
offset never written to; the pages once they are decoded. The one covers the other: neither pages
nor header pass beside those that they were sent with.
"""

from __future__ import annotations

import struct
from typing import Final

from xxhash import xxh3_64_intdigest

from codecs_core.codec import Buffer
from codecs_core.errors import ChecksumMismatch

__all__ = ["CHECKSUM", "check_header", "check_pages", "clear", "is_clear", "of_pages", "seal"]

CHECKSUM: Final = "xxh3-64"
"""The name that HELLO agrees on."""
_PAGES: Final = 40
_HEADER: Final = 48
_WORD: Final = struct.Struct(">Q")
_WORDS: Final = struct.Struct(">QQ")


def of_pages(pages: Buffer) -> int:
    """Return the checksum of a packet's normal pages."""
    return xxh3_64_intdigest(pages) if len(pages) else 0


def seal(header: memoryview | bytearray, pages: int = 0) -> None:
    """Write into a header that is complete otherwise the checksum of its pages, and its own."""
    _WORDS.pack_into(header, _PAGES, pages, 0)
    _WORD.pack_into(header, _HEADER, xxh3_64_intdigest(header))


def is_clear(header: memoryview | bytearray) -> bool:
    """Tell whether a header has room for checksums, as all of QEMU's have."""
    return _WORDS.unpack_from(header, _PAGES) == (0, 0)


def clear(header: memoryview | bytearray) -> None:
    """Leave a header as it was before it was sealed."""
    _WORDS.pack_into(header, _PAGES, 0, 0)


def check_header(header: memoryview) -> None:
    """Raise `ChecksumMismatch` unless a header is the one that was sealed. Leaves it as it is."""
    (sealed,) = _WORD.unpack_from(header, _HEADER)
    _WORD.pack_into(header, _HEADER, 0)
    actual = xxh3_64_intdigest(header)
    _WORD.pack_into(header, _HEADER, sealed)
    if actual != sealed:
        raise ChecksumMismatch(
            f"a packet header has the checksum {actual:016x}, not {sealed:016x} as it says: it "
            "was damaged on the way"
        )


def check_pages(checksum: int, pages: Buffer) -> None:
    """Raise `ChecksumMismatch` unless a packet's decoded pages are the ones that were sealed."""
    actual = of_pages(pages)
    if actual != checksum:
        raise ChecksumMismatch(
            f"its pages have the checksum {actual:016x}, not {checksum:016x} as its header says: "
            "they were damaged on the way, or changed while they were sent"
        )
