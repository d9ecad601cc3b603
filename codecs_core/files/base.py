"""What files that are read and files that are written have in common."""

from __future__ import annotations

import io
from typing import Any, BinaryIO

__all__ = ["CompressedFile"]


class CompressedFile(io.BufferedIOBase):
    """A file object on top of ``_file``, which is ``None`` once this is closed."""

    _file: BinaryIO | None

    @property
    def name(self) -> Any:
        """The name of the file below."""
        return self._check_open().name

    def fileno(self) -> int:
        """The descriptor of the file below."""
        return self._check_open().fileno()

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._file is None

    def _check_open(self) -> BinaryIO:
        if self._file is None:
            raise ValueError("I/O operation on closed file")
        return self._file
