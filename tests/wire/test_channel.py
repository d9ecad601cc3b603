"""The incremental parser: however the bytes come, the same events; whatever comes, no surprise."""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Iterable, Iterator
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, TypeAlias
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codecs_core.codec import Geometry
from codecs_core.errors import ProtocolError, TruncatedStream
from codecs_core.wire.channel import ChannelParser
from codecs_core.wire.packet import INIT_SIZE, ChannelInit, PacketHeader, header_size

if TYPE_CHECKING:
    from tests.wire.conftest import Drawn

Seen: TypeAlias = ChannelInit | PacketHeader | bytes

SMALL = Geometry(512, 1024)
INIT = ChannelInit(UUID(int=0xABCDEF), 1)


def packet(number: int, payload: bytes, zero_pages: int = 0) -> list[Seen]:
    """A packet's events: its header, and its payload if it has one."""
    pages = bool(payload) + zero_pages
    header = PacketHeader(
        method=1,
        packet_num=number,
        normal_pages=int(bool(payload)),
        zero_pages=zero_pages,
        next_packet_size=len(payload),
        block="pc.ram",
        offsets=struct.pack(f">{pages}Q", *range(0, 512 * pages, 512)),
        pages_alloc=2,
    )
    return [header, payload] if payload else [header]


def written(event: Seen, geometry: Geometry = SMALL) -> bytes:
    """An event as it stands in the stream."""
    if isinstance(event, PacketHeader):
        return event.encode(geometry)
    return event.encode() if isinstance(event, ChannelInit) else event


def seen(parser: ChannelParser, pieces: Iterable[bytes]) -> Iterator[Seen]:
    """The events of a stream that comes in pieces, and then ends."""
    for piece in pieces:
        for event in parser.feed(piece):
            yield bytes(event) if isinstance(event, memoryview) else event
    parser.close()


PACKETS: list[list[Seen]] = [
    [INIT],
    packet(1, b"one page, compressed"),
    packet(2, b"", zero_pages=2),
    [PacketHeader(method=0, packet_num=3, sync=True)],
    packet(4, bytes(2048)),
]
EVENTS = [event for each in PACKETS for event in each]
STREAM = b"".join(map(written, EVENTS))
BOUNDARIES = set(accumulate(sum(len(written(event)) for event in each) for each in PACKETS))


class TestPieces:
    def test_whole(self) -> None:
        assert list(seen(ChannelParser(SMALL), [STREAM])) == EVENTS

    @pytest.mark.parametrize("size", [1, 2, 63, 64, 65, 335, 336, 337])
    def test_in_equal_pieces(self, size: int) -> None:
        pieces = [STREAM[at : at + size] for at in range(0, len(STREAM), size)]
        assert list(seen(ChannelParser(SMALL), pieces)) == EVENTS

    @pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
    def test_split_in_two_anywhere(self, kind: type) -> None:
        for at in range(len(STREAM) + 1):
            pieces = [kind(STREAM[:at]), kind(STREAM[at:])]
            assert list(seen(ChannelParser(SMALL), pieces)) == EVENTS

    @given(data=st.data())
    def test_any_packets_split_anywhere(self, drawn: Drawn, data: st.DataObject) -> None:
        headers = data.draw(st.lists(drawn.headers, max_size=4))
        events: list[Seen] = [INIT]
        for header in headers:
            events.append(header)
            if header.payload_size:
                events.append(bytes([header.packet_num % 256]) * header.payload_size)
        stream = b"".join(written(event, drawn.geometry) for event in events)
        cuts = data.draw(st.lists(st.integers(0, len(stream)), max_size=8))
        pieces = [stream[a:b] for a, b in pairwise(sorted({0, *cuts, len(stream)}))]
        assert list(seen(ChannelParser(drawn.geometry), pieces)) == events

    def test_position_counts_what_was_taken(self) -> None:
        parser = ChannelParser(SMALL)
        ends = [parser.position for _ in parser.feed(STREAM)]
        assert ends == list(accumulate(len(written(event)) for event in EVENTS))

    def test_without_the_init(self) -> None:
        parser = ChannelParser(SMALL, init=False)
        assert list(seen(parser, [STREAM[INIT_SIZE:]])) == EVENTS[1:]
        ChannelParser(SMALL, init=False).close()


class TestBuffers:
    """The way a socket uses the parser: `recv_into` its buffer, then `advance`."""

    def test_buffer_asks_for_what_is_due_and_no_more(self) -> None:
        parser = ChannelParser(SMALL)
        sizes = []
        for event in EVENTS:
            data = written(event)
            buffer = parser.buffer()
            sizes.append(len(buffer))
            buffer[:] = data
            answer = parser.advance(len(buffer))
            assert (bytes(answer) if isinstance(answer, memoryview) else answer) == event
        assert sizes == [64, 336, 20, 336, 336, 336, 2048]
        parser.close()

    def test_advance_returns_nothing_until_something_is_whole(self) -> None:
        parser = ChannelParser(SMALL)
        for taken in range(INIT_SIZE - 1):
            assert len(parser.buffer()) == INIT_SIZE - taken
            parser.buffer()[0] = STREAM[taken]
            assert parser.advance(1) is None
        assert parser.advance(0) is None
        parser.buffer()[0] = STREAM[INIT_SIZE - 1]
        assert parser.advance(1) == INIT

    @pytest.mark.parametrize("count", [-1, INIT_SIZE + 1])
    def test_advance_refuses_what_does_not_fit(self, count: int) -> None:
        parser = ChannelParser(SMALL)
        with pytest.raises(ProtocolError, match=f"{count} bytes do not fit"):
            parser.advance(count)
        assert parser.position == 0

    def test_redirected_payloads_land_in_place(self) -> None:
        parser = ChannelParser(SMALL)
        memory = bytearray(20)
        events = parser.feed(STREAM)
        assert [next(events), next(events)] == EVENTS[:2]
        parser.redirect(memoryview(memory))
        payload = next(events)
        assert isinstance(payload, memoryview)
        assert payload.obj is memory
        assert memory == b"one page, compressed"
        assert [*map(type, events)] == [PacketHeader, PacketHeader, PacketHeader, memoryview]
        assert memory == b"one page, compressed"

    def test_redirect_takes_a_whole_payload_that_has_not_begun(self) -> None:
        parser = ChannelParser(SMALL)
        target = memoryview(bytearray(20))
        with pytest.raises(ProtocolError, match="no payload of that size begins here"):
            parser.redirect(target)
        list(parser.feed(STREAM[: INIT_SIZE + header_size(SMALL)]))
        for size in (0, 19):
            with pytest.raises(ProtocolError, match="no payload of that size"):
                parser.redirect(target[:size])
        parser.advance(1)
        with pytest.raises(ProtocolError, match="no payload of that size"):
            parser.redirect(target)


class TestEnds:
    def test_only_between_packets(self) -> None:
        for end in range(len(STREAM) + 1):
            events: list[Seen] = []
            whole = True
            try:
                for event in seen(ChannelParser(SMALL), [STREAM[:end]]):
                    events.append(event)  # noqa: PERF402
            except TruncatedStream:
                whole = False
            assert whole == (end in BOUNDARIES)
            assert events == EVENTS[: len(events)]

    @pytest.mark.parametrize(
        ("end", "place"),
        [
            (0, r"0 bytes, inside its init \(0 of 64 bytes\)"),
            (63, r"63 bytes, inside its init \(63 of 64 bytes\)"),
            (65, r"65 bytes, inside a packet header \(1 of 336 bytes\)"),
            (400, r"400 bytes, inside a packet's payload \(0 of 20 bytes\)"),
            (419, r"419 bytes, inside a packet's payload \(19 of 20 bytes\)"),
        ],
    )
    def test_errors_say_where(self, end: int, place: str) -> None:
        with pytest.raises(TruncatedStream, match=f"^the channel ends after {place}$"):
            list(seen(ChannelParser(SMALL), [STREAM[:end]]))


class TestErrors:
    @pytest.mark.parametrize(
        ("offset", "field", "message"),
        [
            (0, 0x12345678, "channel init: magic"),
            (4, 9, "channel init: version 9"),
            (64, 0x12345678, "packet header: magic"),
            (68, 9, "packet header: version 9"),
            (72, 0x80, "packet 1: unknown flag bits"),
            (76, 3, "packet 1: pages_alloc 3 is above the 2 agreed"),
            (80, 3, "packet 1: 3 normal and 0 zero pages"),
            (84, 2049, "packet 1: a payload of 2049 bytes for 1 pages; 1 to 2048"),
            (96, 2, "packet 1: 1 normal and 2 zero pages"),
        ],
    )
    def test_stay(self, offset: int, field: int, message: str) -> None:
        """The first says what is wrong; then nothing is taken any more."""
        damaged = STREAM[:offset] + field.to_bytes(4, "big") + STREAM[offset + 4 :]
        parser = ChannelParser(SMALL)
        with pytest.raises(ProtocolError, match=f"^{message}"):
            list(parser.feed(damaged))
        position = parser.position
        assert position in (INIT_SIZE, INIT_SIZE + header_size(SMALL))
        for _ in range(2):
            with pytest.raises(ProtocolError, match="the channel has failed before"):
                list(parser.feed(STREAM))
            assert len(parser.buffer()) == 0
        assert parser.position == position
        parser.close()

    @given(st.binary(max_size=1500))
    def test_garbage_is_a_protocol_error(self, garbage: bytes) -> None:
        for before in (b"", STREAM[:INIT_SIZE], STREAM[: INIT_SIZE + 8], STREAM):
            with contextlib.suppress(ProtocolError):
                list(seen(ChannelParser(SMALL), [before, garbage]))

    @given(
        st.lists(
            st.tuples(st.integers(0, len(STREAM) - 1), st.integers(0, 255)), min_size=1, max_size=4
        ),
        st.integers(0, len(STREAM)),
    )
    def test_damage_is_a_protocol_error(self, damage: list[tuple[int, int]], end: int) -> None:
        stream = bytearray(STREAM)
        for at, value in damage:
            stream[at] = value
        for pieces in ([stream], [stream[:end]], [stream[:end], stream[end:]]):
            parser = ChannelParser(SMALL)
            with contextlib.suppress(ProtocolError):
                for event in seen(parser, map(bytes, pieces)):
                    assert not isinstance(event, bytes) or len(event) <= SMALL.max_payload
                    assert len(parser.buffer()) <= SMALL.max_payload
