"""Blocks over regular files and block devices, by preadv and pwritev; holes stay holes."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from array import array
from collections.abc import Iterator
from typing import Self

from codecs_core.errors import TransferError, UsageError
from codecs_core.memory import kernel
from codecs_core.memory.block import Block, PageRun
from codecs_core.memory.digest import PIECE

__all__ = ["FileBlock"]


class FileBlock(Block):
    """A block over a file of fixed size. The block owns the descriptor ``fd``.

    ``path`` is for messages only.
    """

    def __init__(
        self, name: str, fd: int, size: int, path: str | os.PathLike[str], page_size: int = 4096
    ) -> None:
        super().__init__(name, size, page_size)
        self._fd = fd
        self._length = size
        self._path = os.fspath(path)
        self._watched = False

    @classmethod
    def open(cls, path: str | os.PathLike[str], name: str, page_size: int = 4096) -> Self:
        """Open a file or a block device to send from.

        Raises `UsageError` for a directory or what has no fixed size, `OSError` where it cannot
        be opened.
        """
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            mode = os.fstat(fd).st_mode
            if not (stat.S_ISREG(mode) or stat.S_ISBLK(mode)):
                raise UsageError(
                    f"{os.fspath(path)} is neither a regular file nor a block device; "
                    "send a pipe as '-' (standard input)"
                )
            return cls(name, fd, os.lseek(fd, 0, os.SEEK_END), path, page_size)
        except BaseException:
            os.close(fd)
            raise

    @classmethod
    def create(
        cls,
        path: str | os.PathLike[str],
        size: int,
        name: str,
        page_size: int = 4096,
        *,
        shown: str | os.PathLike[str] | None = None,
        resume: bool = False,
    ) -> Self:
        """Create a file of ``size`` bytes to receive into: one hole, mode 0600.

        ``shown`` is the path for messages, where ``path`` is a temporary one. ``resume`` takes the
        file as it is, where there is one of that size which nobody else is using. Raises
        `TransferError` where it exists or cannot be made.
        """
        shown = path if shown is None else shown
        how = os.O_NOFOLLOW if resume else os.O_EXCL
        left = False
        try:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | how, 0o600)
            try:
                if resume:
                    left = _claim(fd, path, size)
                os.ftruncate(fd, size)
            except BaseException:
                os.close(fd)
                if not resume:
                    os.unlink(path)
                raise
        except (OSError, OverflowError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise TransferError(f"{os.fspath(shown)} cannot be made: {reason}") from error
        block = cls(name, fd, size, shown, page_size)
        block.reads_zero = not left
        block.resumed = left
        return block

    def runs(self, per_packet: int, *, skip_holes: bool = False) -> Iterator[PageRun]:
        """Yield the pages that hold data, or all."""
        if not skip_holes:
            yield from super().runs(per_packet)
            return
        for start, end in self._extents():
            for first in range(start, end, per_packet):
                yield PageRun(self, first, min(per_packet, end - first))

    def _extents(self) -> Iterator[tuple[int, int]]:
        """Yield the ranges of page numbers that hold data, disjoint and in order."""
        offset = done = 0
        while offset < self._length:
            try:
                start = os.lseek(self._fd, offset, os.SEEK_DATA)
                offset = os.lseek(self._fd, start, os.SEEK_HOLE)
            except OSError as error:
                if error.errno == errno.ENXIO:
                    return
                if error.errno != errno.EINVAL:
                    raise TransferError(f"reading {self._path}: {error.strerror}") from error
                start, offset = offset, self._length
            first = max(done, start // self.page_size)
            done = min(-(-offset // self.page_size), self.pages)
            if first < done:
                yield first, done

    def read(self, run: PageRun, scratch: memoryview) -> memoryview:
        """Read the pages into ``scratch``."""
        where = run.where or array("Q", range(run.first, run.first + run.count))
        try:
            kernel.read_pages(self._fd, self._length, where, self.page_size, scratch)
        except OSError as error:
            raise self._unreadable(error) from error
        return scratch[: run.count * self.page_size]

    def store(self, offsets: bytes, normal: int, packet: memoryview) -> None:
        """Write the normal pages, run by run; zero pages become holes."""
        try:
            kernel.write_pages(self._fd, self._length, offsets, normal, self.page_size, packet)
        except OSError as error:
            raise TransferError(f"writing {self._path}: {error.strerror}") from error

    def sync(self) -> None:
        """Write the file through to its device.

        One that is watched is dropped from the cache, so that its digest tells of the device.
        """
        try:
            os.fsync(self._fd)
            if self._watched:
                os.posix_fadvise(self._fd, 0, 0, os.POSIX_FADV_DONTNEED)
        except OSError as error:
            raise TransferError(
                f"{self._path} cannot be brought to stable storage: {error.strerror}"
            ) from error

    def watch(self) -> None:
        """Remember that the file will be read as a whole."""
        self._watched = True

    def content(self) -> Iterator[memoryview]:
        """Yield the file's bytes as they are now."""
        buffer = memoryview(bytearray(PIECE))
        done = 0
        while done < self._length:
            try:
                count = os.preadv(self._fd, [buffer[: self._length - done]], done)
                if not count:
                    raise OSError(errno.ENODATA, os.strerror(errno.ENODATA))
            except OSError as error:
                raise self._unreadable(error) from error
            done += count
            yield buffer[:count]

    def _unreadable(self, error: OSError) -> TransferError:
        reason = error.strerror
        if error.errno == errno.ENODATA:
            reason = f"it became shorter than the {self._length} bytes it had at the start"
        return TransferError(f"reading {self._path}: {reason}")

    def close(self) -> None:
        """Close the descriptor."""
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            os.close(fd)


def _claim(fd: int, path: str | os.PathLike[str], size: int) -> bool:
    """Make a file that may have been left over ours; tell whether it holds something of use.

    Raises `OSError` where another process is using it, or it is not what a receiver leaves.
    """
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise OSError(error.errno, "another receiver is writing it") from None
    except OSError as error:
        reason = f"its file system has no locks ({error.strerror}); remedy: --no-resume"
        raise OSError(error.errno, reason) from None
    found = os.fstat(fd)
    # Its last user may have given it its final name between our opening and our lock.
    if not os.path.samestat(found, os.lstat(path)) or found.st_nlink != 1:
        raise OSError(errno.EBUSY, f"{os.fspath(path)} has another name, too; remedy: remove it")
    if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid():
        raise OSError(errno.EPERM, f"{os.fspath(path)} is another user's, or no file")
    if found.st_size == size:
        return found.st_blocks > 0
    os.ftruncate(fd, 0)
    return False
