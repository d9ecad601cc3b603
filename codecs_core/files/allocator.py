"""What the C library does with the memory of pieces that were read."""

from __future__ import annotations

from functools import cache
from typing import Final

__all__ = ["keep_freed_memory"]

_LARGEST_FREED: Final = 8 << 20


@cache
def keep_freed_memory() -> None:
    """Let pieces be made in the memory of those before them, once for the process.

    glibc hands memory back to the kernel where the end of a heap, or a block of its own, is free:
    each piece then costs as many page faults as it has pages, up to a third of the time that it
    takes to decode. How much glibc keeps instead is twice the largest block of its own that was
    ever freed, up to 64 MiB (mallopt(3), ``M_MMAP_THRESHOLD``). This is one that is never touched.
    """
    block = bytearray(_LARGEST_FREED)
    del block
