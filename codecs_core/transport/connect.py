"""From addresses to links: dialling out, and listening."""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
import stat
import subprocess
from contextlib import suppress
from typing import Any, Protocol

from codecs_core.errors import LinkError, LinkTimeout, UsageError
from codecs_core.transport.address import (
    Address,
    ExecAddress,
    FdAddress,
    TcpAddress,
    UnixAddress,
)
from codecs_core.transport.link import Link, LinkMaker

__all__ = ["Listener", "carries_one_stream", "dial", "listen"]


def carries_one_stream(address: Address) -> bool:
    """Whether the address leads to one connection only: a connected socket that was inherited."""
    return isinstance(address, FdAddress) and not _is_listening(address)


def dial(address: Address, timeout: float, make: LinkMaker = Link) -> Link:
    """Connect, and have ``make`` make the link.

    Raises `LinkError` naming the address and the reason, `TlsError` where the link is to be
    protected and cannot be, `UsageError` for a bad fd.
    """
    link = _connect(address, timeout, make)
    try:
        link.greet(timeout)
    except BaseException:
        link.close()
        raise
    return link


def _connect(address: Address, timeout: float, make: LinkMaker) -> Link:
    if isinstance(address, ExecAddress):
        return _run(address, make)
    if isinstance(address, FdAddress):
        if _is_listening(address):
            raise UsageError(f"{address} listens; it takes a connected socket to send")
        return make(_inherited(address), str(address))
    try:
        if isinstance(address, TcpAddress):
            host = address.host or "localhost"
            sock = socket.create_connection((host, address.port), timeout)
        else:
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            sock.settimeout(timeout)
            try:
                sock.connect(address.path)
            except BaseException:
                sock.close()
                raise
    except TimeoutError:
        raise LinkTimeout(f"connecting to {address}: no answer in {timeout:g} s") from None
    except OSError as error:
        raise LinkError(f"connecting to {address}: {error.strerror or error}") from error
    return make(sock, str(address))


class Listener(Protocol):
    """Where links come in."""

    address: str
    """As the peer may use it, with the port that the system chose."""

    def fileno(self) -> int | None:
        """What becomes readable when a link can be accepted; ``None``: `accept` never waits."""

    def accept(self) -> Link | None:
        """Take the next link; ``None`` where there is none after all. Raises `LinkError`."""

    def close(self) -> None:
        """Accept no more."""


def listen(
    address: Address,
    make: LinkMaker = Link,
    *,
    insecure: bool | None = False,
    remedy: str = "--tls-creds DIR (tls=...)",
) -> Listener:
    """Listen; ``make`` makes the links.

    Links in the clear come from this host only, unless ``insecure``: for other addresses it raises
    `UsageError` with the ``remedy``, which is the only one where ``insecure`` is ``None``. Raises
    `LinkError` naming the address and the reason: a port in use, say.
    """
    if isinstance(address, ExecAddress):
        return _Summoned(address, make)
    if isinstance(address, FdAddress):
        sock = _inherited(address)
        if _is_listening(address):
            return _SocketListener(sock, str(address), make)
        return _Inherited(make(sock, str(address)))
    try:
        if isinstance(address, UnixAddress):
            return _SocketListener(_bind_unix(address.path), str(address), make, address.path)
        family, place = _resolve(address)
        if make is Link and not insecure and not ipaddress.ip_address(place[0]).is_loopback:
            by_name = ", or --insecure (insecure=True) where the whole network is trusted"
            raise UsageError(
                f"{address} can be reached from other hosts, and without TLS anybody there may "
                f"connect; remedy: {remedy}{'' if insecure is None else by_name}"
            )
        sock = socket.create_server(place, family=family, backlog=256)
    except OSError as error:
        # The interpreter's text for this one repeats the address in its own spelling.
        reason = os.strerror(error.errno) if error.errno == errno.EADDRINUSE else error.strerror
        raise LinkError(f"listening on {address}: {reason or error}") from error
    bound = str(TcpAddress(address.host, sock.getsockname()[1]))
    return _SocketListener(sock, bound, make)


class _SocketListener:
    def __init__(
        self, sock: socket.socket, address: str, make: LinkMaker, path: str | None = None
    ) -> None:
        sock.setblocking(False)
        self.address = address
        self._socket = sock
        self._make = make
        self._path = path

    def fileno(self) -> int | None:
        return self._socket.fileno()

    def accept(self) -> Link | None:
        try:
            sock, name = self._socket.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return None
        except OSError as error:
            raise LinkError(f"accepting on {self.address}: {error.strerror}") from error
        if isinstance(name, tuple):
            host = str(name[0])
            if "." in host:
                # At a socket for both families, as systemd makes them.
                host = host.removeprefix("::ffff:")
            return self._make(sock, str(TcpAddress(host, int(name[1]))))
        return self._make(sock, f"the peer at {self.address}")

    def close(self) -> None:
        self._socket.close()
        if self._path is not None:
            path, self._path = self._path, None
            with suppress(OSError):
                os.unlink(path)


class _Summoned:
    """Starts a command whenever a link is asked for."""

    def __init__(self, address: ExecAddress, make: LinkMaker) -> None:
        self.address = str(address)
        self._exec = address
        self._make = make

    def fileno(self) -> int | None:
        return None

    def accept(self) -> Link:
        return _run(self._exec, self._make)

    def close(self) -> None:
        pass


class _Inherited:
    """Hands out the one link that was inherited."""

    def __init__(self, link: Link) -> None:
        self.address = link.peer
        self._link: Link | None = link

    def fileno(self) -> int | None:
        return None

    def accept(self) -> Link | None:
        link, self._link = self._link, None
        return link

    def close(self) -> None:
        if self._link is not None:
            self._link.close()


def _bind_unix(path: str) -> socket.socket:
    """Listen for this user alone, and for root."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        # Linux takes the mode of what bind makes from the socket: there is no moment without it.
        os.fchmod(sock.fileno(), 0o600)
        _remove_stale(path)
        sock.bind(path)
        sock.listen()
    except BaseException:
        sock.close()
        raise
    return sock


def _resolve(address: TcpAddress) -> tuple[int, Any]:
    """Return the address family to listen with, and the numeric address."""
    host = address.host or "0.0.0.0"
    family, _, _, _, place = socket.getaddrinfo(host, address.port, type=socket.SOCK_STREAM)[0]
    return family, place


def _remove_stale(path: str) -> None:
    """Remove a socket that nobody listens on any more, as a killed process leaves it."""
    with suppress(FileNotFoundError):
        if stat.S_ISSOCK(os.stat(path).st_mode):
            probe = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            with probe, suppress(OSError):
                try:
                    probe.connect(path)
                except ConnectionRefusedError:
                    os.unlink(path)


def _inherited(address: FdAddress) -> socket.socket:
    """Return a socket of our own for an inherited descriptor, which stays open."""
    try:
        if not stat.S_ISSOCK(os.fstat(address.fd).st_mode):
            raise UsageError(
                f"{address} is not a socket; fd: takes a connected or a listening stream socket"
            )
        sock = socket.socket(fileno=os.dup(address.fd))
    except OSError as error:
        raise UsageError(f"{address}: {error.strerror}") from error
    if sock.type != socket.SOCK_STREAM:
        sock.close()
        raise UsageError(f"{address} is a socket, but not a stream socket")
    return sock


def _is_listening(address: FdAddress) -> bool:
    with _inherited(address) as sock:
        return bool(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))


def _run(address: ExecAddress, make: LinkMaker) -> Link:
    """Start the command, with one end of a socket pair as its standard input and output."""
    ours, theirs = socket.socketpair()
    with theirs:
        try:
            process = subprocess.Popen(
                ["/bin/sh", "-c", address.command], stdin=theirs.fileno(), stdout=theirs.fileno()
            )
        except BaseException:
            ours.close()
            raise
    return make(ours, str(address), process)
