"""Gives the contents of a recording back in the order in which they make up the memory.

Within one round a page is sent once, on any channel, or on the main channel where it is zero. So
the order of the channels does not matter within a round, and the rounds must be kept apart: by the
SYNCs of the multifd channels, and by the sync points of the main channel.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

from codecs_core.codec import Geometry
from codecs_core.errors import TruncatedStream
from codecs_core.gateway.recording import CHUNK, Recording, Source, main_steps
from codecs_core.wire import qemu
from codecs_core.wire.channel import ChannelParser
from codecs_core.wire.packet import PacketHeader

__all__ = ["Packet", "Step", "replay"]


@dataclass(frozen=True, slots=True)
class Packet:
    """A packet of channel ``channel``. ``payload`` is valid until the next step is asked for."""

    channel: int
    header: PacketHeader
    payload: memoryview


Step: TypeAlias = qemu.Event | qemu.Description | Packet


def replay(recording: Recording) -> Iterator[Step]:
    """Yield everything, in an order that rebuilds the memory when it is followed.

    A `SyncPoint` ends a round. In a round stands first what the main channel says, then the
    channels' packets up to and with their next SYNC, in the order of their numbers. Without a
    main channel the SYNCs alone divide the rounds. Memory is bounded by channels × a packet.
    Raises `ProtocolError` and `CorruptPayload`, naming the file, and `TruncatedStream` where a
    channel lacks a SYNC that the others have.
    """
    main = iter(()) if recording.main is None else main_steps(recording.main)
    channels = [_Channel(*each, recording.geometry) for each in recording.channels.items()]
    due = 0
    going = True
    while going:
        going = False
        before = due
        for step in main:
            going = True
            if isinstance(step, qemu.SyncPoint):
                due += 1
                break
            yield step
        # QEMU 7.2 may send a page twice between two SYNCs: the packet numbered later holds.
        rounds = (each.round() for each in channels)
        for packet in heapq.merge(*rounds, key=lambda each: each.header.packet_num):
            going = True
            yield packet
        due = max([due, *(each.syncs for each in channels)])
        for each in channels:
            each.check(due)
        if due > before:
            yield qemu.SyncPoint()


class _Channel:
    """One channel being replayed: its packets, and how many SYNCs were among them."""

    def __init__(self, number: int, source: Source, geometry: Geometry) -> None:
        self.syncs = 0
        self._number = number
        self._source = source
        self._geometry = geometry
        self._rest = self._packets()

    def round(self) -> Iterator[Packet]:
        """Yield the packets up to and with the next SYNC."""
        for each in self._rest:
            self.syncs += each.header.sync
            yield each
            if each.header.sync:
                return

    def check(self, due: int) -> None:
        """Raise `TruncatedStream` unless ``due`` SYNCs have come."""
        if self.syncs < due:
            with self._source.naming():
                raise TruncatedStream(
                    f"the channel ends after {self.syncs} SYNCs; {due} are there or due elsewhere"
                )

    def _packets(self) -> Iterator[Packet]:
        parser = ChannelParser(self._geometry)
        header: PacketHeader | None = None
        with self._source.open() as file:
            while chunk := file.read(CHUNK):
                for event in parser.feed(chunk):
                    if isinstance(event, memoryview):
                        assert header is not None
                        yield Packet(self._number, header, event)
                    elif isinstance(event, PacketHeader):
                        header = event
                        if not header.payload_size:
                            yield Packet(self._number, header, memoryview(b""))
            parser.close()
