"""What a file decodes to, piece by piece: members by several threads, or one as a stream.

Members that can be measured, and are not too large, are decoded ahead by threads, several small
ones together. Any other is decoded as it is read, by the thread that reads; and so is the whole
rest of a file whose codec does not tell where a member ends.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, BinaryIO, Final

from codecs_core.errors import CorruptPayload, TransferError
from codecs_core.file_format import LARGEST_MEMBER
from codecs_core.files.index import Index
from codecs_core.files.pipeline import Pipeline
from codecs_core.reader import MembersReader

if TYPE_CHECKING:
    from codecs_core.codec import Codec
    from codecs_core.file_format import Look, Member
    from codecs_core.files.source import Source

__all__ = ["Pieces"]

_GROUP: Final = 1 << 20
_STREAM: Final = 256 << 10

Decoded = tuple[list[bytes], Exception | None]
"""What there was before something was wrong, and what that is."""


class Pieces:
    """Decodes ``source`` in ``threads`` threads. For one thread; the source is its own."""

    def __init__(self, source: Source, codec: Codec, threads: int) -> None:
        self._source = source
        self._codec = codec
        self._pipeline: Pipeline[Decoded] = Pipeline(threads)
        # Without threads nothing is gained by waiting for a second member.
        self._group = _GROUP if threads > 1 else 1
        self._ready: deque[bytes] = deque()
        self._stream: _Stream | None = None
        # As much of a stream is decoded ahead; but nobody waits for a pipe before he has to.
        self._burst = 2 * _GROUP if threads > 1 and source.seekable() else 1
        self._begun = False
        self._ended = False
        self._failure: Exception | None = None
        self.index = Index()
        self.decoded = 0
        """Where the next piece begins."""
        self.ahead = 0
        """Where what is neither decoded nor being decoded begins."""

    @property
    def taken(self) -> int:
        """How far the source is read."""
        return self._source.tell()

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
        # A stream that is read ahead moves the source.
        self._pipeline.settle()
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
        self._ready.clear()
        try:
            self._pipeline.close()
        finally:
            self._close_stream()

    def _next(self) -> bytes:
        while not self._ready:
            if self._stream is None:
                while not self._ended and not self._pipeline.is_full and self._decode_ahead():
                    pass
            elif not self._pipeline:
                self._pipeline.submit(self._stream.read_on, self._burst)
            if self._pipeline:
                pieces, error = self._pipeline.take()
                self._ready.extend(filter(None, pieces))
                if error is not None:
                    self._pipeline.cancel()
                    self._pipeline.submit(_raise, error)
                elif self._stream is not None:
                    self._go_on_with(self._stream, pieces)
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
            look = self._source.looking(size, LARGEST_MEMBER)
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

    def _open_stream(self) -> None:
        self._stream = _Stream(self._codec.open_reader(self._source))  # type: ignore[arg-type]

    def _go_on_with(self, stream: _Stream, pieces: list[bytes]) -> None:
        """After a call that read ``pieces``: have more read ahead, or leave a stream at its end."""
        if stream.has_ended:
            rest = stream.take_rest()
            self._close_stream()
            self._ended = rest is None
            self._source.give_back(rest or b"")
            self._begun = True
            self.ahead = self.decoded + sum(map(len, pieces))
            if not self._ended:
                self.index.add(self.ahead, self._source.tell())
        elif self._burst > 1:
            self._pipeline.submit(stream.read_on, self._burst)

    def _close_stream(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.close()


class _Stream:
    """What a codec's ``open_reader`` made: one member, or where that cannot be told, all of them.

    For one thread at a time.
    """

    def __init__(self, opened: BinaryIO) -> None:
        self._opened = opened
        raw = getattr(opened, "raw", None)
        self._members = raw if isinstance(raw, MembersReader) else None
        self.has_ended = False

    def read_on(self, least: int) -> Decoded:
        """Read so many bytes, or what there is before the end, or before something is wrong."""
        pieces: list[bytes] = []
        size = 0
        try:
            while size < least and not self.has_ended:
                piece = self._read()
                pieces.append(piece)
                size += len(piece)
        except Exception as error:
            return pieces, error
        return pieces, None

    def take_rest(self) -> bytes | None:
        """Return what was read behind the end; ``None`` where that is the end of the file."""
        return None if self._members is None else self._members.take_rest()

    def close(self) -> None:
        self._opened.close()

    def _read(self) -> bytes:
        if self._members is None:
            piece = self._opened.read(_STREAM)
            self.has_ended = not piece
        else:
            piece = self._members.read_member(_STREAM)
            self.has_ended = self._members.between_members
        return piece


def _is_whole(member: Member, look: Look) -> bool:
    return member.size > 0 and member.length >= 0 and bool(look(member.size - 1, 1))


def _decode(codec: Codec, read: Callable[[], memoryview], members: Sequence[Member]) -> Decoded:
    data = read()
    pieces: list[bytes] = []
    at = 0
    for member in members:
        try:
            pieces.append(codec.decompress_member(data[at : at + member.size], member.length))
        except CorruptPayload as error:
            return pieces, error
        at += member.size
    return pieces, None


def _raise(error: Exception) -> Decoded:
    raise error
