"""Connections between two relays that are lost in a migration: neither QEMU notices."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from codecs_core.gateway.egress import Egress
from codecs_core.gateway.ingress import Ingress
from codecs_core.gateway.relay import Migration
from codecs_core.wire.packet import INIT_SIZE
from tests.conftest import MainStream
from tests.gateway.test_relay import Destination
from tests.way import Way


class Link:
    """Two relays, and a way between them that can be cut."""

    def __init__(self, place: Path, codec: str, retry_for: float) -> None:
        self.ended: list[Migration] = []
        self.destination = Destination(place / "destination")
        self.ingress = Ingress(
            "tcp:127.0.0.1:0", f"unix:{place}/destination", timeout=10, on_end=self.ended.append
        )
        self.way = Way(self.ingress.address)
        self.egress = Egress(
            f"unix:{place}/source",
            self.way.address,
            codec=codec,
            timeout=10,
            retry_for=retry_for,
            on_end=self.ended.append,
        )
        self.path = str(place / "source")
        self.threads = [threading.Thread(target=each.serve) for each in (self.ingress, self.egress)]
        for each in self.threads:
            each.start()

    def close(self) -> None:
        for relay in (self.egress, self.ingress):
            relay.close()
        for thread in self.threads:
            thread.join()
        self.way.close()
        self.destination.close()


@pytest.fixture
def link(tmp_path: Path) -> Iterator[Callable[..., Link]]:
    threads = threading.active_count()
    made: list[Link] = []

    def make(codec: str = "zstd", retry_for: float = 20) -> Link:
        made.append(Link(tmp_path, codec, retry_for))
        return made[-1]

    yield make
    for each in made:
        each.close()
    assert threading.active_count() == threads


def connect(path: str) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(20)
    sock.connect(path)
    return sock


@pytest.mark.parametrize("codec", ["none", "zlib", "zstd", "qatzip"])
def test_a_migration_over_a_way_that_is_cut(
    link: Callable[..., Link], channel: Any, codec: str
) -> None:
    relays = link(codec)
    main_data = bytes(MainStream().start({"pc.ram": 64 << 20}).end().data)
    streams = {}
    for number in (0, 1):
        source = channel(number)
        for packet in range(40):
            pages = {128 * packet + page: 1 + (packet + page) % 250 for page in range(100)}
            source.send(pages, number=packet)
        streams[number] = bytes(source.sync(99).data)
    main = connect(relays.path)
    relays.destination.expected = 2
    relays.destination.answer = b"\0\1\0\4" + bytes(4)
    main.sendall(main_data[:50])
    sockets = {number: connect(relays.path) for number in streams}
    for number, sock in sockets.items():
        sock.sendall(streams[number][:INIT_SIZE])
    give_up = time.monotonic() + 20
    while len(relays.destination.streams) < 3 and time.monotonic() < give_up:
        time.sleep(0.01)

    def feed(number: int) -> None:
        data = memoryview(streams[number])[INIT_SIZE:]
        for start in range(0, len(data), 1 << 20):
            sockets[number].sendall(data[start : start + (1 << 20)])
            time.sleep(0.01)
        sockets[number].close()

    threads = [threading.Thread(target=feed, args=(number,)) for number in streams]
    for each in threads:
        each.start()
    for pause in (0.02, 0.05, 0.1, 0.1):
        time.sleep(pause)
        relays.way.cut()
    main.sendall(main_data[50:])
    main.shutdown(socket.SHUT_WR)
    for each in threads:
        each.join()
    back = b""
    while data := main.recv(100):
        back += data
    main.close()
    give_up = time.monotonic() + 20
    while len(relays.ended) < 2 and time.monotonic() < give_up:
        time.sleep(0.01)
    assert [each.error for each in relays.ended] == [None, None]
    assert back == relays.destination.answer
    assert relays.destination.main() == [main_data]
    arrived = relays.destination.channels()
    assert {number: arrived[number] == data for number, data in streams.items()} == {
        0: True,
        1: True,
    }
    assert sum(each.keeper.repairs for each in relays.ended if each.keeper) > 0


def test_a_way_that_stays_closed(link: Callable[..., Link]) -> None:
    """The time is over: both QEMUs are told, by the end of their connections."""
    relays = link(retry_for=1)
    main = connect(relays.path)
    main.sendall(b"QEVM" + bytes(100))
    give_up = time.monotonic() + 20
    while not relays.destination.streams and time.monotonic() < give_up:
        time.sleep(0.01)
    relays.way.open = False
    relays.way.cut()
    # Where not all that was sent had been read, it is a reset.
    with main, suppress(ConnectionResetError):
        assert main.recv(1) == b""
    give_up = time.monotonic() + 20
    while len(relays.ended) < 2 and time.monotonic() < give_up:
        time.sleep(0.01)
    assert all(each.error is not None for each in relays.ended)
