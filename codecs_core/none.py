"""The engine's own codec: pages as they are."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any, BinaryIO, ClassVar

from codecs_core.codec import (
    DEFAULT_GEOMETRY,
    Buffer,
    Codec,
    Decoder,
    Encoder,
    Geometry,
    exactly,
)


class _Verbatim(Encoder, Decoder):
    __slots__ = ()

    def encode(self, packet: memoryview, /) -> Buffer:
        return packet

    def decode_into(self, payload: memoryview, packet: memoryview, /) -> None:
        exactly("none", len(payload), packet)
        packet[:] = payload


class _Through(io.RawIOBase):
    def __init__(self, source: BinaryIO) -> None:
        self._source = source

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        data = self._source.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


@dataclass(frozen=True)
class NoneCodec(Codec):
    """No compression: for links faster than any codec."""

    name = "none"
    method: ClassVar[int | None] = 0

    def encoder(self, geometry: Geometry = DEFAULT_GEOMETRY) -> Encoder:
        """Return an encoder that hands the pages on without a copy."""
        return _Verbatim()

    def decoder(self, geometry: Geometry = DEFAULT_GEOMETRY) -> Decoder:
        """Return a decoder that copies the payload."""
        return _Verbatim()

    def compress(self, data: Buffer, /) -> bytes:
        """Return a copy of ``data``."""
        return bytes(data)

    def open_reader(self, source: BinaryIO, /) -> BinaryIO:
        """Return a reader of ``source`` itself, which closing it leaves open."""
        return io.BufferedReader(_Through(source))
