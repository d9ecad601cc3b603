"""What files that are read and files that are written have in common."""

from __future__ import annotations

import io
from typing import Any, BinaryIO

__all__ = ["CompressedFile", "as_bytes"]


def as_bytes(data: Any) -> memoryview:
    """Return a view of any contiguous buffer, byte by byte."""
    view = memoryview(data)
    # One of no bytes may have a shape that nothing can be made of.
    return view.cast("B") if view.nbytes else memoryview(b"")


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
