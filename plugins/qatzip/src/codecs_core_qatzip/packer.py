"""A gzip file, packed in pieces: each the members that an encoder makes of a packet."""

from __future__ import annotations

from collections.abc import Callable

from codecs_core.codec import DEFAULT_GEOMETRY, Buffer, Encoder
from codecs_core.file_format import FilePacker

__all__ = ["MembersPacker"]


class MembersPacker(FilePacker):
    """Packs by encoders, one a thread, which ``make`` makes: a session on a device is not free."""

    piece_size = DEFAULT_GEOMETRY.packet_size

    def __init__(self, make: Callable[[], Encoder]) -> None:
        self._make = make
        self._idle: list[Encoder] = []

    def pack(self, piece: memoryview, /) -> Buffer:
        """Return the piece as gzip members. Raises `CodecError`."""
        try:
            encoder = self._idle.pop()
        except IndexError:
            encoder = self._make()
        try:
            # An encoder's result is valid until its next call only.
            return bytes(encoder.encode(piece))
        finally:
            self._idle.append(encoder)

    def close(self) -> None:
        """Close the encoders."""
        while self._idle:
            self._idle.pop().close()
