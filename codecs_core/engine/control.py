"""The control connection at work: framed messages over a link, shared by several threads."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

from xxhash import xxh3_64

from codecs_core.codec import Buffer
from codecs_core.engine.session import Session
from codecs_core.errors import CodecsCoreError, LinkError, ProtocolError, RemoteError
from codecs_core.transport.link import Link
from codecs_core.wire import control as wire

__all__ = ["Control", "reason_of", "receive_body", "receive_header"]

_LAST_WORDS = 1.0
"""Seconds to wait for the connection, should another thread be sending, to tell of a failure."""
_OF_LINKS = (wire.Received, wire.Ended, wire.Lost)
_AGREEING = (wire.Type.HELLO, wire.Type.ACCEPT, wire.Type.HELD)


class Links(Protocol):
    """Takes what the peer says of a session's links."""

    patience: float
    """How many seconds a link may be without a connection."""

    def take(self, message: wire.Received | wire.Ended | wire.Lost) -> None:
        """Take it. Raises `ProtocolError`."""

    def ask(self, numbers: Iterable[int]) -> None:
        """Ask for connections for links that have not joined yet; does not wait."""

    def remind(self) -> None:
        """Tell the peer how much was received of each link."""


class Control:
    """Sends and receives messages on a link. `send` may be called from any thread.

    ``timeout`` is how long, in seconds, the peer may be silent; this side shows life four times
    as often, and tells what `sent` returns. ``told`` is what the peer has told last of what it
    has sent. Should ``session`` fail, the peer is told why. ``agreed`` has taken the bodies of
    the messages by which the two ends have come to an agreement, as they were sent or received;
    ``done`` is that of DONE. ``keeper`` takes what the peer says of links that outlive their
    connections.
    """

    sent: Callable[[], Mapping[int, tuple[int, bool]]] = dict

    def __init__(self, link: Link, timeout: float, session: Session) -> None:
        self.link = link
        self.timeout = timeout
        self.agreed = xxh3_64()
        self.done = b""
        self.told: Mapping[int, tuple[int, bool]] = {}
        self.keeper: Links | None = None
        self._session = session
        self._sending = threading.Lock()
        self._closed = threading.Event()
        self._read_out = threading.Event()
        self._read_out.set()
        link.set_timeout(receive=timeout)
        session.on_failure(self._tell)

    def send(self, message: wire.Message) -> None:
        """Send one message."""
        self.send_buffers([self._encode(message)])

    def offer(self, hello: wire.Hello) -> wire.Accept:
        """Begin the connection: say what is offered, and return what the peer says to it.

        Raises `RemoteError` where it refuses, otherwise as `receive`.
        """
        self.send_buffers([wire.PREAMBLE, self._encode(hello)])
        try:
            answer = self.receive()
        except RemoteError as error:
            if hello.methods and "unknown field" in str(error):
                raise RemoteError(
                    f"{self.link.peer} does not know codec {hello.codec!r} ({error}); remedy: name "
                    "a codec, or install the same release there"
                ) from error
            raise
        if isinstance(answer, wire.Reject):
            raise RemoteError(f"{self.link.peer} refuses: {answer.reason}")
        if not isinstance(answer, wire.Accept):
            raise ProtocolError(f"{self.link.peer} answered {answer.type.name} to HELLO")
        return answer

    def send_buffers(self, buffers: Sequence[Buffer]) -> None:
        """Send whole frames that are encoded already."""
        with self._sending:
            self.link.send(buffers)

    def hint(self, make: Callable[[], wire.Message]) -> bool:
        """Send what ``make`` returns, unless another thread is sending; tell whether."""
        if not self._sending.acquire(blocking=False):
            return False
        try:
            self.link.send([wire.encode(make())])
        finally:
            self._sending.release()
        return True

    def receive(self) -> wire.Message:
        """Return the next message, `KeepAlive` and `Data` frames apart.

        Raises `RemoteError` with the peer's reason for an `Error`, `LinkError` where the peer is
        gone, `LinkTimeout` where it is silent.
        """
        while True:
            kind, length = self.receive_header()
            if kind is wire.Type.DATA:
                raise ProtocolError(f"{self.link.peer} sent DATA where none was agreed")
            message = self.receive_body(kind, length)
            if not isinstance(message, wire.KeepAlive):
                return message

    def receive_header(self) -> tuple[wire.Type, int]:
        """Return the type and length of the next frame."""
        return receive_header(self.link)

    def receive_body(self, kind: wire.Type, length: int) -> wire.Message:
        """Return the message whose header was just received; raises as `receive`."""
        body = receive_body(self.link, length)
        message = wire.decode(kind, body)
        self._remember(kind, body)
        if isinstance(message, wire.Error):
            raise RemoteError(message.reason)
        if isinstance(message, wire.KeepAlive):
            self.told = message.sent
            self._session.notify()
        if self.keeper is not None and isinstance(message, _OF_LINKS):
            self.keeper.take(message)
            return wire.KeepAlive()
        return message

    def start(self, handle: Callable[[wire.Message], bool] | None) -> None:
        """Start to show life, and to hand messages to ``handle``.

        ``handle`` returns whether to go on reading; ``None``: another reads.
        """
        self._session.start("multifd-keepalive", self._show_life)
        if handle is not None:
            self._read_out.clear()
            self._session.start("multifd-control", self._read, handle)

    def send_last(self, message: wire.Message) -> None:
        """Send the message after which the peer may go."""
        self._closed.set()
        self.send(message)

    def close(self, *, drain: bool = False) -> None:
        """End the connection and let the threads of `start` end.

        ``drain``: the peer gets a moment to take what was sent last.
        """
        self._closed.set()
        if drain:
            self.link.end()
            drain = self._read_out.wait(_LAST_WORDS)
        self.link.close(drain=drain)

    def stop(self) -> None:
        """Show life no longer, and wake the reader."""
        self._closed.set()
        self.link.abort()

    def _encode(self, message: wire.Message) -> bytes:
        frame = wire.encode(message)
        self._remember(message.type, frame[wire.FRAME_HEADER_SIZE :])
        return frame

    def _remember(self, kind: wire.Type, body: Buffer) -> None:
        if kind in _AGREEING:
            self.agreed.update(body)
        elif kind is wire.Type.DONE:
            self.done = bytes(body)

    def _read(self, handle: Callable[[wire.Message], bool]) -> None:
        try:
            while handle(self.receive()):
                pass
        except LinkError as error:
            # No reason of the peer's can follow any more, so nothing is gained by waiting.
            if not self._closed.is_set():
                self._session.fail(error)
        finally:
            self._read_out.set()

    def show_life(self) -> None:
        """Tell the peer that this side lives, and what it has sent."""
        with self._sending:
            # Looked at here, so that nothing older is ever told after it.
            self.link.send([wire.encode(wire.KeepAlive(dict(self.sent())))])

    def _show_life(self) -> None:
        while not self._closed.wait(self.timeout / 4):
            try:
                self.show_life()
                if self.keeper is not None:
                    self.keeper.remind()
            except LinkError:
                return

    def _tell(self, error: BaseException) -> None:
        """Give the peer our reason, unless it was the peer that gave us one."""
        told = self._closed.is_set() or isinstance(error, RemoteError)
        self._closed.set()
        self.link.settle()
        if not told and self._sending.acquire(timeout=_LAST_WORDS):
            try:
                self.link.set_timeout(receive=self.timeout, send=_LAST_WORDS)
                self.link.send([wire.encode(wire.Error(reason_of(error)[: wire.MAX_TEXT]))])
            except LinkError:
                pass
            finally:
                self._sending.release()
        self.link.end()


def receive_header(link: Link) -> tuple[wire.Type, int]:
    """Return the type and length of the next frame. Raises `LinkError`, `ProtocolError`."""
    header = link.receive_exactly(wire.FRAME_HEADER_SIZE)
    if header is None:
        raise LinkError(
            f"{link.peer} disappeared: it closed the connection before the transfer was complete"
        )
    return wire.decode_frame_header(header, link.peer)


def receive_body(link: Link, length: int) -> bytearray:
    """Return the body of the frame whose header was just received. Raises `LinkError`."""
    body = link.receive_exactly(length) if length else bytearray()
    if body is None:
        raise LinkError(f"{link.peer} closed the connection inside a message")
    return body


def reason_of(error: BaseException) -> str:
    """Say why, for the peer: the text of our own errors, the kind of all others."""
    if isinstance(error, CodecsCoreError):
        return str(error)
    if isinstance(error, KeyboardInterrupt):
        return "the other end was interrupted"
    if isinstance(error, OSError):
        return str(error)
    return f"internal error ({type(error).__name__}: {error})"
