"""The optional half of the codec contract: a standard file format, which other tools read too.

A file is one **member** or several after each other: gzip members, zstd or lz4 frames. What each
of them decodes to, joined, is what the file holds. A codec with a file format sets `suffix` and
implements `compress` and `open_reader`. That is enough for all that reads and writes files.

The rest lets several threads work on one file at a time. Each part has a default:

* `magic`: how files begin, so that one is known whose name does not tell.
* `file_packer`: what packs the pieces of a file. By default each piece is a file of its own, and
  the pieces behind each other are members.
* `measure` and `decompress_member`: where a member ends and how much it holds, without decoding
  it; then its neighbours can be decoded at the same time, and skipped. By default no member can
  be measured, and files are decoded from their beginning, by one thread.
"""

from __future__ import annotations

import io
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import BinaryIO, ClassVar, Final, NamedTuple, TypeAlias

from codecs_core.errors import CodecError, CorruptPayload, UsageError

__all__ = ["LARGEST_MEMBER", "Buffer", "FileFormat", "FilePacker", "Look", "Member"]

Buffer: TypeAlias = bytes | bytearray | memoryview
"""What codecs read and return: contiguous bytes."""

Look: TypeAlias = Callable[[int, int], Buffer]
"""``look(offset, size)`` shows bytes of a file, counted from where a member begins.

There are fewer of them where the file ends, and none further away than a reader wants to look.
"""

LARGEST_MEMBER: Final = 8 << 20
"""What is decoded as a whole, in bytes: a larger member, packed or not, is read as a stream."""

_READ_SIZE = 1 << 20

_PLAUSIBLE: Final = 1000
"""How many times its own size data may say that it decodes to and have that allocated at once;
data that says more is decoded piece by piece."""


class Member(NamedTuple):
    """The sizes of a member, in bytes: what it takes in the file, and what it decodes to."""

    size: int
    length: int


class FilePacker(ABC):
    """Packs the pieces of one file, several at a time, and joins them.

    Pieces are as long as `piece_size` says, in bytes; the last one, and one before a flush, may be
    shorter. None is empty, unless all of the file is.
    """

    piece_size: int = 1 << 20
    _joined = False

    @abstractmethod
    def pack(self, piece: memoryview, /) -> Buffer:
        """Return a piece, packed. Called by several threads at a time, in any order.

        ``piece`` must not be kept. The result is the caller's to keep. Work on a piece should
        release the GIL. Raises `CodecError` where the library fails.
        """

    def join(self, packed: Buffer, /) -> Buffer:
        """Return what is written for the next piece. Called with each of them, in order."""
        self._joined = True
        return packed

    def end(self) -> Buffer:
        """Return what is written behind the last piece.

        By default that is a member of nothing, where there was no piece.
        """
        return b"" if self._joined else self.pack(memoryview(b""))

    def break_off(self) -> Buffer:
        """Return what is written behind the last piece of a file that is given up.

        A reader must see by it that the file is cut short. By default it is the beginning of a
        member; a packer of one member that has no end yet returns nothing.
        """
        return bytes(self.pack(memoryview(b"")))[:-1]

    def close(self) -> None:
        """Release what the packer holds. No call of `pack` is under way."""


class _OneByOne(FilePacker):
    def __init__(self, compress: Callable[[Buffer], bytes]) -> None:
        self._compress = compress

    def pack(self, piece: memoryview, /) -> Buffer:
        return self._compress(piece)


class FileFormat:
    """What a codec has to do with files. A part of `codecs_core.codec.Codec`."""

    name: ClassVar[str]

    suffix: ClassVar[str | None] = None
    """The file name ending of the codec's standard file format, ``.zst``; ``None`` where it has
    no such format."""

    magic: ClassVar[tuple[bytes, ...]] = ()
    """How files of that format begin: with one of these, each of 2 to 8 bytes."""

    @classmethod
    def has_file_format(cls) -> bool:
        """Whether the codec has a file format: it implements `compress`."""
        return cls.compress is not FileFormat.compress

    def compress(self, data: Buffer, /) -> bytes:
        """Return ``data`` in the codec's standard file format.

        Raises `CodecError` where the codec has no such format.
        """
        raise CodecError(f"codec {self.name!r} has no file format of its own")

    def open_reader(self, source: BinaryIO, /) -> BinaryIO:
        """Return a readable file of what ``source``, in the standard file format, decodes to.

        Reading raises `CorruptPayload` where the source is damaged, and its `TruncatedFile` where
        it is cut short. Memory is bounded whatever the source claims. Closing the reader leaves
        ``source`` open.
        """
        raise CodecError(f"codec {self.name!r} has no file format of its own")

    def decompress(self, data: Buffer, /, *, max_length: int | None = None) -> bytes:
        """Return what ``data``, in the standard file format, decodes to.

        ``max_length`` bounds the result, in bytes: give one wherever the data comes from
        elsewhere. Raises `CorruptPayload` where the data is damaged, cut short or longer than
        that, `UsageError` for a negative bound.
        """
        limit = sys.maxsize - 1 if max_length is None else max_length
        if limit < 0:
            raise UsageError(f"max_length={limit} is negative; give a size in bytes, or None")
        source = memoryview(data).cast("B")
        # Most data is one member that tells its size: then one call does it.
        member = self.measure(lambda offset, size: source[offset : offset + size])
        most = min(limit, _PLAUSIBLE * len(source))
        if member is not None and member.size == len(source) and 0 < member.length <= most:
            return self.decompress_member(source, member.length)
        return self._read_members(source, limit)

    def _read_members(self, data: memoryview, limit: int) -> bytes:
        result = bytearray()
        with self.open_reader(io.BytesIO(data)) as reader:
            while chunk := reader.read(min(_READ_SIZE, limit + 1 - len(result))):
                result += chunk
                if len(result) > limit:
                    raise CorruptPayload(
                        f"{self.name}: the data decodes to more than max_length={limit} bytes"
                    )
        return bytes(result)

    def file_packer(self) -> FilePacker:
        """Make what packs one file. The default packs each piece by `compress`."""
        return _OneByOne(self.compress)

    def measure(self, look: Look, /) -> Member | None:
        """Tell the sizes of a member, without decoding it; ``None`` where that cannot be told.

        ``look`` shows the member from its first byte on, and may be asked for any part of it. The
        bytes come from a file and may be anything; nothing is raised for them. Whoever decodes the
        member holds the answer against what comes out: `decompress_member`, and for a member of
        more than `LARGEST_MEMBER`, which is read as a stream, the decompressor of `open_reader`.
        """
        return None

    def decompress_member(self, data: memoryview, length: int, /) -> bytes:
        """Return what one member decodes to, exactly ``length`` bytes: both as `measure` said.

        Called by several threads at a time. Raises `CorruptPayload` unless ``data`` is one member
        to its last byte, of that length; never allocates by more than ``length``.
        """
        result = self._read_members(data, length)
        if len(result) != length:
            raise CorruptPayload(
                f"{self.name}: a member decodes to {len(result)} bytes, {length} are announced"
            )
        return result
