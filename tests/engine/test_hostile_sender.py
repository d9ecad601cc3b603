"""A sender that breaks the rules, against a real receiver: one clear error, told to the sender."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

import pytest

from codecs_core import (
    CodecsCoreError,
    CorruptPayload,
    LinkError,
    LinkTimeout,
    ProtocolError,
    Receiver,
    RemoteError,
    TransferError,
    get_codec,
)
from codecs_core.wire import control
from codecs_core.wire.packet import ChannelInit, PacketHeader, header_size

from .conftest import GEOMETRY, Peer, Running, packet

PAGE = GEOMETRY.page_size
Against = tuple[Peer, Running]
DATA = bytes(range(256)) * (PAGE // 256)


def fails_with(against: Against, kind: type[BaseException], message: str) -> None:
    """Both ends have the same reason, and the receiver's error is of this kind."""
    peer, running = against
    reason = peer.reason()
    error = running.wait()
    assert type(error) is kind, error
    assert message in str(error)
    assert reason is not None
    assert message in reason


def fixed(data: bytes, offset: int, value: int, size: int = 4) -> bytes:
    """``data`` with another integer at an offset of its header."""
    return data[:offset] + value.to_bytes(size) + data[offset + size :]


class TestFirstBytes:
    @pytest.mark.parametrize("first", [b"GET / HTTP/1.1\r\n", b"QEVM\0\0\0\3", bytes(8)])
    def test_of_something_else(self, against_receiver: Against, first: bytes) -> None:
        peer, running = against_receiver
        peer.control.sendall(first)
        error = running.wait()
        assert type(error) is ProtocolError
        assert f"begins with {first[:4].hex(' ')}, which is neither" in str(error)

    def test_of_another_version(self, against_receiver: Against) -> None:
        against_receiver[0].control.sendall(b"MFDC" + (2).to_bytes(4))
        fails_with(against_receiver, ProtocolError, "version 2 of the control protocol")

    def test_of_a_channel(self, against_receiver: Against) -> None:
        peer, running = against_receiver
        peer.control.sendall(ChannelInit(uuid4(), 0).encode())
        error = running.wait()
        assert type(error) is ProtocolError
        assert "opened a multifd channel, but no control connection before" in str(error)

    def test_missing(self, against_receiver: Against) -> None:
        error = against_receiver[1].wait()
        assert type(error) is LinkTimeout
        assert "connected, but said nothing for 1 s" in str(error)

    def test_cut(self, against_receiver: Against) -> None:
        peer, running = against_receiver
        peer.control.sendall(control.PREAMBLE[:5])
        peer.close()
        error = running.wait()
        assert type(error) is LinkError
        assert "closed the connection after 5 bytes" in str(error)

    def test_of_a_probe_are_none_and_do_no_harm(self) -> None:
        with Receiver("tcp:127.0.0.1:0") as receiver:
            receiver.add_block("ram", bytearray(4096))
            running = Running(receiver.receive)
            peer = Peer(_connect(receiver.address), receiver.address)
            peer.close()
            again = Peer(_connect(receiver.address), receiver.address)
            token = again.agree()
            again.channel(token).close()
            again.send(control.Done(normal_pages=0, zero_pages=0, skipped_pages=0, sizes={}))
            assert isinstance(again.receive(), control.Ack)
            again.close()
            running.result()


def _connect(address: str) -> socket.socket:
    host, port = address.removeprefix("tcp:").split(":")
    return socket.create_connection((host, int(port)), 30)


class TestHello:
    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"codec": "absent"}, "no codec is called 'absent'"),
            ({"codec": "zstd", "parameters": {"level": 99}}, "between 0 and 20, not 99"),
            ({"codec": "zstd", "parameters": {"level": "1"}}, "not '1'"),
            ({"codec": "zstd", "parameters": {"depth": 1}}, "has no parameter 'depth'"),
            ({"page_size": 1000}, "page size 1000 is not a power of two"),
            ({"page_size": 0}, "page size 0"),
            ({"packet_size": 1 << 40}, "packet size 1099511627776"),
            ({"blocks": [control.BlockInfo("ram", 1)]}, "the sender's has 1 in pages"),
            ({"blocks": [control.BlockInfo("ram", None)]}, "the sender's has None"),
            ({"blocks": [control.BlockInfo("rom", 1)]}, "there is no block 'rom' here"),
            ({"blocks": [control.BlockInfo("ram", 4096)] * 2}, "announced twice"),
            ({"channels": 2, "shared": True}, "2 channels cannot share"),
        ],
    )
    def test_that_cannot_be_agreed_to(
        self, against_receiver: Against, changes: dict[str, Any], message: str
    ) -> None:
        peer, _ = against_receiver
        peer.control.sendall(control.PREAMBLE)
        peer.send(peer.hello(**changes))
        fails_with(against_receiver, TransferError, message)

    @pytest.mark.parametrize(
        ("frame", "message"),
        [
            (b"\1" + (2 << 20).to_bytes(4), "a HELLO of 2097152 bytes; the limit is"),
            (b"\x7f" + bytes(4), "control message of unknown type 127"),
            (b"\1\0\0\0\2{}", "HELLO message: "),
            (b"\1\0\0\0\1\xff", "HELLO message: "),
            (control.encode(control.Ack()), "began with ACK, not HELLO"),
            (b"\4\0\0\0\1x", "sent DATA where none was agreed"),
        ],
    )
    def test_that_is_none(self, against_receiver: Against, frame: bytes, message: str) -> None:
        against_receiver[0].control.sendall(control.PREAMBLE + frame)
        fails_with(against_receiver, ProtocolError, message)

    def test_missing(self, against_receiver: Against) -> None:
        against_receiver[0].control.sendall(control.PREAMBLE)
        fails_with(against_receiver, LinkTimeout, "was silent for 1 s")

    def test_of_too_many_channels(self, against_receiver: Against) -> None:
        body = b'{"page_size":512,"packet_size":2048,"channels":256,"codec":"none",'
        body += b'"parameters":{},"blocks":[]}'
        frame = control.frame_header(control.Type.HELLO, len(body)) + body
        against_receiver[0].control.sendall(control.PREAMBLE + frame)
        fails_with(against_receiver, ProtocolError, "channels")


class TestJoining:
    """Connections that do not belong here are refused; the session goes on without them."""

    @pytest.fixture
    def strangers(self) -> dict[str, Callable[[UUID], bytes]]:
        return {
            "another session's token": lambda token: ChannelInit(uuid4(), 0).encode(),
            "channel 1, where 1 were agreed": lambda token: ChannelInit(token, 1).encode(),
            "a second control connection": lambda token: control.PREAMBLE,
            "begins with 47 45 54 20": lambda token: b"GET / HTTP/1.1\r\n",
            "version 2": lambda token: fixed(ChannelInit(token, 0).encode(), 4, 2),
        }

    def test_goes_on_past_strangers(
        self, against_receiver: Against, strangers: dict[str, Callable[[UUID], bytes]]
    ) -> None:
        peer, running = against_receiver
        token = peer.agree()
        for first in strangers.values():
            sock = peer.connect()
            sock.sendall(first(token))
            sock.settimeout(30)
            with contextlib.suppress(ConnectionError):
                assert sock.recv(1) == b""
        channel = peer.channel(token)
        channel.sendall(packet(DATA, 0))
        channel.close()
        peer.send(control.Done(normal_pages=1, zero_pages=0, skipped_pages=0, sizes={}))
        assert isinstance(peer.receive(), control.Ack)
        peer.close()
        assert running.result().pages == 1

    def test_names_who_was_refused(
        self, against_receiver: Against, strangers: dict[str, Callable[[UUID], bytes]]
    ) -> None:
        peer, running = against_receiver
        token = peer.agree()
        for first in list(strangers.values())[:3]:
            peer.connect().sendall(first(token))
        with peer.alive():
            reason = peer.reason()
        error = running.wait()
        assert type(error) is LinkTimeout
        assert str(error) == reason
        assert "0 of 1 channels came in 1 s; refused tcp:127.0.0.1:" in str(error)
        for each in list(strangers)[:3]:
            assert each in str(error)

    def test_the_same_channel_twice(self, against_receiver: Against) -> None:
        peer, _ = against_receiver
        token = peer.agree(channels=2)
        peer.channel(token, 0)
        peer.channel(token, 0)
        with peer.alive():
            fails_with(against_receiver, LinkTimeout, "1 of 2 channels came in 1 s; refused")

    def test_a_sender_that_fails_meanwhile(self, against_receiver: Against) -> None:
        peer, running = against_receiver
        peer.agree()
        peer.send(control.Error("my disk broke"))
        error = running.wait()
        assert type(error) is RemoteError
        assert str(error) == "my disk broke"


ZERO = {"normal_pages": 0, "zero_pages": 1, "next_packet_size": 0}


class TestPackets:
    @pytest.mark.parametrize(
        ("data", "message"),
        [
            (fixed(packet(DATA, 0), 0, 0x11223345), "magic 0x11223345"),
            (fixed(packet(DATA, 0), 4, 2), "version 2"),
            (fixed(packet(DATA, 0), 8, 0x80), "unknown flag bits in 0x80"),
            (fixed(packet(DATA, 0), 8, 0x40), "device state"),
            (fixed(packet(DATA, 0), 8, 2), "method 1, but method 0 was agreed"),
            (fixed(packet(DATA, 0), 12, 5), "pages_alloc 5 is above the 4 agreed"),
            (fixed(packet(DATA, 0), 16, 5), "5 normal and 0 zero pages are more"),
            (fixed(packet(DATA, 0), 16, 2**32 - 1), "4294967295 normal"),
            (fixed(packet(DATA, 0), 32, 4), "1 normal and 4 zero pages are more"),
            (fixed(packet(DATA, 0), 20, 2**31), "a payload of 2147483648 bytes"),
            (fixed(packet(DATA, 0), 20, 0), "a payload of 0 bytes for 1 pages"),
            (fixed(packet(DATA, 0), 20, PAGE - 1), f"a payload of {PAGE - 1} bytes for 1 pages"),
            (packet(DATA, 1), "offset 0x1 is not a page of block 'ram'"),
            (packet(DATA, 4096), "offset 0x1000 is not a page of block 'ram' (0x1000 bytes)"),
            (packet(DATA, 2**64 - PAGE), "offset 0xfffffffffffffe00"),
            (packet(b"", 4096, **ZERO), "offset 0x1000 is not a page"),
            (packet(DATA, 0, block="rom"), "there is no block 'rom'; announced: 'ram'"),
            (packet(DATA, 0, block=""), "there is no block ''"),
        ],
    )
    def test_that_break_the_format(
        self, against_receiver: Against, memory: bytearray, data: bytes, message: str
    ) -> None:
        peer, _ = against_receiver
        peer.channel(peer.agree()).sendall(data)
        fails_with(against_receiver, ProtocolError, message)
        assert memory == bytes(4096)

    def test_with_a_block_name_without_end(self, against_receiver: Against) -> None:
        peer, _ = against_receiver
        data = packet(DATA, 0)
        peer.channel(peer.agree()).sendall(data[:64] + b"x" * 256 + data[320:])
        fails_with(against_receiver, ProtocolError, "the block name is not terminated")

    @pytest.mark.parametrize("codec", ["zlib", "zstd", "lz4"])
    def test_that_do_not_decode(self, against_receiver: Against, codec: str) -> None:
        peer, _ = against_receiver
        method = get_codec(codec).method
        data = packet(os.urandom(200), 0, method=31 if method is None else method)
        peer.channel(peer.agree(codec=codec)).sendall(data)
        fails_with(against_receiver, CorruptPayload, "packet 7: ")

    @pytest.mark.parametrize("codec", ["zlib", "zstd", "lz4"])
    def test_that_decode_to_more(
        self, against_receiver: Against, memory: bytearray, codec: str
    ) -> None:
        """A payload of two pages where the header announces one."""
        peer, _ = against_receiver
        chosen = get_codec(codec)
        with chosen.encoder(GEOMETRY) as encoder:
            payload = bytes(encoder.encode(memoryview(b"x" * 2 * PAGE)))
        method = 31 if chosen.method is None else chosen.method
        peer.channel(peer.agree(codec=codec)).sendall(packet(payload, 0, method=method))
        fails_with(against_receiver, CorruptPayload, "packet 7: ")
        assert memory[PAGE:] == bytes(4096 - PAGE)


class TestEnds:
    def test_with_wrong_totals(self, against_receiver: Against) -> None:
        peer, _ = against_receiver
        channel = peer.channel(peer.agree())
        channel.sendall(packet(DATA, 0))
        channel.close()
        peer.send(control.Done(normal_pages=2, zero_pages=0, skipped_pages=0, sizes={}))
        fails_with(against_receiver, ProtocolError, "1 normal and 0 zero pages came of the 2 and 0")

    def test_with_sizes_of_no_streams(self, against_receiver: Against) -> None:
        peer, _ = against_receiver
        peer.channel(peer.agree())
        peer.send(control.Done(normal_pages=0, zero_pages=0, skipped_pages=0, sizes={"ram": 1}))
        fails_with(against_receiver, ProtocolError, "DONE tells the sizes of ['ram']")

    def test_with_a_message_of_the_receivers(self, against_receiver: Against) -> None:
        peer, _ = against_receiver
        peer.channel(peer.agree())
        peer.send(control.Ack())
        fails_with(against_receiver, ProtocolError, "the sender sent ACK where none was due")

    def test_with_a_sync_on_one_channel_only(self, against_receiver: Against) -> None:
        peer, _ = against_receiver
        token = peer.agree(channels=2)
        first, second = peer.channel(token, 0), peer.channel(token, 1)
        first.sendall(PacketHeader(method=0, packet_num=1, sync=True).encode(GEOMETRY))
        second.close()
        fails_with(against_receiver, ProtocolError, "SYNC 1 did not come on all channels")

    def test_without_done(self, against_receiver: Against) -> None:
        peer, running = against_receiver
        peer.channel(peer.agree()).close()
        peer.close()
        error = running.wait()
        assert type(error) is LinkError
        assert "disappeared" in str(error)

    def test_in_silence(self, against_receiver: Against) -> None:
        """A peer that shows no life is given up, though its connections stay."""
        peer, _ = against_receiver
        peer.channel(peer.agree())
        fails_with(against_receiver, LinkTimeout, "was silent for 1 s")

    def test_with_a_reason(self, against_receiver: Against) -> None:
        peer, running = against_receiver
        peer.channel(peer.agree())
        peer.send(control.Error("no \x1b[31mdisk"))
        error = running.wait()
        assert type(error) is RemoteError
        assert str(error) == "no \x1b[31mdisk"


def session(codec: str) -> bytes:
    """A channel's bytes: two packets, zero pages among them, and a SYNC."""
    chosen = get_codec(codec)
    method = 31 if chosen.method is None else chosen.method
    with chosen.encoder(GEOMETRY) as encoder:
        first = bytes(encoder.encode(memoryview(DATA)))
        second = bytes(encoder.encode(memoryview(DATA * 2)))
    sync = PacketHeader(method=0, packet_num=2, sync=True).encode(GEOMETRY)
    return (
        packet(first, 0, PAGE, method=method, normal_pages=1, zero_pages=1)
        + packet(second, 2 * PAGE, 3 * PAGE, method=method)
        + sync
    )


@pytest.mark.parametrize("codec", ["none", "zlib", "zstd", "lz4"])
def test_a_channel_cut_anywhere(codec: str) -> None:
    """Every cut that loses a page gets an error; nothing hangs, and DONE cannot hide it."""
    data = session(codec)
    last_page = len(data) - header_size(GEOMETRY)
    for cut in range(last_page) if codec == "none" else range(0, last_page, 7):
        with Receiver("tcp:127.0.0.1:0", timeout=30) as receiver:
            receiver.add_block("ram", bytearray(4096))
            running = Running(receiver.receive)
            peer = Peer(_connect(receiver.address), receiver.address)
            channel = peer.channel(peer.agree(codec=codec))
            channel.sendall(data[:cut])
            channel.close()
            peer.send(control.Done(normal_pages=3, zero_pages=1, skipped_pages=0, sizes={}))
            peer.send(control.Error("the wire broke"))
            peer.close()
            error = running.wait()
        assert isinstance(error, CodecsCoreError), cut


def test_a_control_connection_cut_anywhere() -> None:
    """Before its last byte it gets an error; nothing hangs."""
    hello = Peer.hello(None)  # type: ignore[arg-type]
    data = control.PREAMBLE + control.encode(hello)
    for cut in range(1, len(data)):
        with Receiver("tcp:127.0.0.1:0", timeout=30) as receiver:
            receiver.add_block("ram", bytearray(4096))
            running = Running(receiver.receive)
            with _connect(receiver.address) as sock:
                sock.sendall(data[:cut])
            error = running.wait()
        assert isinstance(error, LinkError), cut


def test_the_struct_of_a_header_is_as_documented() -> None:
    """The offsets that `fixed` writes to are the fields they are said to be."""
    header = packet(DATA, 0)
    assert struct.unpack(">IIIIIIQI", header[:36]) == (0x11223344, 1, 0, 4, 1, PAGE, 7, 0)
