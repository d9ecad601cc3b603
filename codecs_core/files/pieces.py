"""What a file decodes to, piece by piece: members by several threads, or one as a stream.

Members that can be measured, and are not too large, are decoded ahead by threads, several small
ones together. Any other is decoded as it is read, by the thread that reads; and so is the whole
rest of a file whose codec does not tell where a member ends.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, BinaryIO, Final

from codecs_core.errors import CorruptPayload, TransferError
from codecs_core.file_format import LARGEST_MEMBER
from codecs_core.files.index import Index
from codecs_core.files.pipeline import Pipeline
from codecs_core.reader import MembersReader

if TYPE_CHECKING:
    from codecs_core.codec import Codec
    from codecs_core.file_format import Member
    from codecs_core.files.source import Source

__all__ = ["Pieces"]

_GROUP: Final = 1 << 20
_STREAM: Final = 256 << 10

Decoded = tuple[list[bytes], CorruptPayload | None]
"""What members decode to, up to the first that is damaged, and what is wrong with that one."""


class Pieces:
    """Decodes ``source`` in ``threads`` threads. For one thread; the source is its own."""

    def __init__(self, source: Source, codec: Codec, threads: int) -> None:
        self._source = source
        self._codec = codec
        self._pipeline: Pipeline[Decoded] = Pipeline(threads)
        # Without threads nothing is gained by waiting for a second member.
        self._group = _GROUP if threads > 1 else 1
        self._ready: deque[bytes] = deque()
        self._stream: BinaryIO | None = None
        self._buffer = bytearray()
        self._begun = False
        self._ended = False
        self._failure: Exception | None = None
        self.index = Index()
        self.decoded = 0
        """Where the next piece begins."""
        self.ahead = 0
        """Where what is neither decoded nor being decoded begins."""

    def next(self) -> bytes:
        """Return the next piece, which is empty at the end only.

        Raises `CorruptPayload`, and its `TruncatedFile`; and goes on doing so, until `seek`.
        """
        if self._failure is not None:
            raise self._failure
        try:
            piece = self._next()
        except BaseException as error:
            self._failure = (
                error if isinstance(error, Exception) else TransferError("reading was interrupted")
            )
            raise
        self.decoded += len(piece)
        if not piece:
            self.index.size = self.decoded
        return piece

    def seek(self, target: int) -> None:
        """Let the next piece be one at or before the decoded byte ``target``."""
        self._pipeline.cancel()
        self._close_stream()
        self._ready.clear()
        self.decoded, position = self.index.before(target)
        self.ahead = self.decoded
        self._source.seek(position)
        self._begun = position > 0
        self._ended = False
        self._failure = None

    def survey(self, target: int = sys.maxsize) -> int:
        """Return a place to `seek` from for ``target``, after looking for a nearer one.

        Members are measured, not decoded, from the last known one on. The source is seekable.
        """
        decoded, position = self.index.last
        try:
            while decoded < target and self.index.size is None:
                look = partial(self._source.look_at, position)
                member = self._codec.measure(look)
                if member is None or not _is_whole(member, look):
                    break
                decoded += member.length
                position += member.size
                self.index.add(decoded, position)
                if not self._source.look_at(position, 0, 1):
                    self.index.size = decoded
        finally:
            self._source.return_from_there()
        return self.index.before(target)[0]

    def close(self) -> None:
        """End the threads."""
        self._close_stream()
        self._ready.clear()
        self._pipeline.close()

    def _next(self) -> bytes:
        while not self._ready:
            if self._stream is not None:
                if piece := self._from_stream(self._stream):
                    return piece
                continue
            while not self._ended and not self._pipeline.is_full and self._decode_ahead():
                pass
            if self._pipeline:
                pieces, error = self._pipeline.take()
                self._ready.extend(filter(None, pieces))
                if error is not None:
                    self._pipeline.cancel()
                    self._pipeline.submit(_raise, error)
            elif self._ended or (self._begun and self._source.skip_zeros()):
                self._ended = True
                return b""
            elif not self._decode_ahead():
                self._open_stream()
        return self._ready.popleft()

    def _decode_ahead(self) -> bool:
        """Have the next members decoded, as far as they can be measured; tell whether they can."""
        members: list[Member] = []
        size = length = 0
        while size < self._group and length < self._group:
            look = partial(self._look, size)
            member = self._codec.measure(look)
            if member is None or max(member) > LARGEST_MEMBER or not _is_whole(member, look):
                break
            members.append(member)
            size += member.size
            length += member.length
        if not members:
            return False
        self._begun = True
        self._pipeline.submit(_decode, self._codec, self._source.take(size), members)
        self.ahead += length
        self.index.add(self.ahead, self._source.tell())
        return True

    def _look(self, base: int, offset: int, size: int) -> bytes:
        """Show a member at ``base``, as far as one may be large."""
        if not 0 <= offset <= offset + size <= LARGEST_MEMBER:
            return b""
        return self._source.look(base + offset, size)

    def _open_stream(self) -> None:
        self._stream = self._codec.open_reader(self._source)  # type: ignore[arg-type]
        self._buffer = self._buffer or bytearray(_STREAM)

    def _from_stream(self, stream: BinaryIO) -> bytes:
        """Read on in the stream, to its end at most."""
        reader = getattr(stream, "raw", None)
        if not isinstance(reader, MembersReader):
            # Whoever made it, it reads all members; and where they end is not known.
            piece = stream.read(_STREAM)
            if not piece:
                self._ended = True
                self._close_stream()
            return piece
        count = reader.read_member(memoryview(self._buffer))
        if reader.between_members:
            self._source.give_back(reader.take_rest())
            self._close_stream()
            self._begun = True
            self.ahead = self.decoded + count
            self.index.add(self.ahead, self._source.tell())
        return bytes(memoryview(self._buffer)[:count])

    def _close_stream(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.close()


def _is_whole(member: Member, look: partial[bytes]) -> bool:
    return member.size > 0 and member.length >= 0 and bool(look(member.size - 1, 1))


def _decode(codec: Codec, data: memoryview, members: Sequence[Member]) -> Decoded:
    pieces: list[bytes] = []
    at = 0
    for member in members:
        try:
            pieces.append(codec.decompress_member(data[at : at + member.size], member.length))
        except CorruptPayload as error:
            return pieces, error
        at += member.size
    return pieces, None


def _raise(error: CorruptPayload) -> Decoded:
    raise error
