"""zlib on the wire as QEMU's multifd writes it: one continuous stream a channel."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Any, BinaryIO, Final, Self

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
from codecs_core.reader import open_members
from codecs_core_zlib.levels import LEVELS
from codecs_core_zlib.packer import ZlibPacker

if TYPE_CHECKING:
    from codecs_core.file_format import FilePacker
    from codecs_core.reader import Decompressor

_WINDOW_BITS: Final = 15
"""The 32 KiB window that QEMU's inflate is set up for."""

_REMEDY: Final = "pip install isal zlib-ng"


@dataclass(frozen=True)
class ZlibCodec(Codec):
    """zlib, by the fastest library for each level."""

    name = "zlib"
    method = 1
    suffix = ".zz"
    magic = (b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda", b"\x1f\x8b\x08")
    level: int = parameter(
        1, minimum=0, maximum=9, help="Effort: 0 stores, 1 is fastest, 9 packs tightest."
    )

    @classmethod
    def availability(cls) -> Availability:
        """Available where `isal` and `zlib-ng` can be imported."""
        try:
            for module in ("isal.isal_zlib", "isal.igzip_lib", "zlib_ng.zlib_ng"):
                importlib.import_module(module)
        except ImportError as error:
            return Availability(False, reason=str(error), remedy=_REMEDY)
        isal, zlib_ng = map(importlib.import_module, ("isal", "zlib_ng"))
        return Availability(backend=f"isal {isal.__version__}, zlib-ng {zlib_ng.__version__}")

    @classmethod
    def candidates(cls) -> Sequence[Self]:
        """Levels that are worth their time on some link."""
        return tuple(cls(level=each) for each in (1, 3, 6))

    def encoder(self, geometry: Geometry = DEFAULT_GEOMETRY) -> Encoder:
        """Start a zlib stream; each packet ends with a sync flush."""
        return _ZlibEncoder(self.level)

    def decoder(self, geometry: Geometry = DEFAULT_GEOMETRY) -> Decoder:
        """Start to inflate a zlib stream of any writer, window and level."""
        return _ZlibDecoder()

    def compress(self, data: Buffer, /) -> bytes:
        """Return ``data`` as a zlib stream (RFC 1950)."""
        stream = _compressobj(self.level)
        return bytes(stream.compress(data) + stream.flush())

    def open_reader(self, source: BinaryIO, /) -> BinaryIO:
        """Read zlib streams (RFC 1950) or gzip members (RFC 1952), one after the other."""
        igzip_lib = _library("isal.igzip_lib")

        def start(head: bytes) -> Decompressor:
            gzip = head[0] == 0x1F
            member: Decompressor = igzip_lib.IgzipDecompressor(
                igzip_lib.DECOMP_GZIP if gzip else igzip_lib.DECOMP_ZLIB
            )
            return member

        return open_members(source, codec=self.name, start=start, errors=(igzip_lib.IsalError,))

    def file_packer(self) -> FilePacker:
        """Make what packs one zlib stream in pieces."""
        return ZlibPacker(
            self.level, functools.partial(_deflate, self.level), _library("isal.isal_zlib").adler32
        )


class _ZlibEncoder(Encoder):
    def __init__(self, level: int) -> None:
        self._stream = _compressobj(level)
        library = _library(LEVELS[level].module)
        self._error: type[Exception] = library.error
        self._sync: int = library.Z_SYNC_FLUSH

    def encode(self, packet: memoryview, /) -> Buffer:
        try:
            payload: bytes = self._stream.compress(packet) + self._stream.flush(self._sync)
        except self._error as error:
            raise CodecError(f"zlib: {error}") from error
        return payload

    def close(self) -> None:
        self._stream = None


class _ZlibDecoder(Decoder):
    def __init__(self) -> None:
        library = _library("isal.isal_zlib")
        self._error: type[Exception] = library.error
        self._stream: Any = library.decompressobj(_WINDOW_BITS)

    def decode_into(self, payload: memoryview, packet: memoryview, /) -> None:
        stream = self._stream
        try:
            # One byte more than fits: room to read on to the flush marker behind the last
            # page, and the proof where the payload holds too much.
            pages = stream.decompress(payload, len(packet) + 1)
        except self._error as error:
            raise CorruptPayload(f"zlib: {error}") from error
        exactly("zlib", len(pages), packet)
        if stream.unconsumed_tail or stream.unused_data:
            raise CorruptPayload("zlib: bytes are left over behind the packet's pages")
        packet[:] = pages

    def close(self) -> None:
        self._stream = None


def _compressobj(level: int, wbits: int = _WINDOW_BITS) -> Any:
    choice = LEVELS[level]
    return _library(choice.module).compressobj(choice.level, wbits=wbits, memLevel=choice.mem_level)


def _deflate(level: int, piece: memoryview) -> bytes:
    """Return a piece as raw deflate, up to a byte at which another may follow."""
    library = _library(LEVELS[level].module)
    stream = _compressobj(level, -_WINDOW_BITS)
    try:
        deflated: bytes = stream.compress(piece) + stream.flush(library.Z_SYNC_FLUSH)
    except library.error as error:
        raise CodecError(f"zlib: {error}") from error
    return deflated


@functools.cache
def _library(module: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise CodecUnavailable(f"codec 'zlib': {error}; {_REMEDY}", name="zlib") from error
