"""A compressed file, read as what it decodes to."""

from __future__ import annotations

import io
import operator
from typing import TYPE_CHECKING, Any, BinaryIO, NoReturn

from codecs_core.errors import UsageError
from codecs_core.files.base import CompressedFile, as_bytes
from codecs_core.files.pieces import Pieces

if TYPE_CHECKING:
    from codecs_core.codec import Codec
    from codecs_core.files.source import Source

__all__ = ["FileReader"]

_PEEK = 8192


class FileReader(CompressedFile):
    """What ``source`` decodes to, as a buffered binary file. Made by `codecs_core.open`.

    ``file`` is what lies below, and is closed with this where it is ``owned``. Reading raises
    `CorruptPayload` where the file is damaged, and its `TruncatedFile`, which is an `EOFError`,
    where it is cut short; whatever could be decoded before is given first. For one thread at a
    time, like the files of `gzip`.
    """

    mode = "rb"

    def __init__(
        self, source: Source, file: BinaryIO, codec: Codec, threads: int, *, owned: bool
    ) -> None:
        self._file = file
        self._owned = owned
        self._seekable = source.seekable()
        self.codec = codec
        self._pieces = Pieces(source, codec, threads)
        self._piece = b""
        self._at = 0

    def read(self, size: int | None = -1, /) -> bytes:
        """Return ``size`` bytes, fewer only at the end; all that are left for a negative size."""
        if size is None or size < 0:
            return b"".join(iter(self.read1, b""))
        parts = []
        while size and (part := self.read1(size)):
            parts.append(part)
            size -= len(part)
        return b"".join(parts)

    def read1(self, size: int = -1, /) -> bytes:
        """Return what is decoded already, or the next piece, but no more than ``size`` bytes.

        Without a size nothing is copied: this is the fastest way to read.
        """
        self._more()
        start = self._at
        end = len(self._piece) if size < 0 else min(start + size, len(self._piece))
        part = self._piece[start:end]
        self._at = end
        return part

    def peek(self, size: int = 0, /) -> bytes:
        """Return bytes without moving on: at least one, unless the file ends here."""
        self._more()
        return self._piece[self._at : self._at + max(size, _PEEK)]

    def readinto(self, buffer: Any, /) -> int:
        """Fill ``buffer``, and return how many bytes came before the end."""
        target = as_bytes(buffer)
        done = 0
        while done < len(target) and (count := self.readinto1(target[done:])):
            done += count
        return done

    def readinto1(self, buffer: Any, /) -> int:
        """Fill as much of ``buffer`` as is decoded already, or the next piece holds."""
        self._more()
        target = as_bytes(buffer)
        found = memoryview(self._piece)[self._at : self._at + len(target)]
        target[: len(found)] = found
        self._at += len(found)
        return len(found)

    def readline(self, size: int | None = -1, /) -> bytes:
        """Return a line with its end, or at most ``size`` bytes of it."""
        left = -1 if size is None else size
        parts = []
        while left:
            self._more()
            found = self._piece.find(b"\n", self._at) + 1
            end = found or len(self._piece)
            if left > 0:
                end = min(end, self._at + left)
                left -= end - self._at
            part = self._piece[self._at : end]
            self._at = end
            parts.append(part)
            if end == found or not part:
                break
        return b"".join(parts)

    @property
    def taken(self) -> int:
        """How many bytes of the file below were taken, for what was read and for what is ahead."""
        self._check_open()
        return self._pieces.taken

    def tell(self) -> int:
        """How many decoded bytes lie before the next one."""
        self._check_open()
        return self._pieces.decoded - len(self._piece) + self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Go to a decoded byte, and return where that is; no further than the end.

        Raises `io.UnsupportedOperation` where the file below cannot seek.
        """
        self._check_open()
        offset = operator.index(offset)
        if not self._seekable:
            raise io.UnsupportedOperation("the compressed file is not seekable")
        if whence == io.SEEK_CUR:
            offset += self.tell()
        elif whence == io.SEEK_END:
            offset += self._size()
        elif whence != io.SEEK_SET:
            raise UsageError(f"whence={whence} is none of 0, 1 and 2")
        if offset < 0:
            raise UsageError(f"there is no byte {offset} to seek")
        self._go_to(offset)
        return self.tell()

    def readable(self) -> bool:
        """It is."""
        self._check_open()
        return True

    def seekable(self) -> bool:
        """Whether the file below is."""
        self._check_open()
        return self._seekable

    def close(self) -> None:
        """End the threads, and close the file where it was opened for this."""
        file, self._file = self._file, None
        if file is None:
            return
        self._piece, self._at = b"", 0
        try:
            self._pieces.close()
        finally:
            if self._owned:
                file.close()

    def __reduce_ex__(self, protocol: Any, /) -> NoReturn:
        raise TypeError("an open file cannot be pickled; its codec can")

    def _more(self) -> None:
        """Have at least one byte at hand, unless the file ends."""
        self._check_open()
        if self._at == len(self._piece):
            # Where this raises, nothing is at hand any more.
            self._piece, self._at = b"", 0
            self._piece = self._pieces.next()

    def _go_to(self, target: int) -> None:
        pieces = self._pieces
        start = pieces.decoded - len(self._piece)
        if target < start or (target > pieces.ahead and pieces.survey(target) > pieces.decoded):
            pieces.seek(target)
            self._piece, self._at = b"", 0
            start = pieces.decoded
        while target > pieces.decoded:
            self._at = len(self._piece)
            self._more()
            start = pieces.decoded - len(self._piece)
            if not self._piece:
                return
        self._at = target - start

    def _size(self) -> int:
        """How many bytes the file decodes to: measured, or decoded to find out."""
        index = self._pieces.index
        if index.size is None:
            last = self._pieces.survey()
        if index.size is None:
            self._go_to(max(last, self.tell()))
        while index.size is None:
            self._at = len(self._piece)
            self._more()
        return index.size
