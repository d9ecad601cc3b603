"""Links under TLS do what links do, and notice what was done to them on the way."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from codecs_core import LinkError, LinkTimeout, TlsCredentials, TlsError, UsageError
from codecs_core.transport.address import parse
from codecs_core.transport.connect import dial, listen
from codecs_core.transport.link import Link
from codecs_core.transport.tls_link import client_links, server_links
from tests.engine.conftest import Running

UNIX = parse("unix:/here")
Ends = tuple[Link, Link]


def greeted(ours: socket.socket, theirs: socket.socket, pki: Path) -> Ends:
    """The dialling end, and the listening one."""
    credentials = TlsCredentials(pki, hostname="localhost")
    client = client_links(credentials, UNIX)(ours, "the server")
    server = server_links(credentials)(theirs, "the client")
    greeting = Running(client.greet, 30)
    deadline = time.monotonic() + 30
    while server.receive_now(1) is None and server.certificate is None:
        assert time.monotonic() < deadline
    greeting.result()
    return client, server


@pytest.fixture
def pair(pki: Path) -> Iterator[Ends]:
    ends = greeted(*socket.socketpair(), pki)
    yield ends
    for each in ends:
        each.close()


@pytest.fixture
def tapped(pki: Path) -> Iterator[tuple[Ends, socket.socket, Callable[[], bytes]]]:
    """A pair; what its server reads from; and what takes the client's bytes off the way."""
    ours, hidden = socket.socketpair()
    way, theirs = socket.socketpair()
    done = threading.Event()

    def carry(source: socket.socket, target: socket.socket) -> None:
        while not done.is_set():
            try:
                data = source.recv(1 << 16)
            except TimeoutError:
                continue
            if not data:
                return
            target.sendall(data)

    for each in (hidden, way):
        each.settimeout(0.05)
    carriers = [Running(carry, hidden, way), Running(carry, way, hidden)]
    ends = greeted(ours, theirs, pki)
    done.set()
    for each in carriers:
        each.result()
    hidden.settimeout(30)
    yield ends, way, lambda: hidden.recv(1 << 16)
    for each in (*ends, hidden, way):
        each.close()


@pytest.mark.parametrize("sender", [0, 1])
def test_many_buffers_arrive_in_order(pair: Ends, sender: int) -> None:
    ours, theirs = pair[sender], pair[1 - sender]
    buffers = [os.urandom(size) for size in (1, 0, 300_000, 7, 1_000_000)]
    whole = b"".join(buffers)
    sending = Running(ours.send, buffers)
    received = bytearray(len(whole))
    assert theirs.receive_into(memoryview(received)[:99_991]) == 99_991
    assert theirs.receive_into(memoryview(received)[99_991:]) == len(whole) - 99_991
    sending.result()
    assert received == whole


def test_both_ways_at_once_by_many_threads(pair: Ends) -> None:
    """Two threads send and one receives at each end."""
    message = os.urandom(40_000)
    sending = [
        Running(lambda link: [link.send([message]) for _ in range(50)], link)
        for link in pair
        for _ in range(2)
    ]
    receiving = [Running(link.receive_exactly, 100 * len(message)) for link in pair]
    for running in receiving:
        assert running.result() == message * 100
    for running in sending:
        running.result()


def test_each_end_knows_who_the_other_is(pair: Ends) -> None:
    ours, theirs = pair
    assert ours.protected
    assert ours.certificate
    assert theirs.certificate
    assert ours.certificate != theirs.certificate


def test_an_end_is_an_end(pair: Ends) -> None:
    ours, theirs = pair
    ours.send([b"abc"])
    ours.end()
    assert theirs.receive_exactly(3) == b"abc"
    assert theirs.receive_exactly(1) is None
    assert theirs.receive_available(10) == b""
    assert theirs.receive_now(10) == b""


def test_who_has_ended_goes_on_receiving(pair: Ends) -> None:
    """What was on its way then, and what is sent later."""
    ours, theirs = pair
    before, after = os.urandom(100_000), os.urandom(1_000_000)
    theirs.send([before])
    assert ours.receive_exactly(1) == before[:1]
    ours.end()
    ours.end()
    sending = Running(lambda: (theirs.send([after]), theirs.end()))
    assert ours.receive_exactly(len(before) - 1) == before[1:]
    assert ours.receive_exactly(len(after)) == after
    sending.result()
    assert ours.receive_exactly(1) is None
    with pytest.raises(LinkError):
        ours.send([b"x"])


def test_a_cut_is_not_an_end(tapped: tuple[Ends, socket.socket, Callable[[], bytes]]) -> None:
    (ours, theirs), way, take = tapped
    ours.send([b"abc"])
    way.sendall(take())
    way.shutdown(socket.SHUT_WR)
    assert theirs.receive_exactly(3) == b"abc"
    with pytest.raises(LinkError, match="the connection to the client was cut"):
        theirs.receive_exactly(1)


@pytest.mark.parametrize("at", [7, -1])
def test_a_changed_bit_is_noticed(
    tapped: tuple[Ends, socket.socket, Callable[[], bytes]], at: int
) -> None:
    (ours, theirs), way, take = tapped
    ours.send([b"attack at dawn"])
    data = bytearray(take())
    data[at] ^= 1
    way.sendall(data)
    with pytest.raises(TlsError, match="the client: TLS: "):
        theirs.receive_exactly(1)


def test_bytes_a_second_time_are_noticed(
    tapped: tuple[Ends, socket.socket, Callable[[], bytes]],
) -> None:
    (ours, theirs), way, take = tapped
    ours.send([b"once"])
    way.sendall(take() * 2)
    assert theirs.receive_exactly(4) == b"once"
    with pytest.raises(TlsError):
        theirs.receive_exactly(4)


def test_silence(pair: Ends) -> None:
    ours, theirs = pair
    ours.set_timeout(receive=0.05)
    with pytest.raises(LinkTimeout, match=r"was silent for 0\.05 s"):
        ours.receive_exactly(1)
    theirs.send([b"x"])
    assert ours.receive_exactly(1) == b"x"


def test_abort_wakes_who_receives_and_who_sends(pair: Ends) -> None:
    ours, theirs = pair

    def send() -> None:
        while True:
            theirs.send([bytes(1 << 20)])

    receiving, sending = Running(theirs.receive_exactly, 1), Running(send)
    time.sleep(0.1)
    theirs.abort()
    assert isinstance(receiving.wait(), LinkError)
    assert isinstance(sending.wait(), LinkError)
    # Nobody can say goodbye there any more, and it takes no time to see that.
    theirs.end()
    ours.abort()


def test_an_end_does_not_wait_for_who_is_stuck(pair: Ends) -> None:
    """The other end reads nothing: our goodbye is not sent, but the stream is ended."""
    ours, _ = pair

    def send() -> None:
        while True:
            ours.send([bytes(1 << 20)])

    sending = Running(send)
    time.sleep(0.1)
    ours.end()
    assert isinstance(sending.wait(), LinkError)


@pytest.mark.parametrize(
    "uri", ["tcp:127.0.0.1:0", "tcp:[::1]:0", "tcp:localhost:0", "tcp::0", "unix:{}/s"]
)
def test_the_name_is_the_host_that_is_dialled(pki: Path, tmp_path: Path, uri: str) -> None:
    credentials = TlsCredentials(pki)
    listener = listen(parse(uri.format(tmp_path)), server_links(credentials))
    address = parse(listener.address)
    if uri.startswith("unix:"):
        with pytest.raises(UsageError, match="does not tell the name of the server's certificate"):
            client_links(credentials, address)
        credentials = TlsCredentials(pki, hostname="localhost")
    dialling = Running(dial, address, 30, client_links(credentials, address))
    deadline = time.monotonic() + 30
    while (theirs := listener.accept()) is None:
        assert time.monotonic() < deadline
    while theirs.receive_now(1) is None and theirs.certificate is None:
        assert time.monotonic() < deadline
    ours = dialling.result()
    for each in (ours, theirs, listener):
        each.close()


@pytest.mark.parametrize("name", [".example", "a\0b", "x" * 300 + ".example"])
def test_what_is_no_name(pki: Path, name: str) -> None:
    with pytest.raises(UsageError):
        client_links(TlsCredentials(pki, hostname=name), UNIX)


def test_a_server_that_says_nothing(pki: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = parse(f"tcp:127.0.0.1:{silent.getsockname()[1]}")
        with pytest.raises(LinkTimeout, match=r"no TLS handshake in 0\.1 s"):
            dial(address, 0.1, client_links(TlsCredentials(pki), address))


def test_a_server_that_hangs_up(pki: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = parse(f"tcp:127.0.0.1:{server.getsockname()[1]}")
        dialling = Running(dial, address, 30, client_links(TlsCredentials(pki), address))
        sock, _ = server.accept()
        sock.recv(1 << 16)
        sock.close()
        error = dialling.wait()
    assert isinstance(error, LinkError)
    assert "closed the connection in the TLS handshake; does it have --tls-creds" in str(error)
