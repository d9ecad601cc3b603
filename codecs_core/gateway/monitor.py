"""A QEMU's monitor (QMP), for callers that block.

The client is QEMU's own, which is asynchronous. It runs in a thread of its own, so that no signal
cuts into it: a migration can be cancelled whatever ended the caller.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
import threading
from collections.abc import Coroutine
from concurrent.futures import CancelledError
from contextlib import suppress
from typing import Any, Self, TypeVar

from qemu.qmp import ConnectError, ExecInterruptedError, ExecuteError, QMPClient, StateError

from codecs_core.errors import LinkError, LinkTimeout, TransferError, UsageError

__all__ = ["Monitor"]

_OLDEST = (7, 2)
"""The oldest QEMU whose migrations were tested."""
_PEER = struct.Struct("=iII")

Result = TypeVar("Result")

# What goes wrong is raised here. Without a handler of its own it would also be printed.
logging.getLogger("qemu.qmp").addHandler(logging.NullHandler())


class Monitor:
    """A connection to the QMP socket at ``path``. `run` may be called from any thread.

    ``timeout`` bounds each wait for QEMU, in seconds. ``version`` is QEMU's, ``user`` the user id
    that it runs under. Raises `LinkError` where nobody answers there, `UsageError` for a QEMU
    older than 7.2.
    """

    def __init__(self, path: str, *, timeout: float = 10.0) -> None:
        self.path = path
        self._timeout = timeout
        self._client = QMPClient("multifd")
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="qmp", daemon=True)
        sock = socket.socket(socket.AF_UNIX)
        try:
            sock.connect(path)
            _, self.user, _ = _PEER.unpack(
                sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size)
            )
            sock.setblocking(False)
        except OSError as error:
            sock.close()
            self._loop.close()
            raise LinkError(f"the monitor at {path}: {error.strerror or error}") from error
        self._thread.start()
        try:
            self._await(self._client.connect(sock), "greet; another client may hold it")
            version = self.run("query-version")["qemu"]
            self.version = (version["major"], version["minor"], version["micro"])
            if self.version[:2] < _OLDEST:
                raise UsageError(
                    f"{path} is QEMU {self.name}; migrations of {_OLDEST[0]}.{_OLDEST[1]} and "
                    "later can be relayed"
                )
        except BaseException:
            self.close()
            sock.close()
            raise

    @property
    def name(self) -> str:
        """The version, as text."""
        return ".".join(map(str, self.version))

    def run(self, command: str, /, **arguments: Any) -> Any:
        """Run a command and return its result; ``_`` in an argument's name stands for ``-``.

        Raises `TransferError` with QEMU's reason where it refuses, `LinkError` where it has ended.
        """
        named = {name.replace("_", "-"): value for name, value in arguments.items()}
        try:
            return self._await(self._client.execute(command, named), f"answer {command}")
        except ExecuteError as error:
            raise TransferError(f"QEMU refuses {command}: {error.error.error.desc}") from error

    def close(self) -> None:
        """End the connection. Calling it again does nothing."""
        if self._loop.is_closed():
            return
        with suppress(Exception):
            self._await(self._client.disconnect(), "part")
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _await(self, work: Coroutine[Any, Any, Result], what: str) -> Result:
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result(self._timeout)
        except TimeoutError:
            future.cancel()
            raise LinkTimeout(
                f"the monitor at {self.path} did not {what} ({self._timeout:g} s)"
            ) from None
        except (ConnectError, ExecInterruptedError, StateError, EOFError, CancelledError) as error:
            raise LinkError(
                f"the monitor at {self.path}: QEMU has ended, or has closed it"
            ) from error
