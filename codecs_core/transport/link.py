"""One byte stream to the peer: a connected socket, whatever address led to it.

Sends and receives block; `Link.abort`, from any other thread, wakes them. Every failure of the
network is a `LinkError` that names the peer.
"""

from __future__ import annotations

import fcntl
import math
import socket
import struct
import subprocess
import termios
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Protocol

from codecs_core.codec import Buffer
from codecs_core.errors import LinkError, LinkTimeout

__all__ = ["LINGER", "Link", "LinkMaker"]

LINGER = 1.0
"""Seconds given to the peer to take our last words before the connection closes."""
_PEER = struct.Struct("=iII")
"""What SO_PEERCRED returns: process, user, group."""
_INT = struct.Struct("=i")
_SIOCOUTQNSD = 0x894B
"""Linux's request for what a TCP socket has not sent yet, from linux/sockios.h."""
_EXIT = 5.0
"""Seconds given to the command of an ``exec:`` address to end by itself."""


class Link:
    """A connected stream socket. ``peer`` names the other side in messages.

    ``protected``: by TLS. ``certificate`` is then who the peer has proven to be, in DER.
    """

    protected = False
    certificate: bytes | None = None

    def __init__(
        self, sock: socket.socket, peer: str, process: subprocess.Popen[bytes] | None = None
    ) -> None:
        sock.settimeout(None)
        self.peer = peer
        self._socket = sock
        self._process = process
        self._timeout: float | None = None
        self._unsent = termios.TIOCOUTQ
        if sock.family in (socket.AF_INET, socket.AF_INET6):
            self._unsent = _SIOCOUTQNSD
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def fileno(self) -> int:
        """The descriptor, for select; -1 once closed."""
        return self._socket.fileno()

    @property
    def near(self) -> bool:
        """Whether both ends have the same IP address, so that nothing but memory is between them.

        Somebody who only passes on what comes may have it, too.
        """
        if self._socket.family not in (socket.AF_INET, socket.AF_INET6):
            return False
        try:
            return bool(self._socket.getsockname()[0] == self._socket.getpeername()[0])
        except OSError:
            return False

    def process(self) -> int | None:
        """The process that connected, where both are on this host and use a unix socket."""
        if self._socket.family != socket.AF_UNIX:
            return None
        with self._errors("asking who connected"):
            found = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size)
        return int(_PEER.unpack(found)[0]) or None

    def set_timeout(self, *, receive: float | None = None, send: float | None = None) -> None:
        """Bound each wait for the peer, in seconds; `LinkTimeout` after that.

        ``None`` waits for ever. The two directions differ: a peer that is slow to take what is
        sent may be alive all the same, and show it.
        """
        with self._errors("setting up"):
            for option, seconds in ((socket.SO_RCVTIMEO, receive), (socket.SO_SNDTIMEO, send)):
                micros = round((seconds or 0) * 1e6)
                self._socket.setsockopt(
                    socket.SOL_SOCKET, option, struct.pack("@ll", *divmod(micros, 1_000_000))
                )
        self._timeout = receive

    def greet(self, timeout: float) -> None:
        """Agree with the peer on how the connection is protected, in ``timeout`` seconds.

        For the end that dials; the other does so in `receive_now`.
        """

    def send(self, buffers: Sequence[Buffer]) -> None:
        """Send all of ``buffers``, in one system call where the kernel takes it all."""
        try:
            sent = self._socket.sendmsg(buffers)
            rest = sum(map(len, buffers)) - sent
            while rest:
                buffers = _skip(buffers, sent)
                sent = self._socket.sendmsg(buffers)
                rest -= sent
        except OSError as error:
            raise self._failure("sending", error) from error

    def backlog(self) -> int | None:
        """How many bytes the kernel has taken to send, and not sent yet; ``None``: not known.

        With TCP these do not count what is under way and only waits to be acknowledged.
        """
        try:
            return int(_INT.unpack(fcntl.ioctl(self._socket, self._unsent, bytes(_INT.size)))[0])
        except (OSError, ValueError):
            return None

    def limit_backlog(self, size: int) -> None:
        """Have sends wait while the kernel has more than ``size`` bytes that it has not sent.

        What is sent next is then decided when the link is about to take it. Where the kernel
        cannot be told, as for unix sockets, its buffer is the limit.
        """
        if self._socket.family in (socket.AF_INET, socket.AF_INET6):
            with suppress(OSError):
                self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, size)

    def receive_into(self, buffer: memoryview) -> int:
        """Fill ``buffer`` and return its length, or less where the stream ends or is slow.

        Returns 0 at the end of the stream.
        """
        try:
            return self._socket.recv_into(buffer, len(buffer), socket.MSG_WAITALL)
        except OSError as error:
            raise self._failure("receiving", error) from error

    def receive_available(self, limit: int) -> bytes:
        """Return what has arrived, at most ``limit`` bytes; waits for the first of them."""
        with self._errors("receiving"):
            return self._socket.recv(limit)

    def receive_now(self, limit: int) -> bytes | None:
        """Return what has arrived, at most ``limit`` bytes, without waiting; ``None`` for nothing.

        Returns no bytes at the end of the stream.
        """
        with self._errors("receiving"):
            try:
                return self._socket.recv(limit, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return None

    def receive_exactly(self, size: int) -> bytearray | None:
        """Return ``size`` bytes, or ``None`` where the stream ends before the first of them.

        Raises `LinkError` where it ends among them, `LinkTimeout` where not all of them come in
        the time that is set for one wait.
        """
        data = bytearray(size)
        filled = 0
        give_up = time.monotonic() + (self._timeout or math.inf)
        while filled < size:
            if filled and time.monotonic() > give_up:
                raise LinkTimeout(
                    f"receiving: {self.peer} sent {filled} of a message's {size} bytes in "
                    f"{self._timeout:g} s"
                )
            count = self.receive_into(memoryview(data)[filled:])
            if not count:
                if not filled:
                    return None
                raise LinkError(f"{self.peer} closed the connection inside a message")
            filled += count
        return data

    def stalled(self, error: LinkTimeout) -> None:
        """The peer is silent although it has sent more. Raises ``error`` where that is the end."""
        raise error

    def settle(self) -> None:
        """Have no other connection after this one, where there could be; see `LastingLink`."""

    def end(self) -> None:
        """Tell the peer that no more will be sent; receiving goes on."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)

    def discard(self) -> bool:
        """Throw away what has arrived; return whether more may come."""
        try:
            return bool(self._socket.recv(1 << 16, socket.MSG_DONTWAIT))
        except BlockingIOError:
            return True
        except OSError:
            return False

    def abort(self) -> None:
        """End the connection at once; whoever waits in it gets an error. From any thread."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self, *, drain: bool = False) -> None:
        """Release the socket, and the command behind it. Calling it again does nothing.

        ``drain`` first ends our direction and takes what the peer still sends, for a moment: an
        unread byte would make the kernel drop our last words.
        """
        if drain and self._socket.fileno() >= 0:
            self.end()
            give_up = time.monotonic() + LINGER
            with suppress(OSError):
                self._socket.settimeout(LINGER)
                while self._socket.recv(1 << 16) and time.monotonic() < give_up:
                    pass
        self.abort()
        self._socket.close()
        if self._process is not None:
            process, self._process = self._process, None
            try:
                process.wait(_EXIT)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    @contextmanager
    def _errors(self, doing: str) -> Iterator[None]:
        # Not where every packet passes: entering and leaving it costs some microseconds.
        try:
            yield
        except OSError as error:
            raise self._failure(doing, error) from error

    def _failure(self, doing: str, error: OSError) -> LinkError:
        if isinstance(error, BlockingIOError):
            wait = f"{self._timeout:g} s" if self._timeout else "too long"
            return LinkTimeout(f"{doing}: {self.peer} was silent for {wait}")
        return LinkError(f"{doing}: connection to {self.peer}: {error.strerror}")


class LinkMaker(Protocol):
    """Makes a link of a connected socket: `Link` itself, in the clear."""

    def __call__(
        self, sock: socket.socket, peer: str, process: subprocess.Popen[bytes] | None = None
    ) -> Link:
        """Take the socket over, and the command behind it."""


def _skip(buffers: Sequence[Buffer], count: int) -> list[memoryview]:
    """Return views of what follows the first ``count`` bytes of ``buffers``."""
    rest: list[memoryview] = []
    for buffer in buffers:
        if count < len(buffer):
            rest.append(memoryview(buffer)[count:])
        count = max(0, count - len(buffer))
    return rest
