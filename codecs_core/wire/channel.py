"""The incremental parser of one multifd channel, without I/O.

Rules of this module:

* The parser lends the buffer to be filled next (`ChannelParser.buffer`) and is told how much of
  it arrived (`ChannelParser.advance`), so that a socket receives straight into place.
* Every size is checked before a byte of what it announces is asked for.
* After an error the parser stays in error: the channel cannot be trusted any more.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from typing import TypeAlias

from codecs_core.codec import DEFAULT_GEOMETRY, Buffer, Geometry
from codecs_core.errors import ProtocolError, TruncatedStream
from codecs_core.wire.checksum import check_header
from codecs_core.wire.packet import INIT_SIZE, ChannelInit, PacketHeader, header_size

__all__ = ["ChannelParser", "Event"]

Event: TypeAlias = ChannelInit | PacketHeader | memoryview
"""A channel's init, a packet's header, or the payload of the header before it (valid until the
next call)."""


class _State(enum.Enum):
    INIT = "its init"
    HEADER = "a packet header"
    PAYLOAD = "a packet's payload"
    FAILED = "nothing, after an error"


class ChannelParser:
    """Turns the bytes of one channel into events.

    ``init=False`` starts behind the init, where somebody else has read it. ``checksum=True``
    checks every header against its own. ``position`` counts the bytes taken so far. Memory: one
    header and one payload of ``geometry.max_payload``.
    """

    def __init__(
        self,
        geometry: Geometry = DEFAULT_GEOMETRY,
        *,
        init: bool = True,
        checksum: bool = False,
    ) -> None:
        self.geometry = geometry
        self._checksum = checksum
        self.position = 0
        self._header = memoryview(bytearray(header_size(geometry)))
        self._payload = memoryview(bytearray(geometry.max_payload))
        self._target = self._header
        self._filled = 0
        self._state = _State.INIT
        self._expect(_State.INIT if init else _State.HEADER)

    def buffer(self) -> memoryview:
        """The memory to receive into next; empty only after an error."""
        return self._target[self._filled :]

    @property
    def raw_header(self) -> memoryview:
        """The bytes of the header that was returned last; they may be changed.

        Valid until bytes are received behind the packet.
        """
        return self._header

    def redirect(self, target: memoryview) -> None:
        """Receive the payload of the header just returned into ``target``, of exactly its size.

        Raises `ProtocolError` where no payload is due, or some of it has arrived already.
        """
        if self._state is not _State.PAYLOAD or self._filled or len(target) != len(self._target):
            raise ProtocolError("no payload of that size begins here")
        self._target = target

    def advance(self, count: int) -> Event | None:
        """Take ``count`` bytes, which stand in `buffer`; return the event they complete, if any.

        Raises `ProtocolError` where they break the format.
        """
        if not 0 <= count <= len(self._target) - self._filled:
            raise ProtocolError(f"{count} bytes do not fit the parser's buffer")
        if self._state is _State.FAILED:
            raise ProtocolError("the channel has failed before")
        self.position += count
        self._filled += count
        if self._filled < len(self._target):
            return None
        whole, state = self._target, self._state
        self._state = _State.FAILED
        if state is _State.PAYLOAD:
            self._expect(_State.HEADER)
            return whole
        if state is _State.INIT:
            init = ChannelInit.decode(whole)
            self._expect(_State.HEADER)
            return init
        if self._checksum:
            check_header(whole)
        header = PacketHeader.decode(whole, self.geometry)
        self._expect(_State.PAYLOAD if header.payload_size else _State.HEADER, header.payload_size)
        return header

    def feed(self, data: Buffer) -> Iterator[Event]:
        """Take bytes of any length and yield the events they complete (copies once)."""
        rest = memoryview(data)
        while rest:
            buffer = self.buffer()
            count = min(len(buffer), len(rest))
            buffer[:count] = rest[:count]
            rest = rest[count:]
            event = self.advance(count)
            if event is not None:
                yield event

    def close(self) -> None:
        """Tell the parser that the stream has ended.

        Raises `TruncatedStream` unless it ended between two packets.
        """
        if self._state is _State.HEADER and not self._filled:
            return
        if self._state is not _State.FAILED:
            raise TruncatedStream(
                f"the channel ends after {self.position} bytes, inside {self._state.value} "
                f"({self._filled} of {len(self._target)} bytes)"
            )

    def _expect(self, state: _State, size: int = 0) -> None:
        self._state = state
        self._filled = 0
        if state is _State.PAYLOAD:
            self._target = self._payload[:size]
        elif state is _State.INIT:
            self._target = self._header[:INIT_SIZE]
        else:
            self._target = self._header
