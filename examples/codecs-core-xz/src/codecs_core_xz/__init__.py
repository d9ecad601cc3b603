"""xz for codecs-core: packs tightest, for the slowest links."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any, BinaryIO

from codecs_core import (
    Availability,
    Buffer,
    Codec,
    CodecError,
    CorruptPayload,
    Decoder,
    Encoder,
    Geometry,
    hookimpl,
    parameter,
)
from codecs_core.codec import DEFAULT_GEOMETRY, exactly
from codecs_core.reader import open_members

FILE_MEMORY = 128 << 20
"""What reading a file may take: enough for every preset of the xz command."""


def raw_filters(level: int, geometry: Geometry) -> list[dict[str, Any]]:
    """LZMA2 without a container; no match reaches back further than a packet."""
    import lzma

    return [{"id": lzma.FILTER_LZMA2, "preset": level, "dict_size": geometry.packet_size}]


class XzEncoder(Encoder):
    """Packs each packet for itself."""

    def __init__(self, level: int, geometry: Geometry) -> None:
        self._filters = raw_filters(level, geometry)

    def encode(self, packet: memoryview, /) -> Buffer:
        """Return the packet's pages as raw LZMA2."""
        import lzma

        try:
            return lzma.compress(packet, lzma.FORMAT_RAW, filters=self._filters)
        except lzma.LZMAError as error:
            raise CodecError(f"xz: {error}") from error


class XzDecoder(Decoder):
    """Unpacks each packet for itself."""

    def __init__(self, level: int, geometry: Geometry) -> None:
        self._filters = raw_filters(level, geometry)

    def decode_into(self, payload: memoryview, packet: memoryview, /) -> None:
        """Fill the packet, or raise `CorruptPayload`."""
        import lzma

        stream = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=self._filters)
        try:
            # One byte more than fits, so that a payload that holds too much shows.
            pages = stream.decompress(payload, len(packet) + 1)
        except lzma.LZMAError as error:
            raise CorruptPayload(f"xz: {error}") from error
        exactly("xz", len(pages), packet)
        if not stream.eof or stream.unused_data:
            raise CorruptPayload("xz: the payload does not end where its pages do")
        packet[:] = pages


@dataclass(frozen=True)
class XzCodec(Codec):
    """xz: packs tightest, for the slowest links."""

    name = "xz"
    suffix = ".xz"
    level: int = parameter(1, minimum=0, maximum=9, help="Effort: 0 is fastest, 9 packs tightest.")

    @classmethod
    def availability(cls) -> Availability:
        """Available unless this Python was built without liblzma."""
        try:
            import_module("lzma")
        except ImportError as error:
            return Availability(
                False, reason=str(error), remedy="use a Python that was built with liblzma"
            )
        return Availability(backend="liblzma")

    def encoder(self, geometry: Geometry = DEFAULT_GEOMETRY) -> Encoder:
        """Make the encoder of one channel."""
        return XzEncoder(self.level, geometry)

    def decoder(self, geometry: Geometry = DEFAULT_GEOMETRY) -> Decoder:
        """Make the decoder of one channel."""
        return XzDecoder(self.level, geometry)

    def compress(self, data: Buffer, /) -> bytes:
        """Return ``data`` as an .xz file."""
        import lzma

        return lzma.compress(data, preset=self.level)

    def open_reader(self, source: BinaryIO, /) -> BinaryIO:
        """Read .xz streams, one after the other."""
        import lzma

        return open_members(
            source,
            codec=self.name,
            start=lambda head: lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=FILE_MEMORY),
            errors=(lzma.LZMAError,),
        )


@hookimpl
def codecs_core_codecs() -> list[type[Codec]]:
    """Return the codecs of this distribution."""
    return [XzCodec]
