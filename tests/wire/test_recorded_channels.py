"""The channels of every recording, against what an independent reader counted in them."""

from __future__ import annotations

from typing import Any

import pytest

from codecs_core.errors import TruncatedStream
from codecs_core.wire.channel import ChannelParser
from codecs_core.wire.packet import ChannelInit, PacketHeader

HEADER = 1344


def channels(recorded: Any) -> list[str]:
    return [name for name in recorded.files() if name.startswith("ch")]


def parse(data: bytes, piece: int) -> tuple[list[ChannelInit], list[PacketHeader], int]:
    """Return the inits, the headers and the bytes of payload, read in pieces of ``piece`` bytes."""
    parser = ChannelParser()
    inits, headers, payload = [], [], 0
    for start in range(0, len(data), piece):
        for event in parser.feed(data[start : start + piece]):
            if isinstance(event, ChannelInit):
                inits.append(event)
            elif isinstance(event, PacketHeader):
                headers.append(event)
            else:
                payload += len(event)
    parser.close()
    assert parser.position == len(data)
    return inits, headers, payload


def test_every_channel_is_read_to_its_last_byte(recorded: Any) -> None:
    headers: list[PacketHeader] = []
    payload = 0
    for name in channels(recorded):
        data = recorded.raw(name)
        inits, of_channel, size = parse(data, 100_003)
        assert [init.channel for init in inits] == [int(name[2:-4])]
        headers += of_channel
        payload += size
    expected = recorded.meta["decoded"].get("packets")
    if expected is not None:
        assert len(headers) == expected["packets"]
        assert sum(each.sync for each in headers) == expected["sync_packets"]
        assert sum(each.normal_pages for each in headers) == expected["normal_pages"]
        assert sum(each.zero_pages for each in headers) == expected["zero_pages"]
        assert payload == expected["payload_bytes"]
        assert max(each.payload_size for each in headers) == expected["largest_payload"]


def test_what_qemu_10_writes_is_encoded_to_the_same_bytes(recorded: Any) -> None:
    if recorded.meta["qemu_version"].startswith("7."):
        # Its headers carry stale fields, which nobody reads.
        return
    for name in channels(recorded):
        data = recorded.raw(name)
        inits, headers, _ = parse(data, len(data))
        assert inits[0].encode() == data[:64]
        position = 64
        for header in headers:
            assert header.encode() == data[position : position + HEADER]
            position += HEADER + header.payload_size


def test_a_channel_is_read_the_same_in_any_pieces(bundled: Any) -> None:
    data = bundled["zlib-ch4"].raw("ch0.bin")[:60_000]
    whole = ChannelParser()
    expected = [bytes(e) if isinstance(e, memoryview) else e for e in whole.feed(data)]
    bytewise = ChannelParser()
    events = [
        bytes(event) if isinstance(event, memoryview) else event
        for at in range(len(data))
        for event in bytewise.feed(data[at : at + 1])
    ]
    assert events == expected
    assert bytewise.position == whole.position


def test_cut_anywhere_but_between_packets_a_channel_is_truncated(bundled: Any) -> None:
    data = bundled["qemu72-zstd-ch2"].raw("ch1.bin")[:200_000]
    boundaries = {64}
    position = 64
    for event in ChannelParser().feed(data):
        if isinstance(event, PacketHeader) and not event.payload_size:
            position += HEADER
            boundaries.add(position)
        elif isinstance(event, memoryview):
            position += HEADER + len(event)
            boundaries.add(position)
    assert len(boundaries) > 3
    for end in {*range(0, 5000), *range(0, len(data), 997), *boundaries}:
        parser = ChannelParser()
        list(parser.feed(data[:end]))
        if end in boundaries:
            parser.close()
        else:
            with pytest.raises(TruncatedStream, match=f"ends after {end} bytes"):
                parser.close()
