"""Checksums between two relays: added by the one, checked and left out again by the other."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codecs_core import CodecsCoreError, CorruptPayload, Geometry, ProtocolError, get_codec
from codecs_core.engine.methods import method_of
from codecs_core.engine.packing import Packing
from codecs_core.gateway.egress import Egress
from codecs_core.gateway.transcode import Compressor, Restorer, Transcoder
from codecs_core.registry import Registry
from codecs_core.wire import control
from codecs_core.wire.channel import ChannelParser
from codecs_core.wire.checksum import CHECKSUM, check_header
from codecs_core.wire.packet import INIT_SIZE, ChannelInit, PacketHeader, header_size
from tests.engine.conftest import Peer, Running
from tests.gateway.conftest import ChannelWriter

GEOMETRY = Geometry()
HEADER = header_size(GEOMETRY)


def source(codec: str) -> bytes:
    """What QEMU sends: pages of both kinds, zero pages alone, SYNC."""
    writer = ChannelWriter(0, codec).send({0: 65, 9: 66, 5: 0}).send({7: 0}, number=1)
    return bytes(writer.send({2: 1}, number=2).sync(3).data[INIT_SIZE:])


@contextmanager
def passing(kind: type[Transcoder], codec: str, *, checksum: bool) -> Iterator[Any]:
    """A relay's transcoder, as a function from a channel's bytes to the packets it sends."""
    methods = {method_of(get_codec(codec)): get_codec(codec)}
    transcoder: Transcoder
    if kind is Compressor:
        transcoder = Compressor(Packing(methods, GEOMETRY, adaptive=False), checksum=checksum)
    else:
        transcoder = Restorer(methods, GEOMETRY, checksum=checksum)

    def run(data: bytes) -> list[bytes]:
        parser = ChannelParser(GEOMETRY, init=False, checksum=transcoder.arrives_sealed)
        sent, header = [], None
        for event in parser.feed(data):
            if isinstance(event, PacketHeader):
                header = event
                if header.payload_size:
                    continue
                event = memoryview(b"")
            assert isinstance(event, memoryview)
            assert header is not None
            buffers = transcoder.recode(header, parser.raw_header, event)
            sent.append(b"".join(map(bytes, buffers)))
        parser.close()
        return sent

    try:
        yield run
    finally:
        transcoder.close()


def through(codec: str, data: bytes, *, checksum: bool = True) -> list[bytes]:
    with passing(Compressor, codec, checksum=checksum) as egress:
        return list(egress(data))


def back(codec: str, data: bytes, *, checksum: bool = True) -> bytes:
    with passing(Restorer, codec, checksum=checksum) as ingress:
        return b"".join(ingress(data))


@pytest.mark.parametrize("checksum", [True, False])
@pytest.mark.parametrize("codec", list(Registry()))
@pytest.mark.parametrize("theirs", ["none", "zlib", "zstd"])
def test_the_destination_gets_what_the_source_sent(codec: str, theirs: str, checksum: bool) -> None:
    data = source(theirs)
    between = b"".join(through(codec, data, checksum=checksum))
    assert back(codec, between, checksum=checksum) == data


@pytest.mark.parametrize("codec", list(Registry()))
def test_every_packet_between_the_relays_is_sealed(codec: str) -> None:
    for each in through(codec, source("none")):
        check_header(memoryview(bytearray(each[:HEADER])))
    for each in through(codec, source("none"), checksum=False):
        assert each[40:64] == bytes(24)


@pytest.mark.parametrize("codec", list(Registry()))
@given(data=st.data())
def test_damage_between_the_relays_never_reaches_the_destination(
    codec: str, data: st.DataObject
) -> None:
    packets = through(codec, source("zlib"))
    whole = bytearray(b"".join(packets))
    bit = data.draw(st.integers(0, 8 * len(whole) - 1))
    whole[bit // 8] ^= 1 << bit % 8
    at = bit // 8
    for each in packets:
        if at < len(each):
            break
        at -= len(each)
    arrived: bytes | None = None
    failed: CodecsCoreError | None = None
    try:
        arrived = back(codec, bytes(whole))
    except CodecsCoreError as error:
        failed = error
    if at < HEADER:
        assert isinstance(failed, ProtocolError)
    else:
        assert isinstance(failed, CorruptPayload) or arrived == source("zlib")


def test_words_that_are_in_use_are_not_written_over() -> None:
    data = bytearray(source("none"))
    data[40] = 1
    with pytest.raises(ProtocolError, match="remedy: a relay with --no-checksum"):
        through("zstd", bytes(data))
    between = b"".join(through("zstd", bytes(data), checksum=False))
    assert back("zstd", between, checksum=False) == data


@pytest.mark.parametrize("checksum", [True, False])
def test_the_egress_agrees_and_seals(checksum: bool, tmp_path: Any) -> None:
    """Against an ingress that is played by hand."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(20)
        to = f"tcp:127.0.0.1:{listener.getsockname()[1]}"
        with Egress(f"unix:{tmp_path}/s", to, codec="none", checksum=checksum, timeout=5) as egress:
            serving = Running(egress.serve)
            main, channel = socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX)
            main.connect(f"{tmp_path}/s")
            main.sendall(b"QEVM" + bytes(100))
            peer = Peer(listener.accept()[0])
            assert peer._exactly(control.PREAMBLE_SIZE) == control.PREAMBLE
            hello = peer.receive()
            assert isinstance(hello, control.Hello)
            assert hello.checksum == (CHECKSUM if checksum else None)
            peer.send(control.Accept("0" * 32))
            channel.connect(f"{tmp_path}/s")
            channel.sendall(ChannelInit(UUID(int=1), 0).encode() + source("none"))
            joined = Peer(listener.accept()[0])
            assert joined._exactly(2 * INIT_SIZE)[:4] == bytes.fromhex("11223344")
            header = bytearray(joined._exactly(HEADER))
            assert any(header[40:56]) is checksum
            if checksum:
                check_header(memoryview(header))
            egress.abort()
            for each in (main, channel, peer, joined):
                each.close()
            serving.result()
