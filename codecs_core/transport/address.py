"""Addresses in QEMU's spelling: ``tcp:HOST:PORT``, ``unix:PATH``, ``fd:N``, ``exec:COMMAND``."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import TypeAlias

from codecs_core.errors import UsageError

__all__ = ["Address", "ExecAddress", "FdAddress", "TcpAddress", "UnixAddress", "parse"]

_FORMS = "tcp:HOST:PORT, unix:PATH, fd:N or exec:COMMAND"
_UNIX_PATH_MAX = 107


@dataclass(frozen=True, slots=True)
class TcpAddress:
    """A TCP port. An empty host is every interface to listen on, this host to connect to."""

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"tcp:{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class UnixAddress:
    """A unix domain socket."""

    path: str

    def __str__(self) -> str:
        return f"unix:{self.path}"


@dataclass(frozen=True, slots=True)
class FdAddress:
    """An inherited socket: a connected one is a link of one stream, a listening one accepts."""

    fd: int

    def __str__(self) -> str:
        return f"fd:{self.fd}"


@dataclass(frozen=True, slots=True)
class ExecAddress:
    """A shell command, started once a connection; its stdin and stdout are the connection."""

    command: str

    def __str__(self) -> str:
        return f"exec:{self.command}"


Address: TypeAlias = TcpAddress | UnixAddress | FdAddress | ExecAddress


def parse(uri: str) -> Address:
    """Read an address. Raises `UsageError` saying what is wrong and what is accepted."""
    scheme, colon, rest = uri.partition(":")
    if colon and scheme == "tcp":
        return _parse_tcp(uri, rest)
    if colon and scheme == "unix":
        if not rest or "\0" in rest or not _encodable(rest):
            raise UsageError(f"{uri!r}: a socket's path has 1 to {_UNIX_PATH_MAX} bytes")
        return UnixAddress(rest)
    if colon and scheme == "fd":
        if not re.fullmatch(r"\d{1,9}", rest, re.ASCII):
            raise UsageError(f"{uri!r}: fd: takes the number of an open descriptor, as in fd:3")
        return FdAddress(int(rest))
    if colon and scheme == "exec":
        if not rest.strip():
            raise UsageError(f"{uri!r}: exec: takes a command, as in 'exec:nc host 4444'")
        return ExecAddress(rest)
    raise UsageError(f"{uri!r} is no address; give {_FORMS}")


def _parse_tcp(uri: str, rest: str) -> TcpAddress:
    match = re.fullmatch(r"(?:\[([0-9A-Fa-f:.%\w]+)\]|([^:\[\]\0]*)):(\d{1,5})", rest, re.ASCII)
    if not match or int(match[3]) > 65535:
        raise UsageError(
            f"{uri!r}: tcp: takes a host and a port from 0 to 65535, as in tcp:host:4444 "
            "or tcp:[::1]:4444"
        )
    host = match[1] or match[2] or ""
    try:
        # As the system's resolver is going to be asked.
        host.encode("idna")
    except UnicodeError as error:
        raise UsageError(f"{uri!r}: {host!r} is no name of a host: {error}") from None
    return TcpAddress(host, int(match[3]))


def _encodable(path: str) -> bool:
    """Whether a socket's address has room for ``path``, which may be any bytes."""
    try:
        return len(os.fsencode(path)) <= _UNIX_PATH_MAX
    except UnicodeEncodeError:
        return False
