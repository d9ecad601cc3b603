"""A file's compressed bytes: looked at ahead, taken, given back."""

from __future__ import annotations

import io
from typing import Any, BinaryIO

__all__ = ["Source"]

_READ_SIZE = 1 << 20


class Source(io.BufferedIOBase):
    """Reads ``file`` from where it stands, and is itself a file for `Codec.open_reader`.

    Positions count from there. It holds what was looked at, and no more than 1 MiB beyond. Closing
    it leaves ``file`` open.
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

    def take(self, size: int, /) -> memoryview:
        """Return the next ``size`` bytes, all of which were looked at, without a copy."""
        taken = memoryview(self._data)[self._at : self._at + size]
        self._at += size
        self._position += size
        return taken

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
        data = bytes(self.take(min(size, len(self._data) - self._at)))
        if not data and size:
            data = self._read(size) or b""
            self._position += len(data)
        return data

    read1 = read

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
