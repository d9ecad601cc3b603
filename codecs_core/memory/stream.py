"""Byte streams as blocks: pages are read and written in order, in bounded memory.

The size of a stream is known at its end only. All its pages but the last are whole, so the
receiver holds back one page until the sender tells the size.
"""

from __future__ import annotations

import os
import select
import stat
import struct
import threading
from collections.abc import Callable, Iterator
from typing import BinaryIO

from xxhash import xxh3_128

from codecs_core.errors import ProtocolError, TransferError
from codecs_core.memory import kernel
from codecs_core.memory.block import Block, PageRun

__all__ = ["StreamSink", "StreamSource"]

_POLL = 0.2
"""Seconds between two looks at whether the transfer still goes on, while a pipe is silent."""


class _Stream(Block):
    """What both ends of a stream share: an end before its end, and a digest of what passes."""

    ordered = True

    def __init__(self, name: str, size: int | None, page_size: int) -> None:
        super().__init__(name, size, page_size)
        self._passed: xxh3_128 | None = None
        self._aborted = False

    @property
    def aborted(self) -> bool:
        """Whether `abort` was called."""
        return self._aborted

    def watch(self) -> None:
        """Begin to take a digest of what passes."""
        self._passed = xxh3_128()

    def digest(self, check: Callable[[], None]) -> str:
        """Return the digest of what has passed since `watch`."""
        assert self._passed is not None, "watch comes first"
        return self._passed.hexdigest()

    def _pass(self, data: memoryview) -> None:
        if self._passed is not None:
            self._passed.update(data)


class StreamSource(_Stream):
    """A block read from a descriptor, or a binary file object, until its end.

    Neither is closed. ``received`` counts the bytes read so far.
    """

    def __init__(self, name: str, source: int | BinaryIO, page_size: int = 4096) -> None:
        super().__init__(name, None, page_size)
        self._source = source
        self._ended = False
        self.received = 0

    def runs(self, per_packet: int, *, skip_holes: bool = False) -> Iterator[PageRun]:
        """Yield runs until the stream has ended; each must be read before the next is asked for."""
        while not self._ended:
            yield PageRun(self, self.received // self.page_size, per_packet)

    def read(self, run: PageRun, scratch: memoryview) -> memoryview:
        """Fill a packet, or less at the stream's end, the last page padded with zeros."""
        wanted = run.count * self.page_size
        filled = 0
        while filled < wanted and not self._ended:
            try:
                count = self._read_some(scratch[filled:wanted])
            except OSError as error:
                raise TransferError(f"reading {self.name}: {error.strerror}") from error
            self._ended = not count
            filled += count
        self.received += filled
        self._pass(scratch[:filled])
        whole = -(-filled // self.page_size) * self.page_size
        scratch[filled:whole] = bytes(whole - filled)
        return scratch[:whole]

    def _read_some(self, buffer: memoryview) -> int:
        if not isinstance(self._source, int):
            return self._source.readinto(buffer) or 0  # type: ignore[attr-defined]
        _wait(self._source, select.POLLIN, self)
        return os.readv(self._source, [buffer])

    @property
    def final_size(self) -> int:
        """How many bytes were read so far."""
        return self.received

    def abort(self) -> None:
        """Make a read that waits for the pipe end."""
        self._aborted = True


class StreamSink(_Stream):
    """A block written to a descriptor, or a binary file object, in order.

    Channels take turns: each waits until what lies before its packet has been written. With
    ``size`` given exactly that many bytes are written. Raises `ProtocolError` where pages are
    doubled, or missing because no channel is left that could bring them.
    """

    def __init__(
        self,
        name: str,
        sink: int | BinaryIO,
        size: int | None = None,
        page_size: int = 4096,
    ) -> None:
        super().__init__(name, size, page_size)
        self._writers = 1
        self._waiting: list[int] = []
        self._turn = threading.Condition()
        self._position = 0
        self._writing = False
        self._held = b""
        self._error: BaseException | None = None
        self._owned = -1
        self._sink = sink
        if isinstance(sink, int) and stat.S_ISFIFO(os.fstat(sink).st_mode):
            # A description of its own may be non-blocking without changing the caller's.
            self._owned = os.open(f"/proc/self/fd/{sink}", os.O_WRONLY | os.O_NONBLOCK)
            self._sink = self._owned

    def store(self, offsets: bytes, normal: int, packet: memoryview) -> None:
        """Wait for the packet's turn, then write it."""
        first, data = self._assemble(offsets, normal, packet)
        with self._turn:
            self._await_turn(first)
            self._writing = True
        try:
            self._emit(data, first + len(data))
        except BaseException as error:
            self._error = error
            self.abort()
            raise
        with self._turn:
            self._writing = False
            self._position = first + len(data)
            self._turn.notify_all()

    def expect(self, writers: int) -> None:
        """Tell how many channels take turns; 1 unless told."""
        self._writers = writers

    def leave(self) -> None:
        """One of the channels has ended."""
        with self._turn:
            self._writers -= 1
            self._turn.notify_all()

    def finish(self, size: int | None) -> None:
        """Write the page that was held back, cut to the stream's size."""
        if size is None:
            size = self.size if self.size is not None else self._position
        whole = -(-size // self.page_size) * self.page_size
        if whole != self._position:
            raise ProtocolError(
                f"{self.name}: pages for {self._position} bytes came, {size} were announced"
            )
        if self.size is None and size:
            self._write(memoryview(self._held)[: size - (whole - self.page_size)])
        if not isinstance(self._sink, int):
            self._sink.flush()

    def sync(self) -> None:
        """Write a file through to its device; pipes and file objects have none."""
        if not isinstance(self._sink, int):
            return
        try:
            mode = os.fstat(self._sink).st_mode
            if stat.S_ISREG(mode) or stat.S_ISBLK(mode):
                os.fsync(self._sink)
        except OSError as error:
            raise TransferError(
                f"{self.name} cannot be brought to stable storage: {error.strerror}"
            ) from error

    def abort(self) -> None:
        """Wake the channels that wait for their turn."""
        with self._turn:
            self._aborted = True
            self._turn.notify_all()

    def close(self) -> None:
        """Close what was opened here; the caller's descriptor stays open."""
        if self._owned >= 0:
            owned, self._owned = self._owned, -1
            os.close(owned)

    def _assemble(self, offsets: bytes, normal: int, packet: memoryview) -> tuple[int, memoryview]:
        """Return the packet's first offset and its pages in order, zero pages among them."""
        count = len(offsets) // 8
        size = self.page_size
        if normal == count and kernel.contiguous(offsets, count, size):
            return int.from_bytes(offsets[:8]), packet
        numbers = struct.unpack(f">{count}Q", offsets)
        first = min(numbers)
        if sorted(numbers) != list(range(first, first + count * size, size)):
            raise ProtocolError(f"{self.name}: the pages of a packet at {first:#x} leave gaps")
        pages = memoryview(bytearray(count * size))
        relative = struct.pack(f">{count}Q", *(number - first for number in numbers))
        kernel.store(pages, relative, normal, size, packet)
        return first, pages

    def _await_turn(self, first: int) -> None:
        self._waiting.append(first)
        self._turn.notify_all()
        self._turn.wait_for(lambda: self._aborted or self._decided(first))
        self._waiting.remove(first)
        if self._aborted:
            # Whoever of several channels is the first to tell, tells why.
            raise self._error or TransferError(f"writing {self.name}: the transfer was stopped")
        if first < self._position:
            raise ProtocolError(f"{self.name}: the pages at {first:#x} came twice")
        if first > self._position:
            raise ProtocolError(f"{self.name}: the pages at {self._position:#x} did not come")

    def _decided(self, first: int) -> bool:
        """Whether the pages at ``first`` are due, or never will be: all channels wait."""
        if self._writing:
            return False
        stuck = len(self._waiting) >= self._writers and self._position not in self._waiting
        return first <= self._position or stuck

    def _emit(self, data: memoryview, end: int) -> None:
        """Write what is certain: not the last page of a stream whose size is unknown."""
        if self.size is not None:
            self._write(data[: len(data) - max(0, end - self.size)])
            return
        self._write(memoryview(self._held))
        self._write(data[: -self.page_size])
        self._held = bytes(data[-self.page_size :])

    def _write(self, data: memoryview) -> None:
        try:
            while data:
                if isinstance(self._sink, int):
                    _wait(self._sink, select.POLLOUT, self)
                    count = os.write(self._sink, data)
                else:
                    count = self._sink.write(data) or 0
                self._pass(data[:count])
                data = data[count:]
        except OSError as error:
            raise TransferError(f"writing {self.name}: {error.strerror}") from error


def _wait(fd: int, event: int, block: StreamSource | StreamSink) -> None:
    """Wait until ``fd`` is ready, or raise `TransferError` once the block is aborted."""
    poll = select.poll()
    poll.register(fd, event)
    while not poll.poll(_POLL * 1000):
        if block.aborted:
            raise TransferError(f"{block.name}: the transfer was stopped")
