"""The payload of method 4, as Python sees it: the array of lengths, and what can be wrong.

``normal_pages`` big-endian u32, then the pages behind each other, each a raw deflate stream. A
length equal to the page size marks a page that is stored as it is. Source: QEMU's
``migration/multifd-qpl.c``.
"""

from __future__ import annotations

from enum import IntEnum
from struct import pack, unpack_from

from codecs_core.errors import CorruptPayload

__all__ = ["Wrong", "corrupt", "lengths", "pack_lengths"]


class Wrong(IntEnum):
    """What is wrong with a payload, as ``payload.h`` numbers it."""

    TOO_SHORT = 1
    LENGTH = 2
    SUM = 3
    DAMAGED = 4
    LESS = 5
    LEFT_OVER = 6


def pack_lengths(values: list[int]) -> bytes:
    """Return the array of lengths."""
    return pack(f">{len(values)}I", *values)


def lengths(payload: memoryview, pages: int, page_size: int) -> tuple[int, ...]:
    """Read the array of lengths, and hold it against the payload. Raises `CorruptPayload`."""
    if len(payload) < 4 * pages:
        raise corrupt(Wrong.TOO_SHORT, 0, payload, pages, page_size)
    values: tuple[int, ...] = unpack_from(f">{pages}I", payload)
    for page, length in enumerate(values):
        if not 0 < length <= page_size:
            raise corrupt(Wrong.LENGTH, page, payload, pages, page_size)
    if 4 * pages + sum(values) != len(payload):
        raise corrupt(Wrong.SUM, 0, payload, pages, page_size)
    return values


def corrupt(
    wrong: Wrong, page: int, payload: memoryview, pages: int, page_size: int
) -> CorruptPayload:
    """Say what is wrong with a payload, and with which of its pages."""
    if wrong is Wrong.TOO_SHORT:
        text = f"{len(payload)} bytes are too few for the lengths of {pages} pages"
    elif wrong is Wrong.LENGTH:
        (length,) = unpack_from(">I", payload, 4 * page)
        text = f"page {page} announces {length} bytes, where 1 to {page_size} are possible"
    elif wrong is Wrong.SUM:
        announced = sum(unpack_from(f">{pages}I", payload))
        text = f"the pages announce {announced} bytes, {len(payload) - 4 * pages} are there"
    elif wrong is Wrong.DAMAGED:
        text = f"page {page} is no deflate stream of {page_size} bytes or less"
    elif wrong is Wrong.LESS:
        text = f"page {page} decodes to less than {page_size} bytes"
    else:
        text = f"the stream of page {page} ends before its announced length"
    return CorruptPayload(f"qpl: {text}")
