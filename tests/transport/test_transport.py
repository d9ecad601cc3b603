"""Addresses, and the links they lead to."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from codecs_core import LinkError, LinkTimeout, UsageError
from codecs_core.transport.address import (
    Address,
    ExecAddress,
    FdAddress,
    TcpAddress,
    UnixAddress,
    parse,
)
from codecs_core.transport.connect import carries_one_stream, dial, listen
from codecs_core.transport.link import Link


@pytest.mark.parametrize(
    ("uri", "address"),
    [
        ("tcp:host:4444", TcpAddress("host", 4444)),
        ("tcp::0", TcpAddress("", 0)),
        ("tcp:[::1]:65535", TcpAddress("::1", 65535)),
        ("tcp:[fe80::1%eth0]:1", TcpAddress("fe80::1%eth0", 1)),
        ("unix:/run/a:b", UnixAddress("/run/a:b")),
        ("unix:" + "\udcff" * 107, UnixAddress("\udcff" * 107)),
        ("fd:3", FdAddress(3)),
        ("exec:nc -U a | cat", ExecAddress("nc -U a | cat")),
    ],
)
def test_parse(uri: str, address: Address) -> None:
    assert parse(uri) == address
    assert str(address) == uri


@pytest.mark.parametrize(
    "uri",
    [
        "", "tcp", "tcp:", "tcp:host", "tcp:host:", "tcp:host:x", "tcp:host:65536", "tcp:a:b:1",
        "tcp:::1:1", "tcp:host:-1", "unix:", "unix:" + "x" * 108, "unix:a\0b", "fd:", "fd:x",
        "fd:-1", "exec:", "exec: ", "udp:host:1", "host:1", "TCP:host:1", "unix:\ud800",
        "tcp:\udc9c:1", "tcp:" + "x" * 64 + ":1", "tcp:a..b:1", "tcp:a\0b:1", "tcp:a:\u0663",
    ],
)  # fmt: skip
def test_parse_refuses(uri: str) -> None:
    with pytest.raises(UsageError) as error:
        parse(uri)
    assert repr(uri) in str(error.value)


@pytest.fixture
def pair() -> Iterator[tuple[Link, Link]]:
    ours, theirs = (Link(each, "the peer") for each in socket.socketpair())
    yield ours, theirs
    ours.close()
    theirs.close()


@pytest.mark.parametrize("uri", ["tcp:127.0.0.1:0", "tcp:[::1]:0", "tcp::0", "tcp:localhost:0"])
def test_tcp(uri: str) -> None:
    listener = listen(parse(uri), insecure=True)
    ours = dial(parse(listener.address), 5)
    theirs = listener.accept()
    assert theirs is not None
    theirs.send([b"hello"])
    assert ours.receive_exactly(5) == b"hello"
    for each in (ours, theirs, listener):
        each.close()


@pytest.fixture
def over_tcp() -> Iterator[tuple[Link, Link]]:
    listener = listen(parse("tcp:127.0.0.1:0"))
    ours = dial(parse(listener.address), 5)
    theirs = listener.accept()
    assert theirs is not None
    yield ours, theirs
    for each in (ours, theirs, listener):
        each.close()


def test_who_is_near(over_tcp: tuple[Link, Link], pair: tuple[Link, Link]) -> None:
    """By the addresses, which unix sockets do not have."""
    assert [each.near for each in (*over_tcp, *pair)] == [True, True, False, False]
    over_tcp[0].close()
    assert not over_tcp[0].near


def test_the_kernel_takes_no_more_than_the_limit(over_tcp: tuple[Link, Link]) -> None:
    """The peer does not read: what it has no room for is the backlog."""
    ours, theirs = over_tcp
    ours.limit_backlog(64 << 10)
    ours.set_timeout(send=0.2)
    with pytest.raises(LinkTimeout):
        while True:
            ours.send([bytes(16 << 10)])
    backlog = ours.backlog()
    assert backlog is not None
    assert 32 << 10 <= backlog <= 96 << 10
    theirs.close()


def test_a_limit_where_there_is_none_to_set(pair: tuple[Link, Link]) -> None:
    pair[0].limit_backlog(64 << 10)
    pair[0].send([b"hello"])
    assert pair[1].receive_exactly(5) == b"hello"


def test_unix(tmp_path: Path) -> None:
    uri = f"unix:{tmp_path}/s"
    with pytest.raises(LinkError, match=f"connecting to {uri}: No such file"):
        dial(parse(uri), 5)
    listener = listen(parse(uri))
    with pytest.raises(LinkError, match=f"listening on {uri}: Address already in use"):
        listen(parse(uri))
    ours = dial(parse(uri), 5)
    theirs = listener.accept()
    assert theirs is not None
    for each in (ours, theirs, listener):
        each.close()
    assert not (tmp_path / "s").exists()


def test_unix_socket_of_a_dead_process(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(f"{tmp_path}/s")
    listen(parse(f"unix:{tmp_path}/s")).close()


def test_unix_path_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "s").write_text("mine")
    with pytest.raises(LinkError, match="Address already in use"):
        listen(parse(f"unix:{tmp_path}/s"))
    assert (tmp_path / "s").read_text() == "mine"


def test_fd(tmp_path: Path) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        address = parse(f"fd:{ours.fileno()}")
        assert carries_one_stream(address)
        link = dial(address, 5)
        link.send([b"x"])
        link.close()
        assert theirs.recv(1) == b"x"
        assert ours.fileno() >= 0
    with pytest.raises(UsageError, match="Bad file descriptor"):
        dial(address, 5)
    with (tmp_path / "file").open("w") as file, pytest.raises(UsageError, match="is not a socket"):
        dial(parse(f"fd:{file.fileno()}"), 5)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        with pytest.raises(UsageError, match="not a stream socket"):
            dial(parse(f"fd:{udp.fileno()}"), 5)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        address = parse(f"fd:{listening.fileno()}")
        assert not carries_one_stream(address)
        with pytest.raises(UsageError, match="listens; it takes a connected socket"):
            dial(address, 5)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_peers_of_a_socket_for_both_families(host: str) -> None:
    """As systemd makes them: who comes by IPv4 is told by that address."""
    server = socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True)
    with server, socket.create_connection((host, server.getsockname()[1])) as peer:
        listener = listen(parse(f"fd:{server.fileno()}"))
        link = listener.accept()
        assert link is not None
        assert link.peer == str(TcpAddress(host, peer.getsockname()[1]))
        link.close()
        listener.close()


def test_exec() -> None:
    link = dial(parse("exec:tr a-z A-Z"), 5)
    link.send([b"hello"])
    link.end()
    assert link.receive_exactly(5) == b"HELLO"
    assert link.receive_exactly(1) is None
    link.close()
    link = dial(parse("exec:exit 3"), 5)
    assert link.receive_exactly(1) is None
    link.close()


def test_many_buffers_arrive_in_order(pair: tuple[Link, Link]) -> None:
    """More than the socket takes at once, cut anywhere."""
    ours, theirs = pair
    buffers = [os.urandom(size) for size in (1, 0, 300_000, 7, 1_000_000)]
    whole = b"".join(buffers)
    thread = threading.Thread(target=ours.send, args=(buffers,))
    thread.start()
    received = bytearray()
    while len(received) < len(whole):
        received += theirs.receive_available(99_991)
    thread.join()
    assert received == whole


def test_an_end_inside_a_message(pair: tuple[Link, Link]) -> None:
    ours, theirs = pair
    ours.send([b"abc"])
    ours.end()
    with pytest.raises(LinkError, match="the peer closed the connection inside a message"):
        theirs.receive_exactly(4)


def test_silence(pair: tuple[Link, Link]) -> None:
    ours, theirs = pair
    ours.set_timeout(receive=0.05)
    with pytest.raises(LinkTimeout, match=r"the peer was silent for 0\.05 s"):
        ours.receive_exactly(1)
    theirs.send([b"x"])
    assert ours.receive_exactly(1) == b"x"


def test_abort_wakes_who_receives_and_who_sends(pair: tuple[Link, Link]) -> None:
    _, theirs = pair
    ended = []

    def receive() -> None:
        ended.append(theirs.receive_exactly(1))

    def send() -> None:
        try:
            while True:
                theirs.send([bytes(1 << 20)])
        except LinkError as error:
            ended.append(error)

    threads = [threading.Thread(target=each) for each in (receive, send)]
    for thread in threads:
        thread.start()
    theirs.abort()
    for thread in threads:
        thread.join(30)
    assert len(ended) == 2


def test_the_last_words_arrive(pair: tuple[Link, Link]) -> None:
    """What was sent before `close` is read, though the peer's own bytes were never taken."""
    listener = listen(parse("tcp:127.0.0.1:0"))
    ours = dial(parse(listener.address), 5)
    theirs = listener.accept()
    assert theirs is not None
    theirs.send([bytes(1000)])
    ours.send([b"the reason"])
    closing = threading.Thread(target=ours.close, kwargs={"drain": True})
    closing.start()
    assert theirs.receive_exactly(10) == b"the reason"
    theirs.close()
    closing.join()
    listener.close()
