"""Reads the RAM of mapped-ram files, front to back, so that compressed files serve as well."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from typing import BinaryIO

from codecs_core.errors import TruncatedStream
from codecs_core.gateway.recording import CHUNK, PACKET_SIZE, Source, pass_over, read_up_to
from codecs_core.memory.block import Block
from codecs_core.wire.mapped_ram import page_runs
from codecs_core.wire.qemu import RamBlock

__all__ = ["copy_pages", "count_pages", "sample_pages"]


class _Forward:
    """A file read at rising offsets."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._position = 0

    def read(self, offset: int, size: int, what: str) -> bytes:
        """Return ``size`` bytes. Raises `TruncatedStream` where the file ends before."""
        self._position += pass_over(self._file, offset - self._position)
        data = read_up_to(self._file, size)
        self._position += len(data)
        if len(data) < size:
            raise TruncatedStream(
                f"the file ends after {self._position} bytes, inside {what}, which reaches to "
                f"{offset + size}"
            )
        return data


def count_pages(source: Source, blocks: Iterable[RamBlock]) -> Iterator[tuple[RamBlock, int]]:
    """Yield each block, in the file's order, with the number of its pages that are not zero."""
    with source.open() as file:
        forward = _Forward(file)
        for block in blocks:
            yield block, sum(count for _, count in _runs(forward, block, CHUNK))


def sample_pages(
    source: Source, blocks: Iterable[RamBlock], longest: int
) -> Iterator[tuple[RamBlock, int, bytes]]:
    """Yield the normal pages run by run: their block, their bytes, and the first of these.

    ``longest`` bounds what is read of a run, in bytes.
    """
    with source.open() as bitmap_file, source.open() as pages_file:
        bitmap, pages = _Forward(bitmap_file), _Forward(pages_file)
        for block in blocks:
            mapped = block.mapped
            assert mapped is not None
            size = mapped.page_size
            for first, count in _runs(bitmap, block, max(1, PACKET_SIZE // size)):
                sample = pages.read(
                    mapped.pages_offset + first * size,
                    min(count * size, longest),
                    f"the pages of RAM block {block.name!r}",
                )
                yield block, count * size, sample


def copy_pages(source: Source, found: RamBlock, block: Block) -> int:
    """Copy a block's pages into ``block``, which is all zeros; return how many were copied."""
    mapped = found.mapped
    assert mapped is not None
    size = mapped.page_size
    copied = 0
    with source.open() as bitmap_file, source.open() as pages_file:
        bitmap, pages = _Forward(bitmap_file), _Forward(pages_file)
        for first, count in _runs(bitmap, found, max(1, CHUNK // size)):
            start, end = first * size, (first + count) * size
            data = pages.read(
                mapped.pages_offset + start,
                end - start,
                f"the pages of RAM block {found.name!r}",
            )
            offsets = struct.pack(f">{count}Q", *range(start, end, size))
            block.store(offsets, count, memoryview(data))
            copied += count
    return copied


def _runs(forward: _Forward, block: RamBlock, longest: int) -> Iterator[tuple[int, int]]:
    """Yield the runs of pages that are not zero, reading the bitmap piece by piece."""
    mapped = block.mapped
    assert mapped is not None
    size = mapped.bitmap_size(block.size)
    pages = block.size // mapped.page_size
    for start in range(0, size, CHUNK):
        bits = forward.read(
            mapped.bitmap_offset + start,
            min(CHUNK, size - start),
            f"the bitmap of RAM block {block.name!r}",
        )
        for first, count in page_runs(bits, pages - 8 * start, longest):
            yield 8 * start + first, count
