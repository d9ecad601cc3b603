"""A file's compressed bytes: looked at ahead, taken, given back."""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, BinaryIO

if TYPE_CHECKING:
    from codecs_core.file_format import Look

__all__ = ["RegularFile", "Source", "source_of"]

# Small enough for what is freed to be used again, by the next read, while a cache holds it.
_READ_SIZE = 256 << 10


def source_of(file: BinaryIO) -> Source:
    """Make what reads ``file`` from where it stands."""
    if (
        type(file) is io.FileIO
        and file.readable()
        and stat.S_ISREG(os.fstat(file.fileno()).st_mode)
    ):
        return RegularFile(file)
    return Source(file)


class Source(io.BufferedIOBase):
    """Reads ``file`` from where it stands, and is itself a file for `Codec.open_reader`.

    Positions count from there. It holds what was looked at, and not much more. Closing it leaves
    ``file`` open.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        # What has come already, as a socket has it, before waiting for the rest.
        self._read = getattr(file, "read1", file.read)
        self._data = b""
        self._at = 0
        self._position = 0
        seekable = getattr(file, "seekable", None)
        self._seekable = bool(seekable is not None and seekable())
        self._origin = file.tell() if self._seekable else 0

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """Whether the file is."""
        return self._seekable

    def tell(self) -> int:
        """The position of the next byte."""
        return self._position

    def seek(self, position: int, whence: int = io.SEEK_SET, /) -> int:
        """Go on at ``position``. The file must be seekable."""
        assert whence == io.SEEK_SET
        self._file.seek(self._origin + position)
        self._data, self._at, self._position = b"", 0, position
        return position

    def look(self, offset: int, size: int, /) -> bytes:
        """Return ``size`` bytes from ``offset`` behind the next one on; fewer at the end."""
        start = self._at + offset
        if start + size > len(self._data):
            self._read_ahead(offset + size)
            start = offset
        return self._data[start : start + size]

    def looking(self, base: int, limit: int, /) -> Look:
        """Show what lies from ``base`` behind the next byte on, at most ``limit`` bytes of it."""

        def look(offset: int, size: int) -> bytes:
            if not 0 <= offset <= offset + size <= limit:
                return b""
            return self.look(base + offset, size)

        return look

    def take(self, size: int, /) -> Callable[[], memoryview]:
        """Go on behind the next ``size`` bytes, of which the last was looked at.

        What is returned gives them, without a copy, in any thread.
        """
        taken = memoryview(self._data)[self._at : self._at + size]
        self._at += size
        self._position += size
        return lambda: taken

    def give_back(self, data: bytes, /) -> None:
        """Take back bytes that were the last to be read."""
        self._data = data + self._data[self._at :]
        self._at = 0
        self._position -= len(data)

    def skip_zeros(self) -> bool:
        """Go on behind zero bytes; tell whether the file ends there."""
        while (byte := self.look(0, 1)) == b"\0":
            rest = self._data[self._at :]
            self.take(len(rest) - len(rest.lstrip(b"\0")))
        return not byte

    def look_at(self, position: int, offset: int, size: int) -> bytes:
        """Return bytes from elsewhere. `return_from_there` must follow, at last."""
        self._file.seek(self._origin + position + offset)
        return self._file.read(size)

    def return_from_there(self) -> None:
        """Let the file stand again where reading goes on."""
        self._file.seek(self._origin + self._position + len(self._data) - self._at)

    def read(self, size: int | None = -1, /) -> bytes:
        """Return at most ``size`` bytes, and none only at the end; all for a negative size."""
        if size is None or size < 0:
            parts = list(iter(lambda: self.read(_READ_SIZE), b""))
            return b"".join(parts)
        data = self._data[self._at : self._at + size]
        self._at += len(data)
        self._position += len(data)
        if not data and size:
            data = self._read(size) or b""
            self._position += len(data)
        return data

    def read1(self, size: int = -1, /) -> bytes:
        """Do the same."""
        return self.read(size)

    def readinto(self, buffer: Any, /) -> int:
        """Fill as much of ``buffer`` as one `read` gives."""
        target = memoryview(buffer).cast("B")
        data = self.read(len(target))
        target[: len(data)] = data
        return len(data)

    def _read_ahead(self, wanted: int) -> None:
        """Have so many bytes at hand, from the next one on, or all that there are."""
        parts = [self._data[self._at :]]
        have = len(parts[0])
        while have < wanted and (data := self._read(max(wanted - have, _READ_SIZE))):
            parts.append(data)
            have += len(data)
        self._data = b"".join(parts)
        self._at = 0


class RegularFile(Source):
    """A file whose bytes are at hand wherever they lie: nothing is held or copied of them.

    Members are read by the threads that decode them. Where the file stands does not change.
    """

    def __init__(self, file: io.FileIO) -> None:
        super().__init__(file)
        self._fd = file.fileno()

    def seek(self, position: int, whence: int = io.SEEK_SET, /) -> int:
        """Go on at ``position``."""
        assert whence == io.SEEK_SET
        self._position = position
        return position

    def look(self, offset: int, size: int, /) -> bytes:
        """Return ``size`` bytes from ``offset`` behind the next one on; fewer at the end."""
        return self.look_at(self._position, offset, size)

    def looking(self, base: int, limit: int, /) -> Look:
        """Show what lies from ``base`` behind the next byte on, at most ``limit`` bytes of it."""
        fd, at, pread = self._fd, self._origin + self._position + base, os.pread

        def look(offset: int, size: int) -> bytes:
            if not 0 <= offset <= offset + size <= limit:
                return b""
            return pread(fd, size, at + offset)

        return look

    def take(self, size: int, /) -> Callable[[], memoryview]:
        """Go on behind the next ``size`` bytes; what is returned reads them, in any thread."""
        position = self._position
        self._position += size
        return partial(self._view, position, size)

    def give_back(self, data: bytes, /) -> None:
        """Take back bytes that were the last to be read."""
        self._position -= len(data)

    def skip_zeros(self) -> bool:
        """Go on behind zero bytes; tell whether the file ends there."""
        size = 1
        while data := self.look(0, size):
            rest = data.lstrip(b"\0")
            self._position += len(data) - len(rest)
            if rest:
                return False
            size = _READ_SIZE
        return True

    def look_at(self, position: int, offset: int, size: int) -> bytes:
        """Return bytes from anywhere."""
        at = self._origin + position + offset
        data = os.pread(self._fd, size, at)
        # Not every file system gives all at once.
        while 0 < len(data) < size and (
            more := os.pread(self._fd, size - len(data), at + len(data))
        ):
            data += more
        return data

    def return_from_there(self) -> None:
        """Nothing has moved."""

    def read(self, size: int | None = -1, /) -> bytes:
        """Return at most ``size`` bytes, and none only at the end; all for a negative size."""
        if size is None or size < 0:
            return super().read(size)
        data = os.pread(self._fd, size, self._origin + self._position)
        self._position += len(data)
        return data

    def _view(self, position: int, size: int) -> memoryview:
        return memoryview(self.look_at(position, 0, size))
