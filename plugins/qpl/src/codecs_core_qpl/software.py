"""Packets in software: by ISA-L and libdeflate in one C call each.

Where the plugin was built without these libraries, the package ``isal`` serves instead, with a
call from Python for each page.
"""

from __future__ import annotations

import functools
import importlib
from types import ModuleType
from typing import Any

from codecs_core.codec import Buffer, Decoder, Encoder, Geometry
from codecs_core.errors import CodecError, CodecUnavailable
from codecs_core_qpl.library import build_info
from codecs_core_qpl.payload import Wrong, corrupt, lengths, pack_lengths

__all__ = ["REMEDY", "decoder", "encoder", "version"]

REMEDY = "pip install isal"

_WINDOW_BITS = 12
"""What a device remembers: 4 KiB."""
_LEVEL = 0


def version() -> str:
    """Name the libraries that do the work. Raises `CodecUnavailable`."""
    if _kernel() is None:
        return f"isal {_isal().__version__}, page by page"
    isal, libdeflate = build_info("isal").version.split(", ")
    return f"ISA-L {isal}, libdeflate {libdeflate}"


def encoder(geometry: Geometry) -> Encoder:
    """Make the encoder of one channel. Raises `CodecUnavailable`."""
    return PagesEncoder(geometry) if _kernel() is None else PacketEncoder(geometry)


def decoder(geometry: Geometry) -> Decoder:
    """Make the decoder of one channel. Raises `CodecUnavailable`."""
    return PagesDecoder(geometry) if _kernel() is None else PacketDecoder(geometry)


@functools.cache
def _kernel() -> ModuleType | None:
    if not build_info("isal").built:
        return None
    try:
        return importlib.import_module("codecs_core_qpl._software")
    except ImportError:
        # A library was removed since.
        return None


class PacketEncoder(Encoder):
    """Packs a packet in one call."""

    def __init__(self, geometry: Geometry) -> None:
        module: Any = _kernel()
        self._ffi, self._lib = module.ffi, module.lib
        self._page_size = geometry.page_size
        self._packer = self._ffi.gc(self._lib.cq_packer_new(), self._lib.cq_packer_free)
        if not self._packer:
            raise CodecError("qpl: no memory for ISA-L's stream")
        self._payload = bytearray(geometry.packet_size + 4 * geometry.pages_per_packet)
        self._output = self._ffi.from_buffer(self._payload)

    def encode(self, packet: memoryview, /) -> Buffer:
        """Return the payload. Raises `CodecError`."""
        pages = len(packet) // self._page_size
        size: int = self._lib.cq_pack(
            self._packer, self._ffi.from_buffer(packet), pages, self._page_size, self._output
        )
        if size < 0:
            raise CodecError(f"qpl: ISA-L failed with code {size}")
        return memoryview(self._payload)[:size]


class PacketDecoder(Decoder):
    """Unpacks a packet in one call."""

    def __init__(self, geometry: Geometry) -> None:
        module: Any = _kernel()
        self._ffi, self._lib = module.ffi, module.lib
        self._page_size = geometry.page_size
        self._unpacker = self._ffi.gc(
            self._lib.libdeflate_alloc_decompressor(), self._lib.libdeflate_free_decompressor
        )
        if not self._unpacker:
            raise CodecError("qpl: no memory for libdeflate's decompressor")
        self._page = self._ffi.new("uint32_t *")

    def decode_into(self, payload: memoryview, packet: memoryview, /) -> None:
        """Fill the packet. Raises `CorruptPayload`."""
        pages = len(packet) // self._page_size
        wrong = self._lib.cq_unpack(
            self._unpacker,
            self._ffi.from_buffer(payload),
            len(payload),
            self._ffi.from_buffer(packet, require_writable=True),
            pages,
            self._page_size,
            self._page,
        )
        if wrong:
            raise corrupt(Wrong(wrong), self._page[0], payload, pages, self._page_size)


@functools.cache
def _isal() -> ModuleType:
    try:
        importlib.import_module("isal.igzip_lib")
        return importlib.import_module("isal")
    except ImportError as error:
        raise CodecUnavailable(f"codec 'qpl': {error}; {REMEDY}", name="qpl") from error


class PagesEncoder(Encoder):
    """Packs a packet page by page."""

    def __init__(self, geometry: Geometry) -> None:
        self._page_size = geometry.page_size
        self._library: Any = _isal().igzip_lib

    def encode(self, packet: memoryview, /) -> Buffer:
        """Return the payload. Raises `CodecError`."""
        isal, size = self._library, self._page_size
        arguments = (_LEVEL, isal.COMP_DEFLATE, isal.MEM_LEVEL_DEFAULT, _WINDOW_BITS)
        packed: list[Buffer] = []
        for at in range(0, len(packet), size):
            page = packet[at : at + size]
            try:
                stream: bytes = isal.compress(page, *arguments)
            except isal.IsalError as error:
                raise CodecError(f"qpl: {error}") from error
            packed.append(stream if len(stream) < size else page)
        return b"".join((pack_lengths([len(each) for each in packed]), *packed))


class PagesDecoder(Decoder):
    """Unpacks a packet page by page."""

    def __init__(self, geometry: Geometry) -> None:
        self._page_size = geometry.page_size
        self._library: Any = _isal().igzip_lib

    def decode_into(self, payload: memoryview, packet: memoryview, /) -> None:
        """Fill the packet. Raises `CorruptPayload`."""
        size = self._page_size
        pages = len(packet) // size
        at = 4 * pages
        for page, length in enumerate(lengths(payload, pages, size)):
            stored = payload[at : at + length]
            result = stored if length == size else self._inflate(stored)
            if isinstance(result, Wrong):
                raise corrupt(result, page, payload, pages, size)
            packet[page * size : (page + 1) * size] = result
            at += length

    def _inflate(self, stream: memoryview) -> bytes | Wrong:
        isal, size = self._library, self._page_size
        member = isal.IgzipDecompressor(isal.DECOMP_DEFLATE, _WINDOW_BITS)
        try:
            result: bytes = member.decompress(stream, size + 1)
        except isal.IsalError:
            return Wrong.DAMAGED
        if len(result) > size or not member.eof:
            return Wrong.DAMAGED
        if len(result) < size:
            return Wrong.LESS
        return Wrong.LEFT_OVER if member.unused_data else result
