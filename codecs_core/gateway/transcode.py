"""Packets from one codec to another, and back again at the other end of a relay.

Between two relays a packet keeps its header: block, offsets, numbers, SYNC, and whatever stale
bytes QEMU leaves in it. Changed are the method and the payload's size; the flags that the source
sent ride in the unused word at offset 36, so that the far relay gives the destination the very
header that the source sent, with the payload in the source's own codec. Where the relays have
agreed on checksums, those of the header and the pages ride in the words behind.
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Mapping
from typing import ClassVar, Final

from codecs_core.codec import Buffer, Codec, Decoder, Encoder, Geometry
from codecs_core.engine.channel import method_of
from codecs_core.errors import CodecError, ProtocolError, UsageError
from codecs_core.none import NoneCodec
from codecs_core.registry import codecs, get_codec
from codecs_core.wire import checksum as sums
from codecs_core.wire import packet

__all__ = ["Compressor", "Restorer", "Transcoder"]

_WORD: Final = struct.Struct(">I")
_FLAGS: Final = 8
_PAYLOAD_SIZE: Final = 20
_ORIGINAL_FLAGS: Final = 36
_KNOWN: Final = packet.SYNC | packet.METHOD_MASK


class Transcoder:
    """One channel's packets, in order. ``codec`` is the one between the relays.

    ``checksum``: packets between the relays are sealed. ``compresses``: towards the other relay.
    """

    compresses: ClassVar[bool]

    def __init__(self, codec: Codec, geometry: Geometry, *, checksum: bool) -> None:
        self.codec = codec
        self.geometry = geometry
        self.checksum = checksum
        self._scratch = memoryview(bytearray(geometry.packet_size))
        self._decoders: dict[int, Decoder] = {}
        self._encoders: dict[int, Encoder] = {}

    @property
    def computes(self) -> bool:
        """Whether the link's codec makes this work for a CPU, rather than for the kernel."""
        return method_of(self.codec) != 0

    @property
    def arrives_sealed(self) -> bool:
        """Whether the headers that come have a checksum of their own."""
        return self.checksum and not self.compresses

    def recode(
        self, header: packet.PacketHeader, raw: memoryview, payload: memoryview
    ) -> list[Buffer]:
        """Return what is sent for a packet; valid until the next call.

        ``raw`` is the header as it came, and is changed. Raises `ProtocolError`, `CodecError`.
        """
        raise NotImplementedError

    def statistics(self) -> Mapping[str, int]:
        """Return the counters of the link's codec, as a codec's session does; from any thread."""
        method = method_of(self.codec)
        session: Encoder | Decoder | None = (
            self._encoders.get(method) if self.compresses else self._decoders.get(method)
        )
        return {} if session is None else session.statistics()

    def close(self) -> None:
        """Release the codecs' sessions."""
        for decoder in self._decoders.values():
            decoder.close()
        for encoder in self._encoders.values():
            encoder.close()

    def _recode(
        self, header: packet.PacketHeader, payload: memoryview, source: Codec, target: Codec
    ) -> tuple[memoryview, Buffer]:
        """Return a packet's pages, and the payload that ``target`` makes of them."""
        where = f"packet {header.packet_num}: "
        size = header.normal_pages * self.geometry.page_size
        try:
            pages = self._decode(source, payload, size)
            if self.arrives_sealed:
                sums.check_pages(header.checksum, pages)
            result = self._encode(target, pages)
        except CodecError as error:
            raise type(error)(where + str(error)) from error
        if not 0 < len(result) <= self.geometry.max_payload:
            raise CodecError(f"{where}{target.name} made {len(result)} bytes of {size}")
        return pages, result

    def _decode(self, codec: Codec, payload: memoryview, size: int) -> memoryview:
        method = method_of(codec)
        if method == 0:
            if len(payload) != size:
                raise ProtocolError(f"{len(payload)} bytes of payload for {size} bytes of pages")
            return payload
        if method not in self._decoders:
            self._decoders[method] = codec.decoder(self.geometry)
        pages = self._scratch[:size]
        self._decoders[method].decode_into(payload, pages)
        return pages

    def _encode(self, codec: Codec, pages: memoryview) -> Buffer:
        method = method_of(codec)
        if method not in self._encoders:
            self._encoders[method] = codec.encoder(self.geometry)
        return self._encoders[method].encode(pages)


class Compressor(Transcoder):
    """Towards the other relay: from the source's codec to the link's."""

    compresses = True

    def recode(
        self, header: packet.PacketHeader, raw: memoryview, payload: memoryview
    ) -> list[Buffer]:
        """Return the packet as it travels between the relays."""
        _WORD.pack_into(raw, _ORIGINAL_FLAGS, header.flags)
        pages = payload
        result: Buffer = b""
        if len(payload):
            pages, result = self._recode(header, payload, _codec_of(header.method), self.codec)
            sync = header.flags & packet.SYNC
            _WORD.pack_into(raw, _FLAGS, sync | method_of(self.codec) << packet.METHOD_SHIFT)
            _WORD.pack_into(raw, _PAYLOAD_SIZE, len(result))
        if self.checksum:
            if not sums.is_clear(raw):
                raise ProtocolError(
                    f"packet {header.packet_num}: the words for its checksums are in use; remedy: "
                    "a relay with --no-checksum"
                )
            sums.seal(raw, sums.of_pages(pages))
        return [raw, result]


class Restorer(Transcoder):
    """Towards the destination: from the link's codec to the source's."""

    compresses = False

    def recode(
        self, header: packet.PacketHeader, raw: memoryview, payload: memoryview
    ) -> list[Buffer]:
        """Return the packet as the source sent it."""
        (flags,) = _WORD.unpack_from(raw, _ORIGINAL_FLAGS)
        if flags & ~_KNOWN or (flags ^ header.flags) & packet.SYNC:
            raise ProtocolError(
                f"packet {header.packet_num}: original flags {flags:#x} in a packet with flags "
                f"{header.flags:#x}"
            )
        _WORD.pack_into(raw, _ORIGINAL_FLAGS, 0)
        _WORD.pack_into(raw, _FLAGS, flags)
        if self.checksum:
            sums.clear(raw)
        if not len(payload):
            return [raw]
        if header.method != method_of(self.codec):
            raise ProtocolError(
                f"packet {header.packet_num}: method {header.method}, but {self.codec.name} "
                "was agreed"
            )
        source = _codec_of((flags & packet.METHOD_MASK) >> packet.METHOD_SHIFT)
        _, result = self._recode(header, payload, self.codec, source)
        _WORD.pack_into(raw, _PAYLOAD_SIZE, len(result))
        return [raw, result]


@functools.cache
def _codec_of(method: int) -> Codec:
    """QEMU's codec with this method, at its defaults. Raises `UsageError` where none is here."""
    name = codecs().by_method(method) if method else NoneCodec.name
    if name is None:
        raise UsageError(
            f"the migration is compressed by method {method}, which no codec installed here "
            "speaks; 'multifd codecs' lists them"
        )
    return get_codec(name)
