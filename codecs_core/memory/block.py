"""RAM blocks: named, page-grained memory at one end of a link.

The sender asks a block for its page runs and reads them; the receiver checks a packet's offsets,
asks where to decode its pages, and stores them. What lies behind a block (memory, a file, a pipe)
is its own affair.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from codecs_core.errors import ProtocolError, UsageError
from codecs_core.memory import kernel
from codecs_core.memory.digest import PIECE, digest_of

__all__ = ["Block", "MemoryBlock", "PageRun"]


@dataclass(frozen=True, slots=True)
class PageRun:
    """Pages of one block, at most a packet: the unit of work of a channel.

    The ``count`` pages from page number ``first`` on, or, where ``where`` is given, those it
    numbers.
    """

    block: Block
    first: int
    count: int
    where: array[int] | None = None


class Block:
    """One RAM block.

    ``size`` is in bytes and need not be a multiple of ``page_size``: on the wire the last page is
    padded with zeros. It is ``None`` for a byte stream, whose size is known at its end only.
    """

    ordered = False
    """Whether the pages must be read, or stored, in the order of their offsets."""

    reads_zero = False
    """Whether all pages read as zero before anything is stored, so that holes need not be sent."""

    resumed = False
    """Whether an earlier transfer has left something here; pages without data read as zero."""

    def __init__(self, name: str, size: int | None, page_size: int) -> None:
        self.name = name
        self.size = size
        self.page_size = page_size

    @property
    def pages(self) -> int:
        """The number of pages; 0 for a stream."""
        return -(-(self.size or 0) // self.page_size)

    # Sending.

    def runs(self, per_packet: int, *, skip_holes: bool = False) -> Iterator[PageRun]:
        """Yield all pages in runs of at most ``per_packet`` pages.

        ``skip_holes`` leaves out what the block knows to be zero without reading it.
        """
        for first in range(0, self.pages, per_packet):
            yield PageRun(self, first, min(per_packet, self.pages - first))

    def runs_of(self, pages: Iterable[int], per_packet: int) -> Iterator[PageRun]:
        """Yield the given page numbers in runs of at most ``per_packet`` pages.

        Raises `UsageError` for a page outside the block.
        """
        try:
            numbers = array("Q", pages)
        except (OverflowError, TypeError) as error:
            raise UsageError(f"pages of block {self.name!r}: {error}") from None
        if numbers and max(numbers) >= self.pages:
            raise UsageError(
                f"block {self.name!r} has {self.pages} pages; there is no page {max(numbers)}"
            )
        for start in range(0, len(numbers), per_packet):
            where = numbers[start : start + per_packet]
            adjacent = array("Q", range(where[0], where[0] + len(where))) == where
            yield PageRun(self, where[0], len(where), None if adjacent else where)

    def read(self, run: PageRun, scratch: memoryview) -> memoryview:
        """Return the run's pages, contiguous: the block's own memory or a part of ``scratch``.

        ``scratch`` holds a whole packet. A stream returns fewer pages at its end, none after it.
        Raises `TransferError` where the source cannot be read.
        """
        raise UsageError(f"block {self.name!r} cannot be sent from, only received into")

    @property
    def final_size(self) -> int | None:
        """The size in bytes once all is sent; of a stream, what has been read so far."""
        return self.size

    # Receiving.

    def check(self, offsets: bytes, packet_num: int) -> None:
        """Raise `ProtocolError` unless all of a packet's offsets are pages of this block."""
        limit = self.size if self.size is not None else 1 << 63
        bad = kernel.check(offsets, self.page_size, limit)
        if bad is not None:
            offset = int.from_bytes(offsets[8 * bad : 8 * bad + 8])
            raise ProtocolError(
                f"packet {packet_num}: offset {offset:#x} is not a page of block {self.name!r} "
                f"({limit:#x} bytes)"
            )

    def target(self, offsets: bytes, normal: int, scratch: memoryview) -> memoryview:
        """Return where to put a packet's normal pages, contiguous.

        That is the block's own memory where the pages are adjacent there, otherwise a part of
        ``scratch``, which holds a whole packet.
        """
        return scratch[: normal * self.page_size]

    def store(self, offsets: bytes, normal: int, packet: memoryview) -> None:
        """Store a packet: its normal pages from ``packet``, zeros in the others.

        ``packet`` is what `target` returned. Raises `TransferError` where it cannot be stored.
        """
        raise UsageError(f"block {self.name!r} cannot be received into, only sent from")

    def expect(self, writers: int) -> None:
        """Tell how many threads are going to `store`; each calls `leave` at its end."""

    def leave(self) -> None:
        """One of the threads stores no more."""

    def finish(self, size: int | None) -> None:
        """All pages are stored; a stream is told its final ``size``. Raises `TransferError`."""

    def sync(self) -> None:
        """Bring what is finished to stable storage, where there is any.

        Raises `TransferError` where that fails.
        """

    # At both ends.

    def watch(self) -> None:
        """Prepare for `digest`, before the first page is read or stored."""

    def digest(self, check: Callable[[], None]) -> str:
        """Return the XXH3-128 of all bytes, as they are now, in hex.

        A stream tells that of the bytes which have passed since `watch`. ``check`` is called now
        and then, and raises where going on is pointless. Raises `TransferError` where the bytes
        cannot be read.
        """
        return digest_of(self.content(), check)

    def content(self) -> Iterator[memoryview]:
        """Yield all bytes in order, in pieces that are valid until the next."""
        raise UsageError(f"block {self.name!r} cannot be read as a whole, so not be verified")

    def abort(self) -> None:
        """Wake whoever waits inside this block; the transfer has failed."""

    def close(self) -> None:
        """Release what the block holds. Calling it again does nothing."""


class MemoryBlock(Block):
    """A block over any contiguous buffer: bytearray, mmap, numpy array, shared memory.

    The memory is used in place: it must not change while a call sends it, or checksums will tell.
    ``live`` memory may change at any time, a guest's under its guest, say; it is copied packet by
    packet before anybody looks at it. Receiving needs a writable buffer; raises `UsageError` for
    one that is not contiguous.
    """

    def __init__(
        self, name: str, memory: Any, page_size: int = 4096, *, live: bool = False
    ) -> None:
        self._live = live
        try:
            self._memory = memoryview(memory).cast("B")
        except TypeError as error:
            raise UsageError(f"block {name!r}: {error}") from None
        super().__init__(name, len(self._memory), page_size)

    @property
    def writable(self) -> bool:
        """Whether pages can be stored here."""
        return not self._memory.readonly

    def read(self, run: PageRun, scratch: memoryview) -> memoryview:
        """Return the block's own memory, or a gathered copy."""
        size = self.page_size
        if run.where is not None:
            kernel.gather(self._memory, run.where, size, scratch)
            return scratch[: run.count * size]
        pages = self._memory[run.first * size : (run.first + run.count) * size]
        if len(pages) == run.count * size and not self._live:
            return pages
        padded = scratch[: run.count * size]
        padded[: len(pages)] = pages
        padded[len(pages) :] = bytes(len(padded) - len(pages))
        return padded

    def target(self, offsets: bytes, normal: int, scratch: memoryview) -> memoryview:
        """Return the block's own memory where the pages are adjacent and whole."""
        length = normal * self.page_size
        if normal and kernel.contiguous(offsets, normal, self.page_size):
            first = int.from_bytes(offsets[:8])
            if first + length <= len(self._memory):
                return self._memory[first : first + length]
        return scratch[:length]

    def store(self, offsets: bytes, normal: int, packet: memoryview) -> None:
        """Scatter what was not decoded in place, and clear the zero pages."""
        # Where all were decoded in place there is nothing to do.
        if len(offsets) > 8 * normal or packet.obj is not self._memory.obj:
            kernel.store(self._memory, offsets, normal, self.page_size, packet)

    def content(self) -> Iterator[memoryview]:
        """Yield the memory itself."""
        for start in range(0, len(self._memory), PIECE):
            yield self._memory[start : start + PIECE]

    def close(self) -> None:
        """Let go of the buffer."""
        self._memory.release()
