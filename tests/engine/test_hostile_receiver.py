"""A receiver that breaks the rules, against a real sender."""

from __future__ import annotations

import selectors
import socket
from collections.abc import Callable

import pytest

from codecs_core import (
    CodecsCoreError,
    LinkError,
    LinkTimeout,
    ProtocolError,
    RemoteError,
    Sender,
)
from codecs_core.wire import control

from .conftest import WAIT, Peer

Script = Callable[[Callable[[Peer, socket.socket], None]], str]
TOKEN = "0123456789abcdef" * 2


def send(address: str, pages: int = 64, *, timeout: float = WAIT) -> None:
    with Sender(address, timeout=timeout) as sender:
        sender.add_block("ram", b"x" * 4096 * pages)
        sender.send()


def accept_channels(peer: Peer, listener: socket.socket) -> None:
    """Agree to everything, and take both channels in."""
    peer.send(control.Accept(TOKEN))
    for _ in range(2):
        sock, _ = listener.accept()
        sock.settimeout(30)
        peer.sockets.append(sock)


def drain(peer: Peer) -> None:
    """Take what the channels bring until they end."""
    with selectors.DefaultSelector() as selector:
        for sock in peer.sockets[1:]:
            selector.register(sock, selectors.EVENT_READ)
        while selector.get_map():
            for key, _ in selector.select():
                assert isinstance(key.fileobj, socket.socket)
                if not key.fileobj.recv(1 << 16):
                    selector.unregister(key.fileobj)


def test_refuses(script: Script) -> None:
    address = script(lambda peer, listener: peer.send(control.Reject("no room; make some")))
    with pytest.raises(RemoteError, match=f"^{address} refuses: no room; make some$"):
        send(address)


def test_fails_at_once(script: Script) -> None:
    address = script(lambda peer, listener: peer.send(control.Error("it broke")))
    with pytest.raises(RemoteError, match=r"^it broke$"):
        send(address)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (control.encode(control.Ack()), "answered ACK to HELLO"),
        (control.encode(control.Done(0, 0, 0, {})), "answered DONE to HELLO"),
        (b"\2\0\0\0\x0d" + b'{"token":"x"}', "ACCEPT message: "),
        (b"\2\xff\xff\xff\xff", "an? ACCEPT of 4294967295 bytes; the limit is"),
        (b"\0\0\0\0\0", "control message of unknown type 0"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "control message of unknown type 72"),
    ],
)
def test_answers_nonsense(script: Script, answer: bytes, message: str) -> None:
    seen: list[str | None] = []

    def play(peer: Peer, listener: socket.socket) -> None:
        peer.control.sendall(answer)
        seen.append(peer.reason())

    with pytest.raises(ProtocolError, match=message):
        send(script(play))


def test_never_answers(script: Script) -> None:
    address = script(lambda peer, listener: peer._exactly(1) and None)
    with pytest.raises(LinkTimeout, match=f"{address} was silent for 0.5 s"):
        send(address, timeout=0.5)


def test_goes_before_it_answers(script: Script) -> None:
    with pytest.raises(LinkError, match="disappeared"):
        send(script(lambda peer, listener: None))


def test_fails_while_pages_come(script: Script) -> None:
    def play(peer: Peer, listener: socket.socket) -> None:
        accept_channels(peer, listener)
        peer.send(control.Error("the disk is full"))
        drain(peer)

    with pytest.raises(RemoteError, match=r"^the disk is full$"):
        send(script(play), pages=50_000)


def test_goes_while_pages_come(script: Script) -> None:
    with pytest.raises(LinkError):
        send(script(accept_channels), pages=50_000)


def test_takes_no_pages_but_lives_no_more(script: Script) -> None:
    """Channels have no timeout; the control connection tells that nobody is there."""

    def play(peer: Peer, listener: socket.socket) -> None:
        accept_channels(peer, listener)
        peer.reason()

    with pytest.raises(LinkTimeout, match=r"was silent for 0\.5 s"):
        send(script(play), pages=50_000, timeout=0.5)


def test_is_slow_but_lives(script: Script) -> None:
    """A receiver that takes nothing for longer than the timeout, and shows life, is waited for."""

    def play(peer: Peer, listener: socket.socket) -> None:
        accept_channels(peer, listener)
        peer.control.settimeout(0.1)
        for _ in range(30):
            peer.send(control.KeepAlive())
            with pytest.raises(TimeoutError):
                while True:
                    peer.receive()
        peer.control.settimeout(30)
        drain(peer)
        assert isinstance(peer.receive(), control.Done)
        peer.send(control.Ack())

    send(script(play), pages=50_000, timeout=2)


@pytest.mark.parametrize(
    "message", [control.Synced(1), control.Synced(7), control.Accept(TOKEN), control.Reject("x")]
)
def test_says_what_is_not_due(script: Script, message: control.Message) -> None:
    def play(peer: Peer, listener: socket.socket) -> None:
        accept_channels(peer, listener)
        peer.send(message)
        drain(peer)
        peer.reason()

    with pytest.raises(ProtocolError, match=f"sent {message.type.name} where none was due"):
        send(script(play))


def test_acknowledges_too_early(script: Script) -> None:
    def play(peer: Peer, listener: socket.socket) -> None:
        accept_channels(peer, listener)
        peer.send(control.Ack())
        drain(peer)
        peer.reason()

    with pytest.raises(CodecsCoreError, match="ACK where none was due"):
        send(script(play), pages=50_000)
