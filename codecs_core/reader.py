"""Reading a codec's standard file format through the decompressor objects Python users know.

`bz2`, `lzma`, Python 3.14's `compression.zstd`, `lz4.frame` and ISA-L's `igzip_lib` share one
shape of decompressor: it takes input as it comes, gives at most so much output, and knows where
its data ends. `open_members` makes a file of it: several members after each other, damage and
truncation reported as `CorruptPayload`, memory bounded by what the caller reads at a time.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

from codecs_core.errors import CorruptPayload

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Decompressor", "open_members"]

_READ_SIZE = 128 * 1024


class Decompressor(Protocol):
    """What decodes one member: a bzip2 or gzip stream, a zstd or lz4 frame."""

    @property
    def eof(self) -> bool:
        """Whether the member's end was reached."""

    @property
    def needs_input(self) -> bool:
        """Whether there is nothing more to give before more input comes."""

    @property
    def unused_data(self) -> bytes:
        """The input behind the member's end."""

    def decompress(self, data: bytes, max_length: int) -> bytes:
        """Take ``data`` and return at most ``max_length`` bytes."""


class _MembersReader(io.RawIOBase):
    def __init__(
        self,
        source: BinaryIO,
        codec: str,
        start: Callable[[bytes], Decompressor],
        errors: tuple[type[Exception], ...],
        read_size: int,
    ) -> None:
        self._source = source
        self._codec = codec
        self._start = start
        self._errors = errors
        self._read_size = read_size
        self._member: Decompressor | None = None
        self._begun = False
        self._rest = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        target = memoryview(buffer).cast("B")
        while target:
            data = self._input()
            if self._member is None:
                if not data:
                    return 0
                self._begun = True
            try:
                self._member = self._member or self._start(data)
                output = self._member.decompress(data, len(target))
            except self._errors as error:
                raise CorruptPayload(f"{self._codec}: the data is damaged: {error}") from error
            if self._member.eof:
                self._rest = self._member.unused_data
                self._member = None
            if output:
                target[: len(output)] = output
                return len(output)
        return 0

    def _input(self) -> bytes:
        """The next input; empty where the member has output left, or between members at the end."""
        if self._member is not None and not self._member.needs_input:
            return b""
        data, self._rest = self._rest or self._source.read(self._read_size), b""
        if not data and (self._member is not None or not self._begun):
            raise CorruptPayload(f"{self._codec}: the data is cut short")
        return data


def open_members(
    source: BinaryIO,
    *,
    codec: str,
    start: Callable[[bytes], Decompressor],
    errors: tuple[type[Exception], ...],
    read_size: int = _READ_SIZE,
) -> BinaryIO:
    """Return a readable file of what the members in ``source`` decode to.

    ``start`` makes the decompressor of one member and is shown the member's first bytes.
    ``errors`` are what it raises for damaged data. ``read_size`` is how many bytes are read from
    ``source`` at a time. ``codec`` is named in messages. At least one member must be there.
    Reading raises `CorruptPayload` for damage, truncation and anything but a member behind a
    member. Closing the result leaves ``source`` open.
    """
    return io.BufferedReader(
        _MembersReader(source, codec, start, errors, read_size), buffer_size=_READ_SIZE
    )
