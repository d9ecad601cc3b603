"""A link under TLS: what is sent is encrypted in memory and then sent by the link below.

OpenSSL's connection is no object for two threads at once, and its own socket calls would hold it
while they wait. So it never sees the socket: bytes pass through memory, under a lock that nobody
holds while waiting for the peer.
"""

from __future__ import annotations

import functools
import select
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Final

from codecs_core.codec import Buffer
from codecs_core.errors import LinkError, LinkTimeout, TlsError, UsageError
from codecs_core.transport.address import Address, TcpAddress
from codecs_core.transport.link import LINGER, Link, LinkMaker
from codecs_core.transport.tls import TlsCredentials, names_of

__all__ = ["TlsLink", "client_links", "server_links"]

_GREETING: Final = 16 * 1024
"""Bytes taken from the socket at a time while nobody knows who is there."""
_CHUNK: Final = 512 * 1024
"""Bytes taken from the socket at a time later: every wait for more costs a switch of threads."""
_PIECE: Final = 128 * 1024
"""Bytes encrypted at a time, and sent while they are in the processor's cache."""
_NO_TLS_HERE: Final = bytes.fromhex("15 0301 0002 0246")
"""The alert protocol_version, fatal, for a peer that has not begun with TLS."""
_REFUSALS: Final = {
    "ACCESS_DENIED": "access denied",
    "BAD_CERTIFICATE": "it is not valid there, or not for the name that was dialled",
    "CERTIFICATE_EXPIRED": "it has expired",
    "CERTIFICATE_REQUIRED": "there is none",
    "CERTIFICATE_REVOKED": "it is revoked",
    "CERTIFICATE_UNKNOWN": "it is not valid there",
    "UNKNOWN_CA": "its authority is not known there",
    "UNSUPPORTED_CERTIFICATE": "it is made for another purpose",
}
"""The peer's alerts about our certificate."""


def client_links(credentials: TlsCredentials, address: Address) -> LinkMaker:
    """Return what makes a `TlsLink` of a socket that was connected to ``address``.

    Raises `UsageError` for bad credentials, or where the server's name is not known.
    """
    name = credentials.hostname
    if name is None and isinstance(address, TcpAddress):
        name = address.host.partition("%")[0] or "localhost"
    if not name:
        raise UsageError(
            f"{address} does not tell the name of the server's certificate; "
            "remedy: --tls-hostname NAME (hostname=...)"
        )
    context = credentials.client_context()
    try:
        context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname=name)
    except (TypeError, ValueError, ssl.SSLError) as error:
        raise UsageError(f"{name!r} is no name for a server: {error}") from error
    return functools.partial(TlsLink, context=context, hostname=name)


def server_links(credentials: TlsCredentials) -> LinkMaker:
    """Return what makes a `TlsLink` of an accepted socket. Raises `UsageError`."""
    context = credentials.server_context()
    return functools.partial(TlsLink, context=context, admits=credentials.admits)


class TlsLink(Link):
    """One end of a connection; with ``hostname`` the dialling one."""

    protected = True

    def __init__(
        self,
        sock: socket.socket,
        peer: str,
        process: subprocess.Popen[bytes] | None = None,
        *,
        context: ssl.SSLContext,
        hostname: str | None = None,
        admits: Callable[[Mapping[str, Any]], bool] | None = None,
    ) -> None:
        super().__init__(sock, peer, process)
        self._hostname = hostname
        self._admits = admits
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(
            self._incoming, self._outgoing, server_side=hostname is None, server_hostname=hostname
        )
        self._using = threading.Lock()
        self._sending = threading.Lock()
        self._chunk = memoryview(bytearray(_GREETING))
        self._ahead = bytearray()
        self._greeted = False
        self._ended = False

    def greet(self, timeout: float) -> None:
        """Hold the handshake, in ``timeout`` seconds. Raises `TlsError`, `LinkTimeout`."""
        give_up = time.monotonic() + timeout
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        while not self._greet():
            left = give_up - time.monotonic()
            if left <= 0 or not poll.poll(left * 1000):
                raise LinkTimeout(f"{self.peer}: no TLS handshake in {timeout:g} s")

    def send(self, buffers: Sequence[Buffer]) -> None:
        """Send all of ``buffers``."""
        with self._errors("sending"), self._sending:
            for buffer in buffers:
                view = memoryview(buffer)
                for start in range(0, len(view), _PIECE):
                    with self._using:
                        self._tls.write(view[start : start + _PIECE])
                    # A header waits for its payload.
                    self._flush(_PIECE)
            self._flush()

    def receive_into(self, buffer: memoryview) -> int:
        """Fill ``buffer`` and return its length, or less where the stream ends or is slow.

        Returns 0 at the end of the stream, which is where the peer has said so: a connection that
        was cut raises `LinkError`.
        """
        with self._errors("receiving"):
            filled = self._decrypt(buffer)
            while filled < len(buffer) and not self._ended:
                try:
                    self._take_in()
                except BlockingIOError:
                    if filled:
                        break
                    raise
                filled += self._decrypt(buffer[filled:])
            return filled

    def receive_available(self, limit: int) -> bytes:
        """Return what has arrived, at most ``limit`` bytes; waits for the first of them."""
        buffer = memoryview(bytearray(limit))
        with self._errors("receiving"):
            while not (count := self._decrypt(buffer)) and not self._ended:
                self._take_in()
        return bytes(buffer[:count])

    def receive_now(self, limit: int) -> bytes | None:
        """As `Link.receive_now`; it holds the handshake first. Raises `TlsError` where it fails."""
        if not self._greet():
            return None
        buffer = memoryview(bytearray(limit))
        with self._errors("receiving"):
            while not (count := self._decrypt(buffer)) and not self._ended:
                if not self._take_in_now():
                    return None
        return bytes(buffer[:count])

    def end(self) -> None:
        """Tell the peer that no more will be sent; receiving goes on."""
        if self._sending.acquire(timeout=LINGER):
            try:
                self._say_goodbye()
            finally:
                self._sending.release()
        super().end()

    def _greet(self) -> bool:
        """Take the handshake as far as it goes without waiting; return whether it is through."""
        while not self._greeted:
            try:
                with self._errors("greeting"), self._using:
                    self._tls.do_handshake()
            except _Waits:
                self._flush_now()
                with self._errors("greeting"):
                    if not self._take_in_now():
                        return False
            except LinkError:
                self._flush_now(_NO_TLS_HERE if self._hostname is None else b"")
                raise
            else:
                self._flush_now()
                self._introduce()
                self._greeted = True
        return True

    def _introduce(self) -> None:
        """Note who the peer is, and whether it may be here."""
        self._chunk = memoryview(bytearray(_CHUNK))
        self.certificate = self._tls.getpeercert(binary_form=True)
        shown = self._tls.getpeercert() or {}
        if self._admits is not None and not self._admits(shown):
            name = next(iter(names_of(shown)), "without a name")
            raise TlsError(f"{self.peer}: the client {name!r} is not among those let in here")

    def _flush(self, least: int = 1) -> None:
        """Send what was encrypted, where that is ``least`` bytes."""
        with self._using:
            data = self._outgoing.read() if self._outgoing.pending >= least else b""
        if data:
            self._socket.sendall(data)

    def _flush_now(self, otherwise: bytes = b"") -> None:
        """Send what the handshake has to say; a peer's buffer always has room for it."""
        with self._using:
            data = self._outgoing.read() or otherwise
        # What is wrong with the connection shows when it is read, with the peer's reason.
        with suppress(OSError):
            self._socket.send(data, socket.MSG_DONTWAIT)

    def _decrypt(self, buffer: memoryview) -> int:
        """Fill ``buffer`` from what has come in, as far as that goes; return how far."""
        filled, size = 0, len(buffer)
        # Once a record of 16 KiB, so it had better be short.
        read: Callable[[int, memoryview], int] = self._tls.read  # type: ignore[assignment]
        with self._using:
            if self._ahead:
                filled = min(len(self._ahead), size)
                buffer[:filled] = self._ahead[:filled]
                del self._ahead[:filled]
            try:
                while filled < size and not self._ended:
                    count = read(size - filled, buffer[filled:])
                    filled += count
                    self._ended = not count
            except ssl.SSLWantReadError:
                pass
            except ssl.SSLZeroReturnError:
                self._ended = True
        return filled

    def _take_in(self, flags: int = 0) -> None:
        """Take what the socket has, and wait for it where it has nothing."""
        count = self._socket.recv_into(self._chunk, len(self._chunk), flags)
        with self._using:
            if count:
                self._incoming.write(self._chunk[:count])
            else:
                self._incoming.write_eof()

    def _take_in_now(self) -> bool:
        """Take what the socket has; return whether that was anything, its end included."""
        try:
            self._take_in(socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        return True

    def _say_goodbye(self) -> None:
        """Send close_notify."""
        with self._using, suppress(ssl.SSLError):
            # `unwrap` looks for the peer's goodbye, too, and throws away what stands before it.
            with suppress(ssl.SSLError):
                while piece := self._tls.read(_CHUNK):
                    self._ahead += piece
            self._tls.unwrap()
        with suppress(OSError):
            self._flush()

    @contextmanager
    def _errors(self, doing: str) -> Iterator[None]:
        with super()._errors(doing):
            try:
                yield
            except ssl.SSLWantReadError:
                raise _Waits from None
            except ssl.SSLEOFError as error:
                raise LinkError(self._cut()) from error
            except ssl.SSLError as error:
                raise TlsError(f"{self.peer}: {self._explain(error)}") from error

    def _cut(self) -> str:
        if self._greeted:
            return f"the connection to {self.peer} was cut: TLS has not ended, but the stream has"
        hint = "" if self._hostname is None else "; does it have --tls-creds, too?"
        return f"{self.peer} closed the connection in the TLS handshake{hint}"

    def _explain(self, error: ssl.SSLError) -> str:
        reason = error.reason or ""
        if isinstance(error, ssl.SSLCertVerificationError):
            words = error.verify_message.rstrip(".")
            if "ismatch" in words:
                words += "; remedy: --tls-hostname with a name that it has"
            return f"the peer's certificate is refused: {words}"
        alert = reason.partition("_ALERT_")[2]
        if alert in _REFUSALS:
            return f"the peer refuses our certificate: {_REFUSALS[alert]}"
        if reason == "PEER_DID_NOT_RETURN_A_CERTIFICATE":
            return "the peer shows no certificate"
        if reason in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "UNKNOWN_PROTOCOL"):
            return "the peer does not speak TLS; remedy: --tls-creds there, too"
        return f"TLS: {reason.replace('_', ' ').lower() or error}"


class _Waits(Exception):
    """The handshake waits for the peer."""
