"""Asking for a status: a command that answers, and whatever else may listen there."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from codecs_core.engine.progress import ChannelProgress, Progress
from codecs_core.errors import LinkError, LinkTimeout, ProtocolError
from codecs_core.monitor import status
from codecs_core.monitor.endpoint import Endpoint
from codecs_core.monitor.ledger import Ledger
from codecs_core.monitor.status import fetch, render
from codecs_core.transport.address import parse

DONE = Progress(
    "zstd", 4096, 2.0, None, 0, 3, (ChannelProgress(0, 1, 2, 3, 4, 0.5, 0.25, {"retries": 1}),)
)


@pytest.fixture
def answering() -> Iterator[Callable[[bytes], str]]:
    """Something that answers with these bytes, at the address returned."""
    threads: list[threading.Thread] = []

    def start(*answer: bytes, pause: float = 0.0) -> str:
        listener = socket.create_server(("127.0.0.1", 0))

        def serve() -> None:
            with listener, listener.accept()[0] as visitor:
                visitor.recv(1 << 16)
                try:
                    for each in answer:
                        visitor.sendall(each)
                        time.sleep(pause)
                except OSError:
                    pass

        threads.append(threading.Thread(target=serve))
        threads[-1].start()
        return f"tcp:127.0.0.1:{listener.getsockname()[1]}"

    yield start
    for each in threads:
        each.join()


def test_what_is_told_is_what_is_heard() -> None:
    ledger = Ledger("egress", "1.0")
    ledger.end(ledger.begin("a", lambda: DONE))
    ledger.begin("b", lambda: DONE)
    with Endpoint("tcp:127.0.0.1:0", {status.PATH: lambda accept: render(ledger)}) as served:
        heard = fetch(parse(served.address), 5)
    assert (heard.role, heard.version, heard.completed) == ("egress", "1.0", 1)
    (session,) = heard.sessions
    assert (session.number, session.peer, session.progress) == (2, "b", DONE)
    assert 0 < heard.seconds < 60


def sound() -> dict[str, object]:
    return json.loads(render(Ledger("sender", "1.0"))[1])


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"SSH-2.0-OpenSSH_9.2\r\n", "answers not in HTTP"),
        (b"HTTP/1.1 404 Not Found\r\n\r\n", "answers with status 404"),
        (b"HTTP/1.1 200 OK\r\n\r\n", "is no status"),
        (b"HTTP/1.1 200 OK\r\n\r\n{}", "is no status"),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b"[" * 100_000, "is no status"),
        (b"HTTP/1.1 200 OK\r\n\r\n\xff\xfe", "is no status"),
        (
            b"HTTP/1.1 200 OK\r\n\r\n" + json.dumps(sound() | {"sessions": [{}]}).encode(),
            "is no status",
        ),
        (
            b"HTTP/1.1 200 OK\r\n\r\n" + json.dumps(sound() | {"role": "\x1b[2J"}).encode(),
            "is no status",
        ),
        (
            b"HTTP/1.1 200 OK\r\n\r\n"
            + json.dumps(sound() | {"x": 0}).replace('"x": 0', '"x": ' + "[" * 9999).encode(),
            "is no status",
        ),
        (
            b"HTTP/1.1 200 OK\r\n\r\n" + json.dumps(sound() | {"completed": -1}).encode(),
            "a count of -1",
        ),
        (
            b"HTTP/1.1 200 OK\r\n\r\n" + json.dumps(sound() | {"seconds": 1e300}).encode(),
            r"a count of 1e\+300",
        ),
    ],
    ids=range(11),
)
def test_hostile_answers(answering: Callable[..., str], answer: bytes, said: str) -> None:
    with pytest.raises(ProtocolError, match=said):
        fetch(parse(answering(answer)), 5)


def test_no_answer(answering: Callable[..., str]) -> None:
    """As from a command that ends at this moment."""
    with pytest.raises(LinkError, match="without an answer"):
        fetch(parse(answering(b"")), 5)


def test_what_is_too_long(answering: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status, "_LIMIT", 1 << 20)
    with pytest.raises(ProtocolError, match="more than 1048576 bytes"):
        fetch(parse(answering(bytes(1 << 22))), 5)


def test_what_takes_too_long(answering: Callable[..., str]) -> None:
    drops = [b"H", b"T", b"T", b"P", b"/"] * 20
    with pytest.raises(LinkTimeout, match=r"in 0\.3 s"):
        fetch(parse(answering(*drops, pause=0.05)), 0.3)


def test_who_falls_silent_has_no_more_time_than_others(answering: Callable[..., str]) -> None:
    """Not once more what there was for all of it."""
    with pytest.raises(LinkTimeout, match=r"has not ended its answer in 0\.4 s"):
        fetch(parse(answering(b"H", b"T", pause=0.3)), 0.4)


def test_nobody_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(LinkError, match=f"connecting to tcp:127.0.0.1:{port}"):
        fetch(parse(f"tcp:127.0.0.1:{port}"), 5)
