"""A file that is compressed while it is written."""

from __future__ import annotations

import contextlib
import errno
import os
from typing import TYPE_CHECKING, Any, BinaryIO, NoReturn

from codecs_core.errors import TransferError
from codecs_core.files.base import CompressedFile, as_bytes
from codecs_core.files.pipeline import Pipeline

if TYPE_CHECKING:
    from codecs_core.codec import Codec
    from codecs_core.file_format import Buffer, FilePacker

__all__ = ["FileWriter"]


class FileWriter(CompressedFile):
    """Compresses what is written, piece by piece, into ``file``. Made by `codecs_core.open`.

    ``file`` is closed with this where it is ``owned``. What is written to it comes from the thread
    that writes to this; so do the errors of it, and of the codec, at the latest from `close`. After
    one of them nothing more is written. For one thread at a time, like the files of `gzip`.
    """

    def __init__(
        self,
        file: BinaryIO,
        packer: FilePacker,
        codec: Codec,
        threads: int,
        *,
        mode: str,
        owned: bool,
    ) -> None:
        self._file = file
        self._owned = owned
        self._packer = packer
        self._pipeline: Pipeline[Buffer] = Pipeline(threads)
        self._piece = bytearray()
        self._position = 0
        self._failure: Exception | None = None
        self.codec = codec
        self.mode = mode

    def write(self, data: Any, /) -> int:
        """Take all of ``data``, any contiguous buffer, and return its size in bytes."""
        self._check_open()
        self._check_sound()
        rest = as_bytes(data)
        size = len(rest)
        whole = self._packer.piece_size
        # Bytes cannot change any more, so that threads may work on them where they are.
        lasting = type(rest.obj) is bytes
        while rest:
            if lasting and not self._piece and len(rest) >= whole:
                self._pack(rest[:whole])
                rest = rest[whole:]
                continue
            room = whole - len(self._piece)
            self._piece += rest[:room]
            rest = rest[room:]
            if len(self._piece) == whole:
                self._pack_piece()
        self._position += size
        return size

    def flush(self) -> None:
        """Let all that was written be in the file below, to be read by others.

        A piece ends here, which costs compression where it comes too often.
        """
        file = self._check_open()
        self._check_sound()
        self._finish()
        flush = getattr(file, "flush", None)
        if flush is not None:
            flush()

    def tell(self) -> int:
        """How many bytes were written."""
        self._check_open()
        return self._position

    def writable(self) -> bool:
        """It is."""
        self._check_open()
        return True

    def seekable(self) -> bool:
        """It is not."""
        self._check_open()
        return False

    def close(self) -> None:
        """Write what is left, end the threads, and close the file where it was opened for this."""
        file = self._file
        if file is None:
            return
        try:
            if self._failure is None:
                self._finish()
                self._store(self._packer.end())
        finally:
            self._break_off()
            self._file = None
            self._piece = bytearray()
            try:
                self._pipeline.close()
                self._packer.close()
            finally:
                if self._owned:
                    file.close()

    def give_up(self) -> None:
        """Let `close` drop what is not written yet, and leave a file that looks cut short.

        One that is appended to ends behind its last whole piece.
        """
        self._check_open()
        if self._failure is None:
            self._failure = TransferError("the file was given up")

    def __exit__(self, *exception: object) -> None:
        """Close it; left by an exception it is given up."""
        if exception[0] is not None and not self.closed:
            self.give_up()
        self.close()

    def __reduce_ex__(self, protocol: Any, /) -> NoReturn:
        raise TypeError("an open file cannot be pickled; its codec can")

    def _check_sound(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _pack_piece(self) -> None:
        piece, self._piece = self._piece, bytearray()
        self._pack(memoryview(piece))

    def _pack(self, piece: memoryview) -> None:
        while self._pipeline.is_full:
            self._store_next()
        self._pipeline.submit(self._packer.pack, piece)
        while self._pipeline.is_ready:
            self._store_next()

    def _finish(self) -> None:
        if self._piece:
            self._pack_piece()
        while self._pipeline:
            self._store_next()

    def _break_off(self) -> None:
        """Let a file that failed, or was given up, look cut short, where it can be written to."""
        if self._failure is None or isinstance(self._failure, OSError) or self.mode == "ab":
            return
        # What made the file fail is known already.
        with contextlib.suppress(Exception):
            self._store(self._packer.break_off())

    def _store_next(self) -> None:
        try:
            self._store(self._packer.join(self._pipeline.take()))
        except BaseException as error:
            self._failure = (
                error if isinstance(error, Exception) else TransferError("writing was interrupted")
            )
            raise

    def _store(self, data: Buffer) -> None:
        assert self._file is not None
        rest = memoryview(data).cast("B")
        while rest:
            # Raw files may take less than they are given; those that do not block, nothing.
            count = self._file.write(rest)
            if count is None:
                raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
            rest = rest[count:]
