"""The two ends of one multifd channel: the loops that move packets.

A packet costs a scan and gather (one call into the kernel), one call of the codec and one of the
socket. Every buffer is made once a channel and used again, so memory does not depend on how much
is sent.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol
from uuid import UUID

from codecs_core.codec import Buffer, Geometry
from codecs_core.engine import packing
from codecs_core.engine.packing import DecodeInto, Packer, Unpacker
from codecs_core.engine.progress import ChannelProgress, Counters
from codecs_core.engine.round import Round
from codecs_core.engine.sync import SyncBarrier
from codecs_core.errors import CodecError, ProtocolError
from codecs_core.memory import kernel
from codecs_core.memory.block import Block, PageRun
from codecs_core.wire import checksum as sums
from codecs_core.wire import packet as wire
from codecs_core.wire.channel import ChannelParser

__all__ = ["Inlet", "Outlet", "ReceivingChannel", "SendingChannel"]


class Outlet(packing.Outlet, Protocol):
    """Where a channel sends: a `Link`, or DATA frames of the control connection."""

    def send(self, buffers: Sequence[Buffer]) -> None:
        """Send all of ``buffers``."""

    def end(self) -> None:
        """Tell the peer that no more will come."""


class Inlet(Protocol):
    """Where a channel receives."""

    def receive_into(self, buffer: memoryview) -> int:
        """Receive into ``buffer``; 0 at the end."""

    def count(self) -> None:
        """One more packet has arrived whole."""

    def confirm(self) -> None:
        """See that the end was the sender's, and that no packet is missing."""


class SendingChannel:
    """Sends the packets of one channel, with a ``checksum`` of each. Used by one thread.

    ``sent``: how many packets, SYNCs included, it has begun to send, and whether those are all.
    """

    def __init__(
        self,
        number: int,
        link: Outlet,
        packer: Packer,
        geometry: Geometry,
        packet_numbers: Iterator[int],
        *,
        checksum: bool,
    ) -> None:
        self.number = number
        self.link = link
        self.sent = (0, False)
        self.counters = Counters()
        self._packer = packer
        self._geometry = geometry
        self._packet_numbers = packet_numbers
        self._checksum = checksum
        self._header = memoryview(bytearray(wire.header_size(geometry)))
        self._offsets = self._header[wire.FIXED_SIZE :]
        self._scratch = memoryview(bytearray(geometry.packet_size))

    def begin(self, token: UUID) -> None:
        """Send the channel's init."""
        init = wire.ChannelInit(token, self.number).encode()
        self.link.send([init])
        self.counters.wire_bytes += len(init)

    def send_round(self, round_: Round) -> None:
        """Send packets until the round has no more runs."""
        while (pulled := round_.pull(self._scratch)) is not None:
            self._send_packet(*pulled)

    def send_sync(self) -> None:
        """Send a SYNC packet, as QEMU does: flags 0x01 and a whole header of zeros."""
        header = wire.PacketHeader(method=0, packet_num=next(self._packet_numbers), sync=True)
        encoded = bytearray(header.encode(self._geometry))
        if self._checksum:
            sums.seal(encoded)
        self._send([encoded])

    def end(self) -> None:
        """Tell the peer that the channel is complete."""
        self.link.end()
        self.sent = (self.sent[0], True)

    def progress(self) -> ChannelProgress:
        """Tell how far the channel is; any thread may ask."""
        packer = self._packer
        return ChannelProgress.of(
            self.number, self.counters, packer, packer.packets, packer.reason()
        )

    def close(self) -> None:
        """Release the encoders."""
        self._packer.close()

    def _send_packet(self, run: PageRun, pages: memoryview) -> None:
        size = self._geometry.page_size
        count = len(pages) // size
        normal = kernel.scan(pages, size, run.first, run.where, self._offsets, self._scratch)
        packet = pages if normal == count else self._scratch[: normal * size]
        payload: Buffer = b""
        # First, so that the encoder finds the pages in the cache.
        checksum = sums.of_pages(packet) if self._checksum else 0
        if normal:
            started = time.perf_counter_ns()
            payload = self._packer.encode(packet)
            self.counters.codec_ns += time.perf_counter_ns() - started
        wire.pack_fixed(
            self._header,
            flags=self._packer.method << wire.METHOD_SHIFT,
            pages_alloc=self._geometry.pages_per_packet,
            normal_pages=normal,
            next_packet_size=len(payload),
            packet_num=next(self._packet_numbers),
            zero_pages=count - normal,
            block=wire.encode_block_name(run.block.name),
        )
        if 8 * count < len(self._offsets):
            self._offsets[8 * count :] = bytes(len(self._offsets) - 8 * count)
        if self._checksum:
            sums.seal(self._header, checksum)
        if normal:
            self._packer.sending(self.link)
        blocked = self._send([self._header, payload])
        if normal:
            self._packer.sent(len(self._header) + len(payload), blocked / 1e9)
        self.counters.packets += 1
        self.counters.normal_pages += normal
        self.counters.zero_pages += count - normal

    def _send(self, buffers: Sequence[Buffer]) -> int:
        """Send, and return how many nanoseconds that took."""
        # Replaced as a whole: another thread reads it.
        self.sent = (self.sent[0] + 1, False)
        started = time.perf_counter_ns()
        self.link.send(buffers)
        blocked = time.perf_counter_ns() - started
        self.counters.blocked_ns += blocked
        self.counters.wire_bytes += sum(map(len, buffers))
        return blocked


class ReceivingChannel:
    """Receives the packets of one channel, decodes and stores them. Used by one thread.

    ``barrier`` keeps the channels together at every SYNC; one of them calls ``synced`` with its
    number. With ``checksum`` no packet is counted, and none stored that is not decoded in place,
    before its checksums have been compared.
    """

    def __init__(
        self,
        number: int,
        link: Inlet,
        unpacker: Unpacker,
        geometry: Geometry,
        blocks: Mapping[str, Block],
        barrier: SyncBarrier,
        synced: Callable[[int], None],
        *,
        checksum: bool,
    ) -> None:
        self.number = number
        self.link = link
        self.counters = Counters()
        self._unpacker = unpacker
        self._geometry = geometry
        self._blocks = blocks
        self._barrier = barrier
        self._synced = synced
        self._checksum = checksum
        self._parser = ChannelParser(geometry, init=False, checksum=checksum)
        self._scratch = memoryview(bytearray(geometry.packet_size))

    def run(self) -> None:
        """Receive packets until the channel ends. Raises what breaks the format or the link."""
        while (header := self._next_event()) is not None:
            assert isinstance(header, wire.PacketHeader)
            if header.normal_pages or header.zero_pages:
                self._receive_packet(header)
            self.link.count()
            if header.sync and (number := self._barrier.arrive()) is not None:
                self._synced(number)
        self._barrier.leave()
        for block in self._blocks.values():
            block.leave()
        self.link.confirm()

    def progress(self) -> ChannelProgress:
        """Tell how far the channel is; any thread may ask."""
        unpacker = self._unpacker
        return ChannelProgress.of(self.number, self.counters, unpacker, unpacker.packets)

    def close(self) -> None:
        """Release the decoders."""
        self._unpacker.close()

    def _next_event(self) -> object | None:
        """Return the parser's next event, or ``None`` at the end of the stream."""
        started = time.perf_counter_ns()
        event = None
        while event is None:
            count = self.link.receive_into(self._parser.buffer())
            if not count:
                self._parser.close()
                return None
            self.counters.wire_bytes += count
            event = self._parser.advance(count)
        self.counters.blocked_ns += time.perf_counter_ns() - started
        return event

    def _receive_packet(self, header: wire.PacketHeader) -> None:
        try:
            decode_into = self._unpacker.decoder(header.method)
        except ProtocolError as error:
            raise ProtocolError(f"packet {header.packet_num}: {error}") from None
        block = self._blocks.get(header.block)
        if block is None:
            raise ProtocolError(
                f"packet {header.packet_num}: there is no block {header.block!r}; "
                f"announced: {', '.join(map(repr, self._blocks)) or 'none'}"
            )
        block.check(header.offsets, header.packet_num)
        target = block.target(header.offsets, header.normal_pages, self._scratch)
        if header.normal_pages:
            self._receive_pages(header, target, decode_into)
        block.store(header.offsets, header.normal_pages, target)
        if header.normal_pages:
            self._unpacker.count(header.method)
        self.counters.packets += 1
        self.counters.normal_pages += header.normal_pages
        self.counters.zero_pages += header.zero_pages

    def _receive_pages(
        self, header: wire.PacketHeader, target: memoryview, decode_into: DecodeInto | None
    ) -> None:
        if decode_into is None:
            if header.payload_size != len(target):
                raise ProtocolError(
                    f"packet {header.packet_num}: a payload of {header.payload_size} bytes for "
                    f"{header.normal_pages} pages without compression"
                )
            self._parser.redirect(target)
        payload = self._next_event()
        if payload is None:
            return
        try:
            if decode_into is not None:
                assert isinstance(payload, memoryview)
                started = time.perf_counter_ns()
                decode_into(payload, target)
                self.counters.codec_ns += time.perf_counter_ns() - started
            if self._checksum:
                sums.check_pages(header.checksum, target)
        except CodecError as error:
            raise type(error)(f"packet {header.packet_num}: {error}") from error
