"""lz4 on the wire: every packet an lz4 block of its own, without a size in front."""

from __future__ import annotations

import functools
import importlib
from dataclasses import dataclass
from types import ModuleType
from typing import Any, BinaryIO

from codecs_core.codec import (
    DEFAULT_GEOMETRY,
    Availability,
    Buffer,
    Codec,
    Decoder,
    Encoder,
    Geometry,
    exactly,
    parameter,
)
from codecs_core.errors import CodecError, CodecUnavailable, CorruptPayload
from codecs_core.file_format import Look, Member
from codecs_core.reader import open_members
from codecs_core_lz4 import frame


@dataclass(frozen=True)
class Lz4Codec(Codec):
    """lz4: the fastest, for links faster than other codecs."""

    name = "lz4"
    suffix = ".lz4"
    magic = (frame.MAGIC,)
    level: int = parameter(
        0,
        minimum=-65536,
        maximum=12,
        help="Effort: 0 is fast, 3 to 12 pack ever tighter, below 0 is faster still.",
    )

    @classmethod
    def availability(cls) -> Availability:
        """Available where `lz4` can be imported."""
        try:
            for module in ("lz4.block", "lz4.frame"):
                importlib.import_module(module)
        except ImportError as error:
            return Availability(False, reason=str(error), remedy="pip install lz4")
        library = importlib.import_module("lz4")
        return Availability(
            backend=f"liblz4 {library.library_version_string()}, lz4 {library.__version__}"
        )

    def encoder(self, geometry: Geometry = DEFAULT_GEOMETRY) -> Encoder:
        """Make an encoder; it keeps nothing from packet to packet."""
        return _Lz4Encoder(self.level)

    def decoder(self, geometry: Geometry = DEFAULT_GEOMETRY) -> Decoder:
        """Make a decoder; it keeps nothing from packet to packet."""
        return _Lz4Decoder()

    def compress(self, data: Buffer, /) -> bytes:
        """Return ``data`` as one lz4 frame, with its size and a checksum."""
        library = _library("frame")
        packed: bytes = library.compress(
            data,
            compression_level=self.level,
            block_size=library.BLOCKSIZE_MAX1MB,
            content_checksum=True,
        )
        return packed

    def open_reader(self, source: BinaryIO, /) -> BinaryIO:
        """Read lz4 frames, one after the other."""
        library = _library("frame")
        return open_members(
            source,
            codec=self.name,
            start=lambda head: library.LZ4FrameDecompressor(),
            errors=(RuntimeError,),
        )

    def measure(self, look: Look, /) -> Member | None:
        """Tell the sizes of a frame whose header tells its content's."""
        return frame.measure(look)

    def decompress_member(self, data: memoryview, length: int, /) -> bytes:
        """Return what a frame decodes to, in one call."""
        if not length:
            return super().decompress_member(data, length)
        try:
            content: bytes
            content, size = _library("frame").decompress(data, return_bytes_read=True)
        except RuntimeError as error:
            raise CorruptPayload(f"lz4: the data is damaged: {error}") from error
        if (len(content), size) != (length, len(data)):
            raise CorruptPayload("lz4: a frame is not of the sizes that its headers announce")
        return content


class _Lz4Encoder(Encoder):
    def __init__(self, level: int) -> None:
        self._compress = functools.partial(_library("block").compress, **_mode(level))

    def encode(self, packet: memoryview, /) -> Buffer:
        try:
            payload: bytes = self._compress(packet)
        except ValueError as error:
            raise CodecError(f"lz4: {error}") from error
        return payload


class _Lz4Decoder(Decoder):
    def __init__(self) -> None:
        block = _library("block")
        self._decompress = block.decompress
        self._error: type[Exception] = block.LZ4BlockError

    def decode_into(self, payload: memoryview, packet: memoryview, /) -> None:
        try:
            pages = self._decompress(payload, uncompressed_size=len(packet))
        except self._error as error:
            raise CorruptPayload(f"lz4: {error}") from error
        exactly("lz4", len(pages), packet)
        packet[:] = pages


def _mode(level: int) -> dict[str, Any]:
    """The level as the lz4 frame format counts it, in the block interface's words."""
    if level >= _library("frame").COMPRESSIONLEVEL_MINHC:
        return {"mode": "high_compression", "compression": level, "store_size": False}
    return {"mode": "fast", "acceleration": 1 - min(level, 0), "store_size": False}


@functools.cache
def _library(part: str) -> ModuleType:
    try:
        return importlib.import_module(f"lz4.{part}")
    except ImportError as error:
        raise CodecUnavailable(f"codec 'lz4': {error}; pip install lz4", name="lz4") from error
