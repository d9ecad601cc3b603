"""Reading a codec's standard file format through the decompressor objects Python users know.

`bz2`, `lzma`, Python 3.14's `compression.zstd`, `lz4.frame` and ISA-L's `igzip_lib` share one
shape of decompressor: it takes input as it comes, gives at most so much output, and knows where
its data ends. `open_members` makes a file of it: several members after each other, damage and
truncation reported as `CorruptPayload`, memory bounded by what the caller reads at a time.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

from codecs_core.errors import CodecError, CorruptPayload, TruncatedFile

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Decompressor", "MembersReader", "open_members"]

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
    def unused_data(self) -> bytes | None:
        """The input behind the member's end."""

    def decompress(self, data: bytes, max_length: int) -> bytes:
        """Take ``data`` and return at most ``max_length`` bytes."""


class MembersReader(io.RawIOBase):
    """What `open_members` reads with: the ``raw`` file below its result.

    Whoever wants to know where members end reads them one by one, with `read_member`.
    """

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
        """It is."""
        return True

    def readinto(self, buffer: Any, /) -> int:
        """Fill as much of ``buffer`` as is at hand; 0 at the end of the last member."""
        target = memoryview(buffer).cast("B")
        while target:
            if self._member is None and not self._another():
                return 0
            if piece := self.read_member(len(target)):
                target[: len(piece)] = piece
                return len(piece)
        return 0

    def read_member(self, size: int, /) -> bytes:
        """Read at most ``size`` bytes of the member at hand, or of the next one; none at its end.

        Raises `TruncatedFile` where there is none.
        """
        while True:
            data = self._input()
            try:
                self._member = self._member or self._start(data)
                self._begun = True
                output = self._member.decompress(data, size)
            except self._errors as error:
                raise CorruptPayload(f"{self._codec}: the data is damaged: {error}") from error
            if len(output) > size:
                raise CodecError(
                    f"{self._codec}: its decompressor returned {len(output)} bytes where at most "
                    f"{size} were asked for; report it to the plugin's author"
                )
            if self._member.eof:
                # Some have none where others have no bytes.
                self._rest = self._member.unused_data or b""
                self._member = None
            if output or self._member is None:
                return output

    def take_rest(self) -> bytes:
        """Hand over what was read from the source behind the member that has ended."""
        rest, self._rest = self._rest, b""
        return rest

    @property
    def between_members(self) -> bool:
        """Whether a member has ended, and none has begun behind it."""
        return self._begun and self._member is None

    def _another(self) -> bool:
        """Look whether there is another member; zero bytes behind one are padding, as of tapes."""
        if not self._begun:
            return True
        while not (rest := self._rest.lstrip(b"\0")):
            self._rest = self._source.read(self._read_size)
            if not self._rest:
                return False
        self._rest = rest
        return True

    def _input(self) -> bytes:
        """The next input; empty where the member has output left."""
        if self._member is not None and not self._member.needs_input:
            return b""
        data, self._rest = self._rest or self._source.read(self._read_size), b""
        if not data:
            raise TruncatedFile(f"{self._codec}: the data is cut short")
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
    Reading raises `TruncatedFile` for truncation, `CorruptPayload` for damage and for anything
    but a member, or zero bytes, behind a member. Closing the result leaves ``source`` open.
    """
    return io.BufferedReader(
        MembersReader(source, codec, start, errors, read_size), buffer_size=_READ_SIZE
    )
