"""Packets in software: the very members of libqatzip, by ISA-L and libdeflate."""

from __future__ import annotations

import functools
import importlib
from types import ModuleType
from typing import Any

from codecs_core.codec import Buffer, Decoder, Encoder, exactly
from codecs_core.errors import CodecError, CodecUnavailable, CorruptPayload
from codecs_core_qatzip import member
from codecs_core_qatzip.levels import LEVELS

__all__ = ["REMEDY", "SoftwareDecoder", "SoftwareEncoder", "library", "versions"]

REMEDY = "pip install isal deflate"

_DEFLATE = "deflate"
_ISAL = "isal.igzip_lib"
_ISAL_BUFFER = 3
"""ISA-L's medium buffer: its deflate blocks end earlier than with the largest, so that their
Huffman tables fit the pages better, for a few percent of speed."""


@functools.cache
def library(module: str) -> ModuleType:
    """Import a library. Raises `CodecUnavailable`."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise CodecUnavailable(f"codec 'qatzip': {error}; {REMEDY}", name="qatzip") from error


def versions() -> str:
    """Name the libraries that do the work. Raises `CodecUnavailable`."""
    library(_ISAL)
    return f"isal {library('isal').__version__}, deflate {library(_DEFLATE).__version__}"


class SoftwareEncoder(Encoder):
    """Packs each packet as one member."""

    def __init__(self, level: int) -> None:
        self._level = level
        choice = LEVELS[level]
        self._deflate: Any = library(_DEFLATE)
        self._isal: Any = library(_ISAL) if choice.library == "isal" else None
        self._error: type[Exception] = (
            self._isal.IsalError if self._isal else self._deflate.DeflateError
        )
        self._own_level = choice.level

    def encode(self, packet: memoryview, /) -> Buffer:
        """Return the packet as one gzip member. Raises `CodecError`."""
        try:
            if self._isal is not None:
                deflated: Buffer = self._isal.compress(
                    packet, self._own_level, self._isal.COMP_DEFLATE, _ISAL_BUFFER
                )
            else:
                deflated = self._deflate.deflate_compress(packet, self._own_level)
            crc = self._deflate.crc32(packet)
        except self._error as error:
            raise CodecError(f"qatzip: {error}") from error
        return member.pack(self._level, len(packet), crc, deflated)


class SoftwareDecoder(Decoder):
    """Unpacks the members of a packet, however many."""

    def __init__(self) -> None:
        self._library: Any = library(_DEFLATE)
        self._error: type[Exception] = self._library.DeflateError

    def decode_into(self, payload: memoryview, packet: memoryview, /) -> None:
        """Fill the packet. Raises `CorruptPayload`."""
        at = 0
        for each in member.members(payload, len(packet)):
            try:
                # Never more than the member announces, which fits the packet. The library holds
                # the result against the footer.
                pages = self._library.gzip_decompress(each.data, each.source_size)
            except self._error as error:
                raise CorruptPayload(
                    f"qatzip: the member for byte {at} of the packet is damaged"
                ) from error
            exactly("qatzip", len(pages), packet[at : at + each.source_size])
            packet[at : at + each.source_size] = pages
            at += each.source_size
