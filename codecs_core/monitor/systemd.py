"""Word to systemd: ready, how it is, stopping, and alive.

The protocol of sd_notify(3): datagrams of ``NAME=value`` lines to the socket in ``NOTIFY_SOCKET``,
whose name is abstract where it begins with ``@``. Where the unit has ``WatchdogSec``,
``WATCHDOG_USEC`` says within which time a sign of life is due, and ``WATCHDOG_PID`` from whom.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Final, Self

__all__ = ["Service"]

_EVERY: Final = 5.0
"""Seconds between two words on how it is; less where a sign of life is due more often."""
_PATIENCE: Final = 1.0


class Service:
    """This process as a service; without systemd it does nothing.

    ``status`` returns a line on what it is doing, ``alive`` whether it does what it is there for:
    as long as it does not, and while ``status`` cannot answer, there is no sign of life.
    """

    def __init__(
        self,
        status: Callable[[], str],
        alive: Callable[[], bool],
        environment: Mapping[str, str] = os.environ,
    ) -> None:
        self._status = status
        self._alive = alive
        name = environment.get("NOTIFY_SOCKET", "")
        self._socket = "\0" + name[1:] if name.startswith("@") else name
        self.every = _EVERY
        due = environment.get("WATCHDOG_USEC", "")
        whose = environment.get("WATCHDOG_PID", "")
        self._watched = due.isdecimal() and int(due) > 0 and whose in ("", str(os.getpid()))
        if self._watched:
            self.every = min(_EVERY, int(due) / 3e6)
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def ready(self) -> None:
        """Tell that it serves, and go on to tell how it is."""
        if not self._socket or self._thread is not None:
            return
        self._tell("READY=1", *self._words())
        self._thread = threading.Thread(target=self._run, name="multifd-systemd", daemon=True)
        self._thread.start()

    def stopping(self) -> None:
        """Tell that it will end; signs of life go on until it does."""
        self._tell("STOPPING=1", *self._words())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._ended.set()
        if self._thread is not None:
            self._thread.join()
            self.stopping()

    def _run(self) -> None:
        while not self._ended.wait(self.every):
            if words := self._words():
                alive = self._watched and self._alive()
                self._tell(*words, *(["WATCHDOG=1"] if alive else []))

    def _words(self) -> list[str]:
        """Say how it is, if that can be had: a session may be beyond looking at."""
        try:
            return [f"STATUS={self._status()}"]
        except Exception:
            # No sign of life, and no reason to end.
            return []

    def _tell(self, *lines: str) -> None:
        if not self._socket:
            return
        # Who listens may have gone: that is not the service's failure.
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.settimeout(_PATIENCE)
            sock.sendto("\n".join(lines).encode(), self._socket)
