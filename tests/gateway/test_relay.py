"""Recorded migrations through a pair of relays: what goes in comes out on the other side."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from codecs_core import (
    CodecsCoreError,
    CodecUnavailable,
    ProtocolError,
    TransferError,
    get_codec,
)
from codecs_core.codec import Geometry
from codecs_core.engine.adapt import Chooser
from codecs_core.engine.methods import method_of
from codecs_core.gateway import relay as relay_module
from codecs_core.gateway.bridge import Bridge
from codecs_core.gateway.egress import Egress, owner_of
from codecs_core.gateway.ingress import Ingress
from codecs_core.gateway.relay import Migration, Relay
from codecs_core.gateway.transcode import Restorer
from codecs_core.transport.connect import dial
from codecs_core.transport.link import Link
from codecs_core.wire.channel import ChannelParser
from codecs_core.wire.packet import INIT_SIZE, ChannelInit, PacketHeader
from tests.conftest import MainStream, Recorded

GEOMETRY = Geometry()


class Destination:
    """A QEMU that takes everything, and answers on the main channel."""

    def __init__(self, path: Path) -> None:
        self.streams: list[bytearray] = []
        self.answer = b"return path" * 1000
        self.expected = 1
        self.ended = threading.Semaphore(0)
        self.server = socket.socket(socket.AF_UNIX)
        self.server.bind(str(path))
        self.server.listen(300)
        self.sockets: list[socket.socket] = []
        self.threads: list[threading.Thread] = []
        self.thread = threading.Thread(target=self._accept)
        self.thread.start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self.server.accept()
            except OSError:
                return
            stream = bytearray()
            self.streams.append(stream)
            self.sockets.append(connection)
            thread = threading.Thread(target=self._read, args=(connection, stream))
            self.threads.append(thread)
            thread.start()

    def _read(self, connection: socket.socket, stream: bytearray) -> None:
        with connection:
            while True:
                try:
                    data = connection.recv(1 << 16)
                except OSError:
                    return
                if not data:
                    break
                stream += data
            # As QEMU: the main channel ends when all channels have brought what it waits for.
            if not stream.startswith(b"QEVM"):
                self.ended.release()
            elif all(self.ended.acquire(timeout=20) for _ in range(self.expected)):
                with suppress(BrokenPipeError):
                    connection.sendall(self.answer)

    def main(self) -> list[bytes]:
        return [bytes(each) for each in self.streams if each.startswith(b"QEVM")]

    def channels(self) -> dict[int, bytes]:
        found = {}
        for each in self.streams:
            if not each.startswith(b"QEVM"):
                found[ChannelInit.decode(each[:INIT_SIZE]).channel] = bytes(each)
        return found

    def close(self) -> None:
        with suppress(OSError):
            self.server.shutdown(socket.SHUT_RDWR)
        self.server.close()
        for each in self.sockets:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        self.ended.release(999)
        self.thread.join()
        for each in self.threads:
            each.join()


class Pair:
    """An egress and an ingress, serving, and a destination behind them."""

    def __init__(self, place: Path, codec: Any) -> None:
        self.stack = ExitStack()
        self.ended: list[Migration] = []
        self.destination = Destination(place / "destination")
        self.stack.callback(self.destination.close)
        self.ingress = Ingress(
            "tcp:127.0.0.1:0", f"unix:{place}/destination", timeout=5, on_end=self.ended.append
        )
        self.egress = Egress(
            f"unix:{place}/source",
            self.ingress.address,
            codec=codec,
            timeout=5,
            on_end=self.ended.append,
        )
        self.path = str(place / "source")
        for each in (self.ingress, self.egress):
            thread = threading.Thread(target=each.serve)
            thread.start()
            self.stack.callback(thread.join)
            self.stack.callback(each.close)
            self.stack.callback(each.stop)

    def connect(self) -> socket.socket:
        source = socket.socket(socket.AF_UNIX)
        self.stack.callback(source.close)
        source.settimeout(20)
        source.connect(self.path)
        return source

    def migrate(self, main: bytes, channels: dict[int, bytes]) -> bytes:
        """Send a migration as QEMU does, and return what came back on the main channel."""
        self.destination.expected = len(channels)
        first = self.connect()
        threads = []
        for data in channels.values():
            thread = threading.Thread(target=self._send, args=(self.connect(), data))
            thread.start()
            threads.append(thread)
        first.sendall(main)
        first.shutdown(socket.SHUT_WR)
        for each in threads:
            each.join()
        back = bytearray()
        while data := first.recv(1 << 16):
            back += data
        self.wait(2)
        return bytes(back)

    def wait(self, count: int) -> None:
        self.until(lambda: len(self.ended) >= count)

    def until_claimed(self, key: UUID) -> None:
        self.until(lambda: key in {each.key for each in self.egress.live()})

    def until(self, condition: Callable[[], bool]) -> None:
        give_up = time.monotonic() + 20
        while not condition():
            assert time.monotonic() < give_up
            time.sleep(0.01)

    def _send(self, connection: socket.socket, data: bytes) -> None:
        with connection:
            connection.sendall(data)


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Callable[..., Pair]]:
    threads = threading.active_count()
    with ExitStack() as stack:

        def make(codec: Any = "zstd") -> Pair:
            made = Pair(tmp_path, codec)
            stack.enter_context(made.stack)
            return made

        yield make
    assert threading.active_count() == threads


def packets(stream: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Every packet: its header without the size of the payload, and its pages."""
    parser = ChannelParser()
    decoders: dict[int, Any] = {}
    header: PacketHeader | None = None
    raw = b""
    for event in parser.feed(stream):
        if isinstance(event, PacketHeader):
            header, raw = event, bytes(parser.raw_header)
            if not header.payload_size:
                yield raw, b""
        elif isinstance(event, memoryview):
            assert header is not None
            name = {0: "none", 1: "zlib", 2: "zstd", 4: "qpl", 16: "qatzip"}[header.method]
            if header.method not in decoders:
                decoders[header.method] = get_codec(name).decoder()
            pages = bytearray(header.normal_pages * 4096)
            decoders[header.method].decode_into(event, memoryview(pages))
            yield raw[:20] + raw[24:], bytes(pages)
    parser.close()


def same(ours: bytes, theirs: bytes) -> bool:
    """The init, and every packet: header, offsets and pages."""
    if ours[:INIT_SIZE] != theirs[:INIT_SIZE]:
        return False
    return list(packets(ours)) == list(packets(theirs))


@pytest.mark.parametrize("codec", ["zstd", "none"])
def test_every_recording(pair: Callable[..., Pair], rebuildable: Recorded, codec: str) -> None:
    if rebuildable.meta["mapped_ram"]:
        assert "file.mig" in rebuildable.files()
        return
    main = rebuildable.raw("main.bin")
    names = [each for each in rebuildable.files() if each.startswith("ch")]
    channels = {int(each[2:-4]): rebuildable.raw(each) for each in names}
    relays = pair(codec)
    back = relays.migrate(main, channels)
    assert [each.error for each in relays.ended] == [None, None]
    assert back == relays.destination.answer
    assert relays.destination.main() == [main]
    arrived = relays.destination.channels()
    assert arrived.keys() == channels.keys()
    for number, data in channels.items():
        assert same(arrived[number], data), number


@pytest.mark.parametrize("codec", ["none", "zlib", "lz4", "zstd", "qatzip", "qpl"])
def test_every_codec_between_the_relays(
    pair: Callable[..., Pair], channel: Any, codec: str
) -> None:
    source = channel(0)
    for number in range(5):
        source.send({number: 65, number + 9: 66, 100: 0}, number=number).sync(number)
    relays = pair(codec)
    relays.migrate(MainStream().start({"pc.ram": 1 << 20}).end().data, {0: bytes(source.data)})
    assert [each.error for each in relays.ended] == [None, None]
    assert relays.destination.channels()[0] == bytes(source.data)
    assert method_of(get_codec(codec)) in (0, 1, 2, 4, 16, 31)


def test_is_busy_until_the_end_of_the_last_was_told(
    pair: Callable[..., Pair], channel: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who waits for the final figures of a migration finds them then."""
    free, let_go = threading.Event(), Relay._let_go

    def slowly(*arguments: Any) -> None:
        assert free.wait(20)
        let_go(*arguments)

    monkeypatch.setattr(Relay, "_let_go", slowly)
    relays = pair("none")
    main = MainStream().start({"pc.ram": 1 << 20}).end().data
    with ThreadPoolExecutor(1) as pool:
        moving = pool.submit(relays.migrate, main, {0: bytes(channel(0).send({1: 65}).data)})
        relays.until(lambda: bool(relays.egress._migrations) and not relays.egress.live())
        assert relays.egress.is_busy()
        assert relays.ended == []
        free.set()
        moving.result(20)
    relays.until(lambda: not relays.egress.is_busy())
    assert len(relays.ended) == 2


def test_one_after_another_and_several_at_once(pair: Callable[..., Pair], channel: Any) -> None:
    relays = pair()
    main = bytes(MainStream().start({"pc.ram": 1 << 20}).end().data)
    for uuid in (1, 2):
        relays.migrate(main, {0: bytes(channel(0, uuid=uuid).send({1: uuid}).data)})
    first, second = relays.connect(), relays.connect()
    for source, uuid in ((first, 3), (second, 4)):
        source.sendall(main)
        connection = relays.connect()
        connection.sendall(channel(0, uuid=uuid).send({1: uuid}).data)
        connection.close()
        # Whose a channel is, is certain only where one migration waits for any.
        relays.until_claimed(UUID(int=uuid))
    # The destination does not know whose a channel is, and must not end a migration by another's.
    relays.until(lambda: relays.destination.ended._value == 2)
    first.close()
    second.close()
    relays.wait(8)
    assert [each.error for each in relays.ended] == [None] * 8
    assert len(relays.destination.main()) == 4
    streams = [bytes(each) for each in relays.destination.streams if each[:4] != b"QEVM"]
    assert {each[23] for each in streams} == {1, 2, 3, 4}


def test_a_relay_that_looks_at_nobody_is_not_alive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As systemd's watchdog asks; one that was told to stop lets the migrations end in peace."""
    monkeypatch.setattr(relay_module, "_LOOK", 0.3)
    with Ingress(f"unix:{tmp_path}/in", f"unix:{tmp_path}/on") as idle:
        time.sleep(0.4)
        assert not idle.is_alive()
        serving = threading.Thread(target=idle.serve)
        serving.start()
        give_up = time.monotonic() + 20
        while not idle.is_alive():
            assert time.monotonic() < give_up
        idle.stop()
        serving.join()
        time.sleep(0.4)
        assert idle.is_alive()


NIL, ONE, TWO = (UUID(int=number) for number in range(3))


@pytest.mark.parametrize(
    ("live", "process", "key", "owner"),
    [
        ([(None, None)], None, ONE, 0),
        ([(None, ONE), (None, None)], None, TWO, 1),
        ([(None, ONE), (None, TWO)], None, TWO, 1),
        ([(None, ONE)], None, TWO, None),
        ([(None, None), (None, None)], None, ONE, None),
        # Guests without a uuid: only the process tells whose channel it is.
        ([(None, NIL), (None, None)], None, NIL, None),
        ([(None, NIL), (None, NIL)], None, NIL, None),
        ([(7, NIL), (8, None)], 7, NIL, 0),
        ([(7, NIL), (8, None)], 8, NIL, 1),
        ([(7, None), (8, None)], 8, ONE, 1),
        # A forwarder that makes a process for each connection.
        ([(7, None)], 9, NIL, 0),
        ([(7, NIL)], 9, NIL, 0),
        ([(7, NIL), (8, None)], 9, NIL, None),
    ],
)
def test_whose_a_channel_is(
    live: list[tuple[int | None, UUID | None]], process: int | None, key: UUID, owner: int | None
) -> None:
    migrations = [Migration("somebody", *each) for each in live]
    found = owner_of(migrations, process, key)
    assert found is (None if owner is None else migrations[owner])


def test_channels_may_speak_before_the_main_channel(
    pair: Callable[..., Pair], channel: Any
) -> None:
    relays = pair()
    connection = relays.connect()
    connection.sendall(channel(0).send({1: 7}).data)
    connection.shutdown(socket.SHUT_WR)
    time.sleep(0.5)
    main = relays.connect()
    main.sendall(MainStream().start({"pc.ram": 1 << 20}).end().data)
    main.shutdown(socket.SHUT_WR)
    relays.wait(2)
    assert 0 in relays.destination.channels()


@pytest.mark.parametrize("broken", ["magic", "method", "cut", "payload"])
def test_what_breaks_the_format_ends_the_migration(
    pair: Callable[..., Pair], channel: Any, broken: str
) -> None:
    data = bytearray(channel(0, codec="zlib").send({1: 7}).data)
    if broken == "magic":
        data[INIT_SIZE] ^= 1
    elif broken == "method":
        data[INIT_SIZE + 11] = 8 << 1
    elif broken == "cut":
        del data[-5:]
    else:
        data[-20:] = bytes(20)
    relays = pair()
    main = relays.connect()
    main.sendall(bytes(MainStream().start({"pc.ram": 1 << 20}).data))
    connection = relays.connect()
    connection.sendall(data)
    connection.close()
    assert main.recv(1) == b""
    relays.wait(2)
    errors = [each.error for each in relays.ended]
    assert all(isinstance(each, CodecsCoreError) for each in errors)


def test_the_destination_is_not_there(pair: Callable[..., Pair]) -> None:
    relays = pair()
    relays.destination.close()
    main = relays.connect()
    main.sendall(b"QEVM" + bytes(100))
    with suppress(ConnectionResetError):
        assert main.recv(1) == b""
    relays.wait(2)
    assert any("refuses" in str(each.error) for each in relays.ended)


def test_stopping_ends_what_is_under_way(pair: Callable[..., Pair]) -> None:
    relays = pair()
    main = relays.connect()
    main.sendall(b"QEVM" + bytes(100))
    relays.until(lambda: bool(relays.destination.streams))
    relays.egress.abort()
    assert main.recv(1) == b""
    relays.wait(2)
    assert {str(each.error) for each in relays.ended} == {"the relay was stopped"}


def test_strangers_do_no_harm(pair: Callable[..., Pair], channel: Any) -> None:
    relays = pair()
    for words in (b"GET / HTTP/1.0\r\n\r\n", b"\x11\x22\x33\x44" + bytes(60), b"x"):
        relays.connect().sendall(words)
    host, port = relays.ingress.address.removeprefix("tcp:").split(":")
    with socket.create_connection((host, int(port))) as stranger:
        stranger.sendall(ChannelInit(uuid4(), 0).encode())
        assert stranger.recv(1) == b""
    relays.migrate(
        bytes(MainStream().start({"pc.ram": 1 << 20}).end().data),
        {0: bytes(channel(0).send({1: 7}).data)},
    )
    assert 0 in relays.destination.channels()


def test_a_destination_may_close_a_channel_before_its_last_packet(
    pair: Callable[..., Pair], channel: Any
) -> None:
    """QEMU 7.2 sends a packet behind the last SYNC; the destination need not wait for it."""
    relays = pair()
    arrived = b"\0\1\0\4" + bytes(4)
    relays.destination.answer = arrived
    main, connection = relays.connect(), relays.connect()
    main.sendall(bytes(MainStream().start({"pc.ram": 1 << 20}).end().data))
    source = channel(0).send({1: 7}).sync()
    connection.sendall(source.data)
    give_up = time.monotonic() + 20
    while len(relays.destination.sockets) < 2 and time.monotonic() < give_up:
        time.sleep(0.01)
    time.sleep(0.3)
    first, second = relays.destination.sockets
    second.shutdown(socket.SHUT_RDWR)
    first.sendall(arrived)
    assert main.recv(100) == arrived
    connection.sendall(channel(0).send({1: 7}).data[INIT_SIZE:])
    connection.shutdown(socket.SHUT_WR)
    main.shutdown(socket.SHUT_WR)
    relays.wait(2)
    assert [each.error for each in relays.ended] == [None, None]


def test_a_codec_chosen_for_every_packet(pair: Callable[..., Pair], channel: Any) -> None:
    """Whatever is chosen, the destination gets the source's packets."""
    channels = {}
    for number in range(2):
        source = channel(number)
        for each in range(40):
            source.send({each: 65, each + 50: 66, 200: 0}, number=each).sync(each)
        channels[number] = bytes(source.data)
    relays = pair("auto")
    relays.migrate(MainStream().start({"pc.ram": 1 << 20}).end().data, channels)
    assert [each.error for each in relays.ended] == [None, None]
    assert relays.destination.channels() == channels
    egress, ingress = (each.bridge for each in relays.ended)
    assert egress is not None
    assert ingress is not None
    assert egress.methods == ingress.methods
    assert sum(egress.methods.values()) == 80


def test_every_method_in_turn(
    pair: Callable[..., Pair], channel: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def took(chooser: Chooser, elapsed: float, size: int, *, busy: bool) -> None:
        chooser._model.use((chooser.current + 1) % len(chooser._candidates))

    monkeypatch.setattr(Chooser, "took", took)
    # It is asked for every packet, however fast the link takes one as it is.
    monkeypatch.setattr("codecs_core.engine.packing._OFTEN", 0.0)
    source = channel(0)
    for each in range(60):
        source.send({each: 65 + each, each + 70: 66}, number=each)
    relays = pair("auto")
    relays.migrate(MainStream().start({"pc.ram": 1 << 20}).end().data, {0: bytes(source.data)})
    assert [each.error for each in relays.ended] == [None, None]
    assert relays.destination.channels()[0] == bytes(source.data)
    bridge = relays.ended[0].bridge
    assert bridge is not None
    assert {"none", "zstd", "zstd level 6", "lz4", "zlib", "qatzip"} <= set(bridge.methods)


def test_an_ingress_refuses_a_method_that_was_not_agreed_on() -> None:
    restorer = Restorer({0: get_codec("none"), 2: get_codec("zstd")}, GEOMETRY, checksum=False)
    header = PacketHeader(
        method=31, packet_num=3, normal_pages=1, next_packet_size=9, pages_alloc=128,
        block="pc.ram", offsets=bytes(8),
    )  # fmt: skip
    raw = memoryview(bytearray(header.encode()))
    with pytest.raises(ProtocolError, match="packet 3: method 31, but method 0, 2 were agreed"):
        restorer.recode(header, raw, memoryview(b"something"))
    restorer.close()


def all_dialled(monkeypatch: pytest.MonkeyPatch, side: str) -> list[Link]:
    """All connections that one side will make."""
    found: list[Link] = []

    def dial_and_keep(*arguments: Any) -> Link:
        found.append(dial(*arguments))
        return found[-1]

    monkeypatch.setattr(f"codecs_core.gateway.{side}.dial", dial_and_keep)
    return found


@pytest.mark.parametrize("side", ["egress", "ingress"])
def test_a_migration_without_threads_leaves_no_connection_behind(
    pair: Callable[..., Pair], monkeypatch: pytest.MonkeyPatch, side: str
) -> None:
    dialled = all_dialled(monkeypatch, side)

    def no_thread(*_: Any) -> None:
        raise TransferError("no thread can be started")

    monkeypatch.setattr(Bridge, "start", no_thread)
    relays = pair()
    main = relays.connect()
    main.sendall(bytes(MainStream().start({"pc.ram": 1 << 20}).data))
    with suppress(ConnectionResetError):
        assert main.recv(1) == b""
    relays.wait(2)
    assert any("no thread" in str(each.error) for each in relays.ended)
    assert [each.fileno() for each in dialled] == [-1]


@pytest.mark.parametrize("side", ["egress", "ingress"])
def test_a_channel_that_cannot_be_coded_leaves_no_connection_behind(
    pair: Callable[..., Pair], channel: Any, monkeypatch: pytest.MonkeyPatch, side: str
) -> None:
    """The connection onward is made by then."""
    dialled = all_dialled(monkeypatch, side)

    def none_left(*_: Any, **__: Any) -> None:
        raise CodecUnavailable("every instance of the device is in use", name="zstd")

    coder = "egress.Compressor" if side == "egress" else "ingress.Restorer"
    monkeypatch.setattr(f"codecs_core.gateway.{coder}", none_left)
    relays = pair()
    main = relays.connect()
    main.sendall(bytes(MainStream().start({"pc.ram": 1 << 20}).data))
    relays.connect().sendall(channel(0).send({1: 7}).data)
    assert main.recv(1) == b""
    relays.wait(2)
    assert any("every instance" in str(each.error) for each in relays.ended)
    assert len(dialled) == 2
    assert [each.fileno() for each in dialled] == [-1, -1]
