"""Files and directories that appear under their names only when they are whole."""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import shutil
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from codecs_core.errors import TransferError, UsageError

__all__ = ["OutputDirectory", "OutputFile"]


class OutputFile:
    """A file under way: it is written as `partial`, and `commit` gives it its name.

    Used with ``with``; what was not committed by the end is removed. ``force`` lets it replace a
    file of that name, ``sync`` makes the name as lasting as the disk. ``keep`` leaves what was
    not committed, if there is anything in it, where the next one for this name finds it; who has
    made sure that nobody else is using it says so by `claim`. ``named`` says that the file has its
    name. Raises `UsageError` where ``path`` is a directory, or exists and may not be replaced;
    `TransferError` where it lies in no directory.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        force: bool = False,
        sync: bool = False,
        keep: bool = False,
    ) -> None:
        self.path = Path(path)
        self.named = False
        self._force = force
        self._sync = sync
        self._keep = keep
        self._ours = not keep
        if self.path.is_dir():
            raise UsageError(f"{self.path} is a directory; name the file to write")
        if os.path.lexists(self.path) and not force:
            raise UsageError(f"{self.path} exists; --force replaces it")
        self.partial = _partial(self.path, lasting=keep)

    def commit(self) -> None:
        """Give the file its name.

        Raises `TransferError` where that cannot be done; it has no name then, unless that of a
        file that it replaced.
        """
        try:
            if self._force:
                os.replace(self.partial, self.path)
                self.named = True
            else:
                self._link()
                self.named = True
                self.discard()
            if self._sync:
                _sync_directory(self.path.parent)
        except OSError as error:
            self.withdraw()
            raise TransferError(f"{self.path} cannot be made: {error.strerror}") from error

    def withdraw(self) -> None:
        """Take the name away again, unless it replaced a file: what came of that is whole."""
        if self.named and not self._force:
            self.named = False
            with suppress(FileNotFoundError):
                os.replace(self.path, self.partial)

    def claim(self) -> None:
        """What stands at `partial` has become ours, where it might have been another's."""
        self._ours = True

    def discard(self) -> None:
        """Remove what was not committed."""
        # Where that cannot be done, why the file cannot be made is better known.
        with suppress(OSError):
            self.partial.unlink()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._ours and not (self._keep and self._has_data()):
            self.discard()

    def _has_data(self) -> bool:
        try:
            return os.lstat(self.partial).st_blocks > 0
        except OSError:
            return False

    def _link(self) -> None:
        """Name the file without ever replacing one that came meanwhile."""
        try:
            os.link(self.partial, self.path)
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS):
                raise
            # A file system without hard links: look, then rename.
            if os.path.lexists(self.path):
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST)) from None
            os.replace(self.partial, self.path)


class OutputDirectory:
    """A directory under way: it is filled as `partial`, and `commit` gives it its name.

    Used with ``with``; what was not committed by the end is removed. Raises `UsageError` where
    ``path`` exists and is no empty directory, `TransferError` where it cannot be made.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        if os.path.lexists(self.path) and not (self.path.is_dir() and not any(self.path.iterdir())):
            raise UsageError(f"{self.path} exists; give a new name, or an empty directory")
        self.partial = _partial(self.path)
        try:
            self.partial.mkdir(mode=0o700)
        except OSError as error:
            raise TransferError(f"{self.path} cannot be made: {error.strerror}") from error

    def commit(self) -> None:
        """Give the directory its name. Raises `TransferError` where that cannot be done."""
        try:
            # Onto an empty directory or nothing; anything else that came meanwhile stays.
            self.partial.rename(self.path)
        except OSError as error:
            raise TransferError(f"{self.path} cannot be made: {error.strerror}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        if self.partial.exists():
            shutil.rmtree(self.partial, ignore_errors=True)


def _sync_directory(path: Path) -> None:
    """Bring the names in a directory to stable storage."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _partial(path: Path, *, lasting: bool = False) -> Path:
    """Where something is made that shall become ``path``; ``lasting``: always the same place."""
    if not path.parent.is_dir():
        raise TransferError(f"{path} cannot be made: {path.parent} is no directory")
    # The name is cut so that the longest one still has room for what is added.
    stem = os.fsdecode(os.fsencode(path.name)[:200])
    name = hashlib.sha256(os.fsencode(path.name)).hexdigest()[:8]
    return path.with_name(f".{stem}.{name if lasting else secrets.token_hex(4)}.part")
