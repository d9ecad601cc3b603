"""Sessions in one process, peers that follow a script, and a look at what they leave behind."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any
from uuid import UUID

import pytest

from codecs_core import Geometry, Receiver
from codecs_core.wire import control
from codecs_core.wire.packet import ChannelInit, PacketHeader

WAIT = 30
GEOMETRY = Geometry(page_size=512, packet_size=2048)
"""Small, so that every cut of a session can be tried."""


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.fixture(autouse=True)
def nothing_left_behind() -> Iterator[None]:
    """No thread and no descriptor outlives a test."""
    threads, files = set(threading.enumerate()), open_files()
    yield
    deadline = time.monotonic() + WAIT
    while time.monotonic() < deadline:
        if set(threading.enumerate()) <= threads and open_files() <= files:
            return
        time.sleep(0.01)
    assert set(threading.enumerate()) <= threads
    assert open_files() <= files


class Running:
    """A call that runs in a thread of its own; `result` waits for it."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self._function = function
        self._value: Any = None
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=arguments)
        self._thread.start()

    def _run(self, *arguments: Any) -> None:
        try:
            self._value = self._function(*arguments)
        except BaseException as error:
            self.error = error

    def wait(self) -> BaseException | None:
        """Wait for the end; return what was raised."""
        self._thread.join(WAIT)
        assert not self._thread.is_alive(), "it hangs"
        return self.error

    def result(self) -> Any:
        error = self.wait()
        if error is not None:
            raise error
        return self._value


class Peer:
    """Plays one end by hand: raw sockets, and messages of the control connection."""

    def __init__(self, sock: socket.socket, address: str = "") -> None:
        self.control = sock
        self.control.settimeout(WAIT)
        self.address = address
        self.sockets = [sock]

    # What both ends say.

    def send(self, message: control.Message) -> None:
        self.control.sendall(control.encode(message))

    def receive(self) -> control.Message:
        """The next message that is not a sign of life."""
        while True:
            kind, length = control.decode_frame_header(self._exactly(control.FRAME_HEADER_SIZE))
            message = control.decode(kind, self._exactly(length))
            if not isinstance(message, control.KeepAlive):
                return message

    def reason(self) -> str | None:
        """Why the other end gave up, if it says."""
        try:
            while True:
                message = self.receive()
                if isinstance(message, control.Error | control.Reject):
                    return message.reason
        except (EOFError, OSError):
            return None

    def close(self) -> None:
        for each in self.sockets:
            each.close()

    def _exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            piece = self.control.recv(size - len(data))
            if not piece:
                raise EOFError
            data += piece
        return data

    @contextmanager
    def alive(self) -> Iterator[None]:
        """Show life while the body runs."""
        done = threading.Event()

        def beat() -> None:
            with suppress(OSError):
                while not done.wait(0.1):
                    self.send(control.KeepAlive())

        beating = Running(beat)
        try:
            yield
        finally:
            done.set()
            beating.result()

    # The sender's part.

    def hello(self, **changes: Any) -> control.Hello:
        values: dict[str, Any] = {
            "page_size": GEOMETRY.page_size,
            "packet_size": GEOMETRY.packet_size,
            "channels": 1,
            "codec": "none",
            "parameters": {},
            "blocks": [control.BlockInfo("ram", 4096)],
        }
        return control.Hello(**(values | changes))

    def agree(self, **changes: Any) -> UUID:
        """Say HELLO and return the token of the answer."""
        self.control.sendall(control.PREAMBLE)
        self.send(self.hello(**changes))
        answer = self.receive()
        assert isinstance(answer, control.Accept), answer
        return UUID(answer.token)

    def connect(self) -> socket.socket:
        """Open another connection to the receiver."""
        host, port = self.address.removeprefix("tcp:").split(":")
        sock = socket.create_connection((host, int(port)), WAIT)
        self.sockets.append(sock)
        return sock

    def channel(self, token: UUID, number: int = 0) -> socket.socket:
        """Join as a channel."""
        sock = self.connect()
        sock.sendall(ChannelInit(token, number).encode())
        return sock


def packet(data: bytes, *offsets: int, **changes: Any) -> bytes:
    """A packet of normal pages as ``none`` writes it; ``changes`` go to the header's fields."""
    values: dict[str, Any] = {
        "method": 0,
        "packet_num": 7,
        "normal_pages": len(offsets),
        "next_packet_size": len(data),
        "block": "ram",
        "offsets": b"".join(offset.to_bytes(8) for offset in offsets),
        "pages_alloc": GEOMETRY.pages_per_packet,
    }
    return PacketHeader(**(values | changes)).encode(GEOMETRY) + data


@pytest.fixture
def memory() -> bytearray:
    """What the receiver of `against_receiver` stores into."""
    return bytearray(4096)


@pytest.fixture
def against_receiver(memory: bytearray) -> Iterator[tuple[Peer, Running]]:
    """A peer that plays the sender against a real receiver, and that receiver's call."""
    with Receiver("tcp:127.0.0.1:0", timeout=1.0) as receiver:
        receiver.add_block("ram", memory)
        host, port = receiver.address.removeprefix("tcp:").split(":")
        running = Running(receiver.receive)
        peer = Peer(socket.create_connection((host, int(port)), WAIT), receiver.address)
        yield peer, running
        peer.close()
        running.wait()


@pytest.fixture
def script() -> Iterator[Callable[[Callable[[Peer, socket.socket], None]], str]]:
    """Start a listener that plays the receiver by a script; return its address.

    The script gets the peer, whose preamble and HELLO have been read, and the listening socket.
    """
    running: list[Running] = []
    listeners: list[socket.socket] = []

    def start(play: Callable[[Peer, socket.socket], None]) -> str:
        listener = socket.create_server(("127.0.0.1", 0))
        listeners.append(listener)

        def serve() -> None:
            sock, _ = listener.accept()
            peer = Peer(sock)
            try:
                assert peer._exactly(control.PREAMBLE_SIZE) == control.PREAMBLE
                assert isinstance(peer.receive(), control.Hello)
                with suppress(OSError, EOFError):
                    play(peer, listener)
            finally:
                peer.close()

        running.append(Running(serve))
        return f"tcp:127.0.0.1:{listener.getsockname()[1]}"

    yield start
    for each in running:
        each.result()
    for listener in listeners:
        listener.close()
