"""The pages over HTTP, and visitors that mean no good."""

from __future__ import annotations

import gc
import http.client
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from codecs_core.errors import LinkError, UsageError
from codecs_core.monitor import endpoint
from codecs_core.monitor.endpoint import Endpoint

WAIT = 10


def broken(accept: str) -> tuple[str, bytes]:
    raise RuntimeError(f"{accept} cannot be had")


PAGES = {
    "/hello": lambda accept: ("text/plain", f"hello, {accept}".encode()),
    "/long": lambda accept: ("text/plain", bytes(8 << 20)),
    "/broken": broken,
}


@pytest.fixture(autouse=True)
def nothing_left_behind() -> Iterator[None]:
    threads, files = set(threading.enumerate()), len(os.listdir("/proc/self/fd"))
    yield
    assert set(threading.enumerate()) <= threads
    assert len(os.listdir("/proc/self/fd")) <= files


@pytest.fixture
def served() -> Iterator[Endpoint]:
    with Endpoint("tcp:127.0.0.1:0", PAGES) as serving:
        yield serving


def port(serving: Endpoint) -> int:
    return int(serving.address.rpartition(":")[2])


def connect(serving: Endpoint) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port(serving)), WAIT)


def get(serving: Endpoint, path: str, method: str = "GET", **headers: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port(serving), timeout=WAIT)
    try:
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def everything(sock: socket.socket) -> bytes:
    """What comes until the end, even a rude one."""
    data = b""
    try:
        while piece := sock.recv(1 << 16):
            data += piece
    except ConnectionResetError:
        pass
    return data


def test_pages(served: Endpoint) -> None:
    assert get(served, "/hello", Accept="x/y") == (200, b"hello, x/y")
    assert get(served, "/hello?name[]=a", Accept="z") == (200, b"hello, z")
    assert get(served, "/hello", "HEAD") == (200, b"")
    assert get(served, "/long") == (200, bytes(8 << 20))


def test_what_is_not_there(served: Endpoint) -> None:
    assert get(served, "/") == (404, b"there is /hello, /long, /broken\n")
    assert get(served, "/hello", "POST")[0] == 405
    assert get(served, "/broken", Accept="x/y") == (500, b"RuntimeError: x/y cannot be had\n")
    assert get(served, "/hello", Accept="1")[0] == 200


@pytest.mark.parametrize(
    ("sent", "answer"),
    [
        (b"\r\n\r\n", b"HTTP/1.1 400 "),
        (b"GET /hello\r\n\r\n", b"HTTP/1.1 400 "),
        (b"GET  /hello HTTP/1.1\r\n\r\n", b"HTTP/1.1 400 "),
        (b"GET /hello HTTP/2\r\n\r\n", b"HTTP/1.1 400 "),
        (b"GET /\xff\x1b HTTP/1.1\r\n\r\n", b"HTTP/1.1 404 "),
        (b"GET /hello HTTP/1.1\r\n" + b"a: b\r\n" * 200 + b"\r\n", b"HTTP/1.1 400 "),
        (b"GET /hello HTTP/1.1\r\nno colon\r\n\xff\r\n\r\n", b"HTTP/1.1 200 "),
        (b"GET /hello HTTP/1.1\r\nAccept: " + b"x" * 20_000, b""),
        (b"\x16\x03\x01" + bytes(20_000), b""),
        (b"", b""),
        (b"GET /hel", b""),
    ],
    ids=range(11),
)
def test_hostile_requests(served: Endpoint, sent: bytes, answer: bytes) -> None:
    with connect(served) as visitor:
        visitor.sendall(sent)
        visitor.shutdown(socket.SHUT_WR)
        assert everything(visitor)[: len(answer) or 1] == answer
    assert get(served, "/hello")[0] == 200


def test_the_slow_are_let_go(served: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who sends too slowly, and who does not take what he asked for."""
    monkeypatch.setattr(endpoint, "_PATIENCE", 0.2)
    with connect(served) as silent, connect(served) as greedy:
        greedy.sendall(b"GET /long HTTP/1.1\r\n\r\n")
        assert everything(silent) == b""
        time.sleep(0.3)
        assert len(everything(greedy)) < 8 << 20


def test_many_hold_nobody_up(served: Endpoint) -> None:
    """In one thread, and with a bounded number of descriptors."""
    threads, files = threading.active_count(), len(os.listdir("/proc/self/fd"))
    crowd = [connect(served) for _ in range(60)]
    try:
        assert get(served, "/hello")[0] == 200
        assert threading.active_count() == threads
        assert everything(crowd[0]) == b"", "the oldest had to go"
        assert everything(crowd[30]) == b""
        # Both ends are in this process.
        assert len(os.listdir("/proc/self/fd")) <= files + 60 + endpoint._VISITORS
    finally:
        for each in crowd:
            each.close()


def test_the_end_waits_for_nobody() -> None:
    started = time.monotonic()
    with Endpoint("tcp:127.0.0.1:0", PAGES) as served, connect(served) as visitor:
        visitor.sendall(b"GET /hel")
        assert get(served, "/hello")[0] == 200
    assert time.monotonic() - started < endpoint._PATIENCE


def test_ipv6() -> None:
    with Endpoint("tcp:[::1]:0", PAGES) as served:
        assert served.address.startswith("tcp:[::1]:")
        with socket.create_connection(("::1", port(served)), WAIT) as visitor:
            visitor.sendall(b"GET /hello HTTP/1.0\r\n\r\n")
            assert everything(visitor).endswith(b"\r\n\r\nhello, ")


def test_an_end_while_it_begins(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """By Ctrl-C, for who could not enter does not exit: see `nothing_left_behind`."""
    made = Endpoint(f"unix:{tmp_path}/socket", PAGES)
    wait, calls = made._ready.wait, iter([KeyboardInterrupt])

    def interrupted() -> bool:
        if each := next(calls, None):
            raise each
        return wait()

    monkeypatch.setattr(made._ready, "wait", interrupted)
    with pytest.raises(KeyboardInterrupt):
        made.__enter__()
    assert not (tmp_path / "socket").exists()


def test_a_unix_socket_is_its_owners(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with Endpoint(f"unix:{path}", PAGES):
        assert path.stat().st_mode & 0o777 == 0o600
        with socket.socket(socket.AF_UNIX) as visitor:
            visitor.connect(str(path))
            visitor.sendall(b"GET /hello HTTP/1.1\r\n\r\n")
            assert everything(visitor).endswith(b"\r\n\r\nhello, ")
    assert not path.exists()


def test_other_hosts_are_let_in_by_name_only() -> None:
    with pytest.raises(UsageError, match=r"other hosts.*remedy: unix:PATH or .*--insecure"):
        Endpoint("tcp:0.0.0.0:0", PAGES)
    with Endpoint("tcp:0.0.0.0:0", PAGES, insecure=True) as served:
        assert get(served, "/hello")[0] == 200


@pytest.mark.parametrize("uri", ["exec:cat", "carrier pigeon"])
def test_what_is_no_place_to_serve_at(uri: str) -> None:
    with pytest.raises(UsageError):
        Endpoint(uri, PAGES)


def test_a_port_in_use(served: Endpoint) -> None:
    with pytest.raises(LinkError, match="Address already in use"):
        Endpoint(served.address, PAGES)


def test_the_end_comes_while_others_come_in(recwarn: pytest.WarningsRecorder) -> None:
    """Nobody is left half let in: `nothing_left_behind` counts descriptors, too."""
    for _ in range(4):
        ended = threading.Event()

        def knock(address: tuple[str, int], ended: threading.Event = ended) -> None:
            while not ended.is_set():
                with suppress(OSError), socket.create_connection(address, WAIT) as visitor:
                    visitor.sendall(b"GET /hello HTTP/1.1\r\n\r\n")

        with Endpoint("tcp:127.0.0.1:0", PAGES) as served:
            place = ("127.0.0.1", port(served))
            visitors = [threading.Thread(target=knock, args=(place,)) for _ in range(3)]
            for each in visitors:
                each.start()
            time.sleep(0.03)
        ended.set()
        for each in visitors:
            each.join()
    gc.collect()
    assert not recwarn.list
