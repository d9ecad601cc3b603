"""Relays under TLS: what passes, and who may join."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from codecs_core import TlsCredentials, UsageError
from codecs_core.gateway.egress import Egress
from codecs_core.gateway.ingress import Ingress
from codecs_core.gateway.record import Recorder
from codecs_core.gateway.relay import Migration
from codecs_core.transport.address import parse
from codecs_core.transport.connect import dial
from codecs_core.transport.tls_link import client_links
from codecs_core.wire.packet import ChannelInit
from tests.conftest import MainStream
from tests.gateway.test_relay import Destination

MAIN = bytes(MainStream().start({"pc.ram": 1 << 20}).end().data)


class Pair:
    """An egress with ``ours``, an ingress with ``theirs``, and what they have told."""

    def __init__(
        self, place: Path, theirs: TlsCredentials | None, ours: TlsCredentials | None
    ) -> None:
        self.stack = ExitStack()
        self.ended: list[Migration] = []
        self.refused: list[str] = []
        self.destination = Destination(place / "destination")
        self.stack.callback(self.destination.close)
        settings: dict[str, Any] = {
            "timeout": 5,
            "on_end": self.ended.append,
            "on_refusal": self.refused.append,
        }
        self.ingress = Ingress(
            "tcp:127.0.0.1:0", f"unix:{place}/destination", tls=theirs, **settings
        )
        self.egress = Egress(
            f"unix:{place}/source", self.ingress.address, codec="zstd", tls=ours, **settings
        )
        self.path = str(place / "source")
        for each in (self.ingress, self.egress):
            thread = threading.Thread(target=each.serve)
            thread.start()
            self.stack.callback(thread.join)
            self.stack.callback(each.close)

    def connect(self, data: bytes) -> socket.socket:
        source = socket.socket(socket.AF_UNIX)
        self.stack.callback(source.close)
        source.settimeout(20)
        source.connect(self.path)
        source.sendall(data)
        return source

    def until(self, condition: Callable[[], object]) -> None:
        give_up = time.monotonic() + 20
        while not condition():
            assert time.monotonic() < give_up
            time.sleep(0.01)


def ended(source: socket.socket) -> bool:
    """Whether a relay has closed the connection, be its bytes read or not."""
    try:
        return source.recv(1) == b""
    except ConnectionResetError:
        return True


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Callable[..., Pair]]:
    with ExitStack() as stack:

        def start(theirs: TlsCredentials | None, ours: TlsCredentials | None) -> Pair:
            made = Pair(tmp_path, theirs, ours)
            stack.callback(made.stack.close)
            return made

        yield start


def test_a_migration(pair: Callable[..., Pair], pki: Path, channel: Any) -> None:
    relays = pair(TlsCredentials(pki, authz=("alice",)), TlsCredentials(pki))
    data = bytes(channel(0).send({1: 65, 9: 66, 100: 0}).sync().data)
    main = relays.connect(MAIN)
    source = relays.connect(data)
    source.shutdown(socket.SHUT_WR)
    main.shutdown(socket.SHUT_WR)
    back = bytearray()
    while piece := main.recv(1 << 16):
        back += piece
    relays.until(lambda: len(relays.ended) == 2)
    assert [each.error for each in relays.ended] == [None, None]
    assert back == relays.destination.answer
    assert relays.destination.main() == [MAIN]
    assert relays.destination.channels()[0] == data
    assert relays.refused == []


def test_an_egress_that_is_not_let_in(pair: Callable[..., Pair], pki: Path, bob: Path) -> None:
    relays = pair(TlsCredentials(pki, authz=("alice",)), TlsCredentials(bob))
    main = relays.connect(MAIN)
    assert ended(main)
    relays.until(lambda: relays.ended and relays.refused)
    for said in (str(relays.ended[0].error), relays.refused[0]):
        assert "CN=bob' is not among those let in here" in said
    assert relays.destination.streams == []


def test_tls_at_the_ingress_alone(pair: Callable[..., Pair], pki: Path) -> None:
    """The source's connection ends; each relay says what is missing, and serves on."""
    relays = pair(TlsCredentials(pki), None)
    assert ended(relays.connect(MAIN))
    relays.until(lambda: relays.ended and relays.refused)
    assert [str(each.error) for each in relays.ended] == [
        f"{relays.ingress.address} asks for TLS; remedy: --tls-creds here, too"
    ]
    (said,) = relays.refused
    assert said.endswith(": the peer does not speak TLS; remedy: --tls-creds there, too")
    assert relays.destination.streams == []


def test_tls_at_the_egress_alone(pair: Callable[..., Pair], pki: Path) -> None:
    relays = pair(None, TlsCredentials(pki))
    assert ended(relays.connect(MAIN))
    relays.until(lambda: len(relays.ended) == 2)
    (client,) = (each.peer for each in relays.ended if each.peer.startswith("tcp:"))
    assert {str(each.error) for each in relays.ended} == {
        f"{relays.ingress.address}: the peer does not speak TLS; remedy: --tls-creds there, too",
        f"{client} begins with TLS, which is not asked for here; remedy: --tls-creds at both "
        "ends, or at none",
    }
    assert relays.refused == []
    assert relays.destination.streams == []


def test_a_qemu_that_speaks_tls_to_its_relay(pair: Callable[..., Pair], pki: Path) -> None:
    relays = pair(TlsCredentials(pki), TlsCredentials(pki))
    assert ended(relays.connect(b"\x16\x03\x01" + bytes(300)))
    relays.until(lambda: relays.refused)
    assert "it begins with TLS" in relays.refused[0]
    assert relays.refused[0].endswith("remedy: migrate_set_parameter tls-creds ''")


def test_a_channel_of_another_client(
    pair: Callable[..., Pair], pki: Path, bob: Path, channel: Any
) -> None:
    """It has the token of alice's migration, and may connect: it may not join."""
    relays = pair(TlsCredentials(pki), TlsCredentials(pki))
    main = relays.connect(MAIN)
    relays.until(lambda: [each for each in relays.ingress.live() if each.key])
    (migration,) = relays.ingress.live()
    assert migration.key is not None
    address = parse(relays.ingress.address)
    thief = dial(address, 20, client_links(TlsCredentials(bob), address))
    thief.send([ChannelInit(migration.key, 0).encode()])
    relays.until(lambda: relays.refused)
    thief.close()
    assert "a channel with another certificate than its migration" in relays.refused[0]
    source = relays.connect(bytes(channel(0).send({1: 65}).data))
    source.shutdown(socket.SHUT_WR)
    main.shutdown(socket.SHUT_WR)
    relays.until(lambda: len(relays.ended) == 2)
    assert [each.error for each in relays.ended] == [None, None]


def test_listening_to_other_hosts(pki: Path, tmp_path: Path) -> None:
    """The link may, under TLS; what leads to a QEMU may not, whatever protects the link."""
    onward = "tcp:127.0.0.1:1"
    credentials = TlsCredentials(pki)
    Ingress("tcp:0.0.0.0:0", onward, tls=credentials).close()
    with pytest.raises(UsageError, match="remedy: --tls-creds DIR"):
        Ingress("tcp:0.0.0.0:0", onward)
    for tls in (None, credentials):
        with pytest.raises(UsageError, match="remedy: unix:PATH or tcp:127"):
            Egress("tcp:0.0.0.0:0", onward, codec="none", tls=tls)
    with pytest.raises(UsageError, match="remedy: unix:PATH or tcp:127"):
        Recorder("tcp:0.0.0.0:0", onward, tmp_path / "recording")
    Ingress("tcp:0.0.0.0:0", onward, insecure=True).close()
    Egress("tcp:0.0.0.0:0", onward, codec="none", insecure=True).close()
    Recorder("tcp:0.0.0.0:0", onward, tmp_path / "recording", insecure=True).close()


def test_more_migrations_than_are_allowed(
    pair: Callable[..., Pair], pki: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("codecs_core.gateway.relay._MIGRATIONS", 1)
    relays = pair(TlsCredentials(pki), TlsCredentials(pki))
    relays.connect(MAIN)
    relays.until(lambda: relays.egress.live())
    assert ended(relays.connect(MAIN))
    relays.until(lambda: relays.refused)
    assert relays.refused[0].endswith("1 migrations are under way already")
