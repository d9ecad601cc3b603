"""zstd on the wire as QEMU's multifd writes it: one unending frame a channel."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any, BinaryIO, Final, Self

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
from codecs_core.file_format import FilePacker, Look, Member
from codecs_core.reader import open_members
from codecs_core_zstd import frame

_CHANNEL_WINDOW: Final = 1 << 25
"""32 MiB, the window of level 20: what a channel's frame may make the decoder allocate."""

_FILE_WINDOW: Final = 1 << 27
"""128 MiB, the window of level 22 and the limit of the zstd command."""

_QUICK: Final = 2
_LONG_PIECE: Final = 4 << 20
"""The piece of a file at levels above 2, whose windows are 2 MiB and more: what a piece cannot look
back at costs little of it."""


@dataclass(frozen=True)
class ZstdCodec(Codec):
    """Zstandard: strong for its speed."""

    name = "zstd"
    method = 2
    suffix = ".zst"
    magic = (frame.MAGIC, *frame.SKIPPABLE)
    level: int = parameter(
        1, minimum=0, maximum=20, help="Effort: 1 is fastest, 20 packs tightest, 0 is zstd's own 3."
    )

    @classmethod
    def availability(cls) -> Availability:
        """Available where `zstandard` can be imported."""
        try:
            library = importlib.import_module("zstandard")
        except ImportError as error:
            return Availability(False, reason=str(error), remedy="pip install zstandard")
        version = ".".join(map(str, library.ZSTD_VERSION))
        return Availability(backend=f"libzstd {version}, zstandard {library.__version__}")

    @classmethod
    def candidates(cls) -> Sequence[Self]:
        """Levels that are worth their time on some link."""
        return tuple(cls(level=each) for each in (1, 3, 6))

    def encoder(self, geometry: Geometry = DEFAULT_GEOMETRY) -> Encoder:
        """Start a frame; each packet ends with a flush, the frame never."""
        return _ZstdEncoder(self.level)

    def decoder(self, geometry: Geometry = DEFAULT_GEOMETRY) -> Decoder:
        """Start to decode a frame of any level up to 20; memory is bounded by its window."""
        return _ZstdDecoder()

    def compress(self, data: Buffer, /) -> bytes:
        """Return ``data`` as one zstd frame, with its size and a checksum."""
        return _compress(_compressor(self.level), data)

    def open_reader(self, source: BinaryIO, /) -> BinaryIO:
        """Read zstd frames, one after the other, with windows of up to 128 MiB."""
        zstandard = _library()
        return open_members(
            source,
            codec=self.name,
            start=lambda head: _Frame(zstandard),
            errors=(zstandard.ZstdError,),
        )

    def file_packer(self) -> FilePacker:
        """Make what packs a file into frames, each as `compress` writes it."""
        return _Packer(self.level)

    def measure(self, look: Look, /) -> Member | None:
        """Tell the sizes of a frame whose header tells its content's."""
        return frame.measure(look)

    def decompress_member(self, data: memoryview, length: int, /) -> bytes:
        """Return what a frame decodes to, in one call."""
        if not length:
            return super().decompress_member(data, length)
        zstandard = _library()
        decompressor = zstandard.ZstdDecompressor(max_window_size=_FILE_WINDOW)
        try:
            content: bytes = decompressor.decompress(data, length, allow_extra_data=False)
        except zstandard.ZstdError as error:
            raise CorruptPayload(f"zstd: the data is damaged: {error}") from error
        if len(content) != length:
            raise CorruptPayload("zstd: a frame is not of the size that its header announces")
        return content


class _Packer(FilePacker):
    """Packs a piece as a frame. The larger the window of a level, the larger are its pieces."""

    def __init__(self, level: int) -> None:
        self._level = level
        # A compressor is for one thread at a time; making one costs as much as 100 KiB of data.
        self._idle: list[Any] = []
        if not 1 <= level <= _QUICK:
            self.piece_size = _LONG_PIECE

    def pack(self, piece: memoryview, /) -> Buffer:
        try:
            compressor = self._idle.pop()
        except IndexError:
            compressor = _compressor(self._level)
        packed = _compress(compressor, piece)
        self._idle.append(compressor)
        return packed

    def close(self) -> None:
        self._idle.clear()


def _compressor(level: int) -> Any:
    return _library().ZstdCompressor(level=level, write_checksum=True)


def _compress(compressor: Any, data: Buffer) -> bytes:
    try:
        packed: bytes = compressor.compress(data)
    except _library().ZstdError as error:
        raise CodecError(f"zstd: {error}") from error
    return packed


class _ZstdEncoder(Encoder):
    def __init__(self, level: int) -> None:
        zstandard = _library()
        self._error: type[Exception] = zstandard.ZstdError
        self._flush: int = zstandard.COMPRESSOBJ_FLUSH_BLOCK
        self._frame: Any = zstandard.ZstdCompressor(level=level).compressobj()

    def encode(self, packet: memoryview, /) -> Buffer:
        try:
            payload: bytes = self._frame.compress(packet) + self._frame.flush(self._flush)
        except self._error as error:
            raise CodecError(f"zstd: {error}") from error
        return payload

    def close(self) -> None:
        self._frame = None


_EMPTY_BLOCK: Final = bytes(3)
"""The header of a raw block of no bytes, not the last of its frame (RFC 8878, 3.1.1.2)."""


class _Exhausted(Exception):
    """The decoder has asked for more than the payload holds."""


class _Payloads:
    """The reader's source: gives each payload once, whole and without a copy."""

    def __init__(self) -> None:
        self.next: Buffer | None = None

    def read(self, size: int) -> Buffer:
        payload, self.next = self.next, None
        # An empty answer would be the end of the file for good.
        if not payload:
            raise _Exhausted
        return payload


class _ZstdDecoder(Decoder):
    def __init__(self) -> None:
        zstandard = _library()
        self._error: type[Exception] = zstandard.ZstdError
        self._payloads = _Payloads()
        self._beyond = bytearray(1)
        decompressor = zstandard.ZstdDecompressor(max_window_size=_CHANNEL_WINDOW)
        self._frame: Any = decompressor.stream_reader(self._payloads)

    def decode_into(self, payload: memoryview, packet: memoryview, /) -> None:
        self._payloads.next = payload
        try:
            exactly("zstd", self._frame.readinto(packet), packet)
        except _Exhausted:
            raise CorruptPayload(
                f"zstd: the payload of {len(payload)} bytes decodes to fewer than the "
                f"{len(packet)} that the header announced"
            ) from None
        except self._error as error:
            raise CorruptPayload(f"zstd: {error}") from error
        self._finish()

    def _finish(self) -> None:
        """Read on to the payload's end, where nothing more may come out.

        The library gives what it has decoded but not yet handed out only together with new
        input: an empty block is input that means nothing.
        """
        self._payloads.next = _EMPTY_BLOCK
        try:
            self._frame.readinto(self._beyond)
        except _Exhausted:
            return
        except self._error as error:
            raise CorruptPayload(f"zstd: {error}") from error
        raise CorruptPayload("zstd: the payload decodes to more than the header announced")

    def close(self) -> None:
        self._frame = None
        self._payloads.next = None


class _Frame:
    """One frame, in the shape that `open_members` reads."""

    def __init__(self, zstandard: ModuleType) -> None:
        decompressor = zstandard.ZstdDecompressor(max_window_size=_FILE_WINDOW)
        self._frame: Any = decompressor.decompressobj()
        self._blocks = frame.Blocks()
        self._input = memoryview(b"")
        self._is_starved = False
        self._ready = b""
        self._at = 0

    @property
    def eof(self) -> bool:
        return bool(self._frame.eof) and not self._ready

    @property
    def needs_input(self) -> bool:
        return not self._ready and (self._is_starved or not self._input)

    @property
    def unused_data(self) -> bytes:
        return bytes(self._frame.unused_data) + bytes(self._input)

    def decompress(self, data: bytes, max_length: int) -> bytes:
        if data:
            self._input = memoryview(bytes(self._input) + data if self._input else data)
        if not self._ready:
            portion = self._blocks.portion(self._input)
            self._is_starved = not portion
            self._ready = self._frame.decompress(self._input[:portion])
            self._at = 0
            self._input = self._input[portion:]
        output = self._ready[self._at : self._at + max_length]
        self._at += len(output)
        if self._at == len(self._ready):
            self._ready = b""
        return output


@functools.cache
def _library() -> ModuleType:
    try:
        return importlib.import_module("zstandard")
    except ImportError as error:
        raise CodecUnavailable(
            f"codec 'zstd': {error}; pip install zstandard", name="zstd"
        ) from error
