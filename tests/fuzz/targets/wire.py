"""The bytes of a peer: channels, the control connection, QEMU's main stream and return path."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from typing import Any
from uuid import UUID

from codecs_core.codec import DEFAULT_GEOMETRY, Geometry
from codecs_core.errors import ProtocolError
from codecs_core.wire import control, qemu, return_path
from codecs_core.wire.channel import ChannelParser
from codecs_core.wire.mapped_ram import MappedRam, page_runs
from codecs_core.wire.packet import ChannelInit, PacketHeader
from tests.conftest import MainStream
from tests.fuzz.target import pieces, target

SMALL = Geometry(512, 4096)
INIT = ChannelInit(UUID(int=1), 7).encode()


def headers(geometry: Geometry = SMALL) -> list[bytes]:
    offsets = struct.pack(">3Q", 0, 4096, 1 << 40)
    drawn = [
        PacketHeader(method=0, packet_num=1, sync=True),
        PacketHeader(2, 7, 2, 1, 5, "pc.ram", offsets, pages_alloc=8, checksum=1 << 63),
        PacketHeader(31, 1 << 63, 0, 3, 1 << 31, "é" * 100, offsets, sync=True, pages_alloc=3),
    ]
    return [each.encode(geometry) for each in drawn]


@target("wire.init", seeds=lambda: [INIT], refuses=ProtocolError)
def init(data: bytes) -> None:
    found = ChannelInit.decode(data)
    assert ChannelInit.decode(found.encode()) == found


@target("wire.packet", seeds=headers, refuses=ProtocolError)
def packet(data: bytes) -> None:
    _packet(data, SMALL)


@target("wire.packet-of-qemu", seeds=lambda: headers(DEFAULT_GEOMETRY), refuses=ProtocolError)
def packet_of_qemu(data: bytes) -> None:
    _packet(data, DEFAULT_GEOMETRY)


def _packet(data: bytes, geometry: Geometry) -> None:
    found = PacketHeader.decode(data, geometry)
    assert found.payload_size <= geometry.max_payload
    assert found.normal_pages + found.zero_pages <= geometry.pages_per_packet
    assert len(found.normal_offsets + found.zero_offsets) * 8 == len(found.offsets)
    assert PacketHeader.decode(found.encode(geometry), geometry) == found


def channels() -> Iterator[bytes]:
    sync, normal, zero = headers()
    yield INIT + sync + normal + b"abcde" + zero + normal + b"fghij" + sync
    yield INIT + normal[:-8]


@target("wire.channel", seeds=channels, refuses=ProtocolError, tokens=[INIT, *headers()])
def channel(data: bytes) -> None:
    """However the bytes arrive, the same events come of them, and the same error."""
    whole = _events(ChannelParser(SMALL), [data])
    assert _events(ChannelParser(SMALL), pieces(data)) == whole
    if isinstance(whole[-1], ProtocolError):
        raise whole[-1]


def _events(parser: ChannelParser, parts: Iterable[bytes]) -> list[Any]:
    events: list[Any] = []
    try:
        for part in parts:
            # Taken one by one: those before an error count.
            for event in parser.feed(part):
                events += [bytes(event) if isinstance(event, memoryview) else event]
        parser.close()
    except ProtocolError as error:
        events += [parser.position, str(error), _Same(error)]
    return events


class _Same(ProtocolError):
    """An error that equals others: its text was compared."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same)

    __hash__ = None  # type: ignore[assignment]


def messages() -> Iterator[bytes]:
    yield control.PREAMBLE
    block = control.BlockInfo("pc.ram", 1 << 20)
    for message in (
        control.Hello(4096, 1 << 19, 2, "zstd", {"level": 1, "fast": True, "mode": "x"}, [block]),
        control.Accept("0123456789abcdef" * 2, ["pc.ram"]),
        control.Reject("no"),
        control.Synced(3),
        control.Done(1, 2, 3, {"stdin": 4}),
        control.Ack(),
        control.Error("é"),
        control.KeepAlive(),
        control.Held("pc.ram", 7, ["0123456789abcdef" * 2]),
        control.Received(0, 1 << 20),
        control.Ended(255, 99),
        control.Lost(1, 0),
        control.Rejoin("0123456789abcdef" * 2, 1, 5),
        control.Rejoined(0),
        control.Data(b"\0\1\2"),
    ):
        yield control.PREAMBLE + control.encode(message)
    yield control.PREAMBLE + control.encode(control.Synced(1)) + control.encode(control.Ack())


JSON = [b'{"', b'":', b"null", b"true", b"[", b"]", b"{}", b"1e999", b"-1", b"\\ud800", b"[" * 999]
FRAMES = [struct.pack(">BI", kind, length) for kind in control.Type for length in (0, 2, 1 << 20)]


@target("wire.control", seeds=messages, refuses=ProtocolError, tokens=[*JSON, *FRAMES])
def messages_of_control(data: bytes) -> None:
    control.check_preamble(data[:8].ljust(8, b"\0"))
    at = 8
    while len(data) - at >= control.FRAME_HEADER_SIZE:
        body = at + control.FRAME_HEADER_SIZE
        kind, length = control.decode_frame_header(data[at:body])
        at = body + length
        message = control.decode(kind, data[body:at])
        frame = control.encode(message)
        head, rest = frame[: control.FRAME_HEADER_SIZE], frame[control.FRAME_HEADER_SIZE :]
        assert control.decode_frame_header(head) == (kind, len(rest))
        assert control.decode(kind, rest) == message


def main_streams() -> list[bytes]:
    zero, flush = MainStream.zero, MainStream.flush()
    small = MainStream(capabilities=("x-other",))
    small.data += b"\5" + small.text("configuration/target-page-bits")
    small.data += struct.pack(">II", 1, 10)
    small.start({"pc.ram": 8192, "rom": 4096}, flush).part(
        zero(0, "pc.ram"), zero(4096), flush, zero(0, "rom"), zero(1024, "pc.ram")
    ).part(small.page(2048, "rom", b"p" * 1024))
    small.data += struct.pack(">BHH", 8, 1, 3) + b"abc"
    small.end(flush).devices("timer", "cpu")
    plain = MainStream().start({"pc.ram": 8192}).part(zero(0, "pc.ram")).end().devices()
    shared = MainStream(capabilities=("x-ignore-shared",)).open_list(4096)
    shared.data += shared.text("a") + struct.pack(">QQ", 4096, 1)
    mapped = MainStream(capabilities=("mapped-ram",)).open_list(4096)
    mapped.data += mapped.text("a") + struct.pack(">Q", 4096)
    at = len(mapped.data) + 28
    mapped.data += MappedRam(4096, at, at + 8).encode() + bytes(8 + 4096)
    streams = [small, plain, shared.close().end(), mapped.close().end().devices("cpu")]
    return [bytes(each.data) for each in streams]


MAIN_TOKENS = [
    *(b"QEVM", b"\1\0\0\0\7\3ram", b"\2\0\0\0\7", b"\3\0\0\0\7", b"\x7e\0\0\0\7", b"\6pc.ram"),
    *(MainStream.text(f"configuration/{part}") for part in ("capabilities", "uuid")),
    *(MainStream.text(each) for each in ("mapped-ram", "x-ignore-shared")),
    *(struct.pack(">Q", flags) for flags in (0x02, 0x22, 0x04, 0x08, 0x28, 0x10, 0x200)),
]


@target(
    "wire.main", seeds=main_streams, refuses=ProtocolError, tokens=MAIN_TOKENS + JSON, size=8192
)
def main_stream(data: bytes) -> None:
    """In whatever pieces, and with the pages of mapped-ram files passed over or fed."""
    whole = _main(data, [data])
    split = _main(data, pieces(data))
    skipped = _main(data, pieces(data), skipping=True)
    assert split == skipped
    events, error, _ = whole
    assert all(len(each.capabilities) <= 256 for each in events if hasattr(each, "capabilities"))
    # Of an error, the events before it in the same bytes are not told.
    assert split[1:] == whole[1:]
    assert events == (split[0][: len(events)] if error else split[0])
    if error:
        raise ProtocolError(error)


def _main(
    data: bytes, parts: Iterable[bytes], *, skipping: bool = False
) -> tuple[list[qemu.Event], str | None, qemu.Description | None]:
    parser = qemu.MainParser()
    events: list[qemu.Event] = []
    description = None
    over = 0
    try:
        for part in parts:
            events += parser.feed(part[over:])
            over = max(0, over - len(part))
            if skipping:
                left = len(data) - parser.position
                over += min(parser.skippable, left)
                parser.skip(min(parser.skippable, left))
        description = parser.close()
    except ProtocolError as error:
        return events, str(error), None
    return events, None, description


def return_paths() -> list[bytes]:
    kinds = return_path.MessageType
    return [b"".join(struct.pack(">HH", kind, 4) + bytes([0, 0, 0, kind]) for kind in kinds)]


@target("wire.return-path", seeds=return_paths, refuses=ProtocolError)
def messages_of_return_path(data: bytes) -> None:
    parser = return_path.ReturnPathParser()
    found = [message for part in pieces(data) for message in parser.feed(part)]
    assert return_path.ReturnPathParser().feed(data) == found
    written = b"".join(struct.pack(">HH", each.type, len(each.body)) + each.body for each in found)
    assert data.startswith(written)
    assert len(data) - len(written) < 4 + return_path.MAX_LENGTH


@target(
    "wire.mapped-ram",
    seeds=lambda: [MappedRam(4096, 100, 1 << 20).encode() + b"\xff\x0f\1\x80"],
    refuses=ProtocolError,
)
def mapped_ram(data: bytes) -> None:
    """The header, and behind it a bitmap, against one bit at a time."""
    found = MappedRam.decode(data[:28])
    assert MappedRam.decode(found.encode()) == found
    bitmap = data[28:92]
    pages = max(0, 8 * len(bitmap) - data[5] % 8)
    longest = 1 + data[6] % 32
    runs = list(page_runs(bitmap, pages, longest))
    listed = [page for first, count in runs for page in range(first, first + count)]
    assert listed == [page for page in range(pages) if bitmap[page // 8] >> page % 8 & 1]
    assert all(0 < count <= longest for _, count in runs)
    size = int.from_bytes(data[20:28])
    found.check(100, size)
    assert found.bitmap_offset >= 100
    assert found.bitmap_offset + found.bitmap_size(size) <= found.pages_offset < 1 << 63
