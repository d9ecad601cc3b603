"""Packets in software: the very members of libqatzip, by ISA-L and libdeflate."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

from codecs_core.codec import Buffer, Decoder, Encoder
from codecs_core.errors import CodecError, CodecUnavailable, CorruptPayload
from codecs_core_qatzip import member
from codecs_core_qatzip.levels import LEVELS, Choice

__all__ = ["REMEDY", "SoftwareDecoder", "SoftwareEncoder", "deflate", "library", "versions"]

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


def deflate(packet: memoryview, choice: Choice) -> Buffer:
    """Return a packet as one raw deflate stream. Raises `CodecError`."""
    failure: type[Exception]
    arguments: tuple[int, ...]
    if choice.library == "isal":
        isal = library(_ISAL)
        work, failure = isal.compress, isal.IsalError
        arguments = (choice.level, isal.COMP_DEFLATE, _ISAL_BUFFER)
    else:
        libdeflate = library(_DEFLATE)
        work, failure = libdeflate.deflate_compress, libdeflate.DeflateError
        arguments = (choice.level,)
    try:
        result: Buffer = work(packet, *arguments)
    except failure as error:
        raise CodecError(f"qatzip: {error}") from error
    return result


class SoftwareEncoder(Encoder):
    """Packs each packet as one member."""

    def __init__(self, level: int) -> None:
        self._level = level
        self._choice = LEVELS[level]
        library(_ISAL)
        self._crc32: Callable[[memoryview], int] = library(_DEFLATE).crc32

    def encode(self, packet: memoryview, /) -> Buffer:
        """Return the packet as one gzip member. Raises `CodecError`."""
        deflated = deflate(packet, self._choice)
        return member.pack(self._level, len(packet), self._crc32(packet), deflated)


class SoftwareDecoder(Decoder):
    """Unpacks the members of a packet, however many."""

    def __init__(self) -> None:
        self._library: Any = library(_DEFLATE)
        self._error: type[Exception] = self._library.DeflateError

    def decode_into(self, payload: memoryview, packet: memoryview, /) -> None:
        """Fill the packet. Raises `CorruptPayload`."""
        at = 0
        for pages in self.decode(payload, len(packet)):
            packet[at : at + len(pages)] = pages
            at += len(pages)

    def decode(self, payload: memoryview, size: int) -> Iterator[bytes]:
        """Yield what each member decodes to, ``size`` bytes in all. Raises `CorruptPayload`."""
        at = 0
        for each in member.members(payload, size):
            try:
                # Never more than the member announces, which fits the packet. The library holds
                # the result against the footer.
                pages: bytes = self._library.gzip_decompress(each.data, each.source_size)
            except self._error as error:
                raise CorruptPayload(
                    f"qatzip: the member for byte {at} of the packet is damaged"
                ) from error
            if len(pages) != each.source_size:
                raise CorruptPayload(
                    f"qatzip: the member for byte {at} of the packet decodes to {len(pages)} "
                    f"bytes, not to the {each.source_size} that it announces"
                )
            yield pages
            at += len(pages)
