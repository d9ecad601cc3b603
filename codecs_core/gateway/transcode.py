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
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import ClassVar, Final

from codecs_core.codec import Buffer, Codec, Decoder, Encoder, Geometry
from codecs_core.engine.methods import Methods
from codecs_core.engine.packing import DecodeInto, Packing, Unpacker
from codecs_core.errors import CodecError, ProtocolError, UsageError
from codecs_core.guard import guarded_decoder, guarded_encoder
from codecs_core.none import NoneCodec
from codecs_core.registry import codecs, get_codec
from codecs_core.transport.link import Link
from codecs_core.wire import checksum as sums
from codecs_core.wire import packet

__all__ = ["Compressor", "Restorer", "Transcoder"]

_WORD: Final = struct.Struct(">I")
_FLAGS: Final = 8
_PAYLOAD_SIZE: Final = 20
_ORIGINAL_FLAGS: Final = 36
_KNOWN: Final = packet.SYNC | packet.METHOD_MASK


class Transcoder:
    """One channel's packets, in order.

    ``checksum``: packets between the relays are sealed. ``compresses``: towards the other relay.
    ``computes``: the link's codec makes this work for a CPU, rather than for the kernel.
    """

    compresses: ClassVar[bool]

    def __init__(self, geometry: Geometry, *, computes: bool, checksum: bool) -> None:
        self.geometry = geometry
        self.computes = computes
        self.checksum = checksum
        self._scratch = memoryview(bytearray(geometry.packet_size))

    @property
    def packets(self) -> dict[str, int]:
        """How many packets each codec has served on the link, by its label."""
        raise NotImplementedError

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
        """Return the counters of the link's codecs, as a codec's session does; from any thread."""
        raise NotImplementedError

    def reason(self) -> str:
        """Say why packets are encoded as they are; empty where there is no choice."""
        return ""

    def sending(self, link: Link) -> None:
        """What `recode` returned is about to be sent there."""

    def sent(self, size: int, seconds: float) -> None:
        """What `recode` returned was sent: ``size`` bytes, which took ``seconds``."""

    def close(self) -> None:
        """Release the codecs' sessions."""
        raise NotImplementedError

    def _decoded(
        self,
        payload: memoryview,
        header: packet.PacketHeader,
        decode_into: DecodeInto | None,
    ) -> memoryview:
        """Return a packet's pages; without ``decode_into`` they are the payload."""
        size = header.normal_pages * self.geometry.page_size
        if decode_into is None:
            if len(payload) != size:
                raise ProtocolError(f"{len(payload)} bytes of payload for {size} bytes of pages")
            return payload
        pages = self._scratch[:size]
        decode_into(payload, pages)
        return pages


class Compressor(Transcoder):
    """Towards the other relay: from the source's codec to the link's."""

    compresses = True

    def __init__(self, packing: Packing, *, checksum: bool) -> None:
        super().__init__(packing.geometry, computes=packing.computes, checksum=checksum)
        self._packer = packing.packer()
        self._decoders: dict[int, Decoder] = {}
        self._packed = False

    @property
    def packets(self) -> dict[str, int]:
        """As of any `Transcoder`."""
        return self._packer.packets

    def statistics(self) -> Mapping[str, int]:
        """As of any `Transcoder`."""
        return self._packer.statistics()

    def reason(self) -> str:
        """As of any `Transcoder`."""
        return self._packer.reason()

    def recode(
        self, header: packet.PacketHeader, raw: memoryview, payload: memoryview
    ) -> list[Buffer]:
        """Return the packet as it travels between the relays."""
        _WORD.pack_into(raw, _ORIGINAL_FLAGS, header.flags)
        pages = payload
        result: Buffer = b""
        self._packed = bool(payload)
        if self._packed:
            with _naming(header):
                pages = self._decoded(payload, header, self._decoder(header.method))
                result = self._packer.encode(pages)
            sync = header.flags & packet.SYNC
            _WORD.pack_into(raw, _FLAGS, sync | self._packer.method << packet.METHOD_SHIFT)
            _WORD.pack_into(raw, _PAYLOAD_SIZE, len(result))
        if self.checksum:
            if not sums.is_clear(raw):
                raise ProtocolError(
                    f"packet {header.packet_num}: the words for its checksums are in use; remedy: "
                    "a relay with --no-checksum"
                )
            sums.seal(raw, sums.of_pages(pages))
        return [raw, result]

    def sending(self, link: Link) -> None:
        """As of any `Transcoder`."""
        if self._packed:
            self._packer.sending(link)

    def sent(self, size: int, seconds: float) -> None:
        """As of any `Transcoder`."""
        if self._packed:
            self._packer.sent(size, seconds)

    def close(self) -> None:
        """Release the codecs' sessions."""
        self._packer.close()
        for each in self._decoders.values():
            each.close()

    def _decoder(self, method: int) -> DecodeInto | None:
        if method == 0:
            return None
        if method not in self._decoders:
            self._decoders[method] = guarded_decoder(_codec_of(method), self.geometry)
        return self._decoders[method].decode_into


class Restorer(Transcoder):
    """Towards the destination: from the link's codec, any of ``methods``, to the source's."""

    compresses = False

    def __init__(self, methods: Methods, geometry: Geometry, *, checksum: bool) -> None:
        super().__init__(geometry, computes=methods.keys() != {0}, checksum=checksum)
        self._unpacker = Unpacker(methods, geometry)
        self._encoders: dict[int, Encoder] = {}

    @property
    def packets(self) -> dict[str, int]:
        """As of any `Transcoder`."""
        return self._unpacker.packets

    def statistics(self) -> Mapping[str, int]:
        """As of any `Transcoder`."""
        return self._unpacker.statistics()

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
        with _naming(header):
            pages = self._decoded(payload, header, self._unpacker.decoder(header.method))
            self._unpacker.count(header.method)
            if self.checksum:
                sums.check_pages(header.checksum, pages)
            result = self._encoder((flags & packet.METHOD_MASK) >> packet.METHOD_SHIFT).encode(
                pages
            )
        _WORD.pack_into(raw, _PAYLOAD_SIZE, len(result))
        return [raw, result]

    def close(self) -> None:
        """Release the codecs' sessions."""
        self._unpacker.close()
        for each in self._encoders.values():
            each.close()

    def _encoder(self, method: int) -> Encoder:
        if method not in self._encoders:
            self._encoders[method] = guarded_encoder(_codec_of(method), self.geometry)
        return self._encoders[method]


@contextmanager
def _naming(header: packet.PacketHeader) -> Iterator[None]:
    """Name the packet in what goes wrong with it."""
    try:
        yield
    except (CodecError, ProtocolError) as error:
        raise type(error)(f"packet {header.packet_num}: {error}") from error


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
