"""The C kernel, typed: each function is one call a packet, with the GIL released.

``offsets`` is the wire's array of big-endian u64 byte offsets, normal pages first. Offsets are
trusted everywhere but in `check`, which therefore comes first for anything a peer sent.
"""

from __future__ import annotations

import os
from array import array

from codecs_core.codec import Buffer
from codecs_core.memory._kernel import ffi, lib

__all__ = ["check", "contiguous", "gather", "mark", "read_pages", "scan", "store", "write_pages"]


def scan(
    pages: memoryview,
    page_size: int,
    first: int,
    where: array[int] | None,
    offsets: memoryview,
    gathered: memoryview | None,
) -> int:
    """Split ``pages`` into normal and zero ones; return the number of normal pages.

    ``pages`` are those from page number ``first`` on, or the ones numbered by ``where``. Their
    byte offsets are written to ``offsets`` (8 bytes a page), normal pages first. Where both
    kinds occur and ``gathered`` is given, the normal pages are copied there, contiguous; it may
    be the same memory as ``pages``.
    """
    return int(
        lib.cc_scan(
            ffi.from_buffer(pages),
            len(pages) // page_size,
            page_size,
            first,
            ffi.NULL if where is None else ffi.from_buffer("uint64_t[]", where),
            ffi.from_buffer(offsets, require_writable=True),
            ffi.NULL if gathered is None else ffi.from_buffer(gathered, require_writable=True),
        )
    )


def gather(memory: memoryview, where: array[int], page_size: int, packet: memoryview) -> None:
    """Copy the pages numbered by ``where`` into ``packet``, the last one padded with zeros."""
    lib.cc_gather(
        ffi.from_buffer(memory),
        len(memory),
        ffi.from_buffer("uint64_t[]", where),
        len(where),
        page_size,
        ffi.from_buffer(packet, require_writable=True),
    )


def read_pages(fd: int, size: int, where: array[int], page_size: int, packet: memoryview) -> None:
    """Read the pages numbered by ``where`` from a file of ``size`` bytes. Raises `OSError`."""
    _raise(
        lib.cc_read_pages(
            fd,
            size,
            ffi.from_buffer("uint64_t[]", where),
            len(where),
            page_size,
            ffi.from_buffer(packet, require_writable=True),
        )
    )


def check(offsets: Buffer, page_size: int, size: int) -> int | None:
    """Return the index of the first offset that is unaligned or outside ``size``, or None."""
    bad = int(lib.cc_check(ffi.from_buffer(offsets), len(offsets) // 8, page_size, size))
    return None if bad < 0 else bad


def mark(bitmap: bytearray | memoryview, offsets: Buffer, page_size: int) -> int:
    """Set the bits of these pages in ``bitmap``; return how many of them were clear.

    Bit ``i % 8`` of byte ``i // 8`` is page ``i``'s.
    """
    return int(
        lib.cc_mark(
            ffi.from_buffer(bitmap, require_writable=True),
            ffi.from_buffer(offsets),
            len(offsets) // 8,
            page_size,
        )
    )


def contiguous(offsets: Buffer, count: int, page_size: int) -> bool:
    """Tell whether the first ``count`` offsets are those of adjacent pages."""
    return bool(lib.cc_contiguous(ffi.from_buffer(offsets), count, page_size))


def store(
    memory: memoryview, offsets: Buffer, normal: int, page_size: int, packet: memoryview
) -> None:
    """Scatter a packet's normal pages into ``memory`` and clear its zero pages.

    Pages that stand in place already are left; zero pages are written only where they are not
    zero already.
    """
    lib.cc_store(
        ffi.from_buffer(memory, require_writable=True),
        len(memory),
        ffi.from_buffer(offsets),
        normal,
        len(offsets) // 8 - normal,
        page_size,
        ffi.from_buffer(packet),
    )


def write_pages(
    fd: int, size: int, offsets: Buffer, normal: int, page_size: int, packet: memoryview
) -> None:
    """Write a packet's normal pages to a file, and make its zero pages holes.

    Raises `OSError`.
    """
    _raise(
        lib.cc_write_pages(
            fd,
            size,
            ffi.from_buffer(offsets),
            normal,
            len(offsets) // 8 - normal,
            page_size,
            ffi.from_buffer(packet),
        )
    )


def _raise(error: int) -> None:
    if error:
        raise OSError(error, os.strerror(error))
