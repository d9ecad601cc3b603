"""What ends together: the threads, links and waits of one transfer.

The first failure wins. It is remembered, told to the peer, and wakes every thread of the session;
whatever those threads then run into is a consequence and not reported.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from codecs_core.errors import LinkError, TransferError, TruncatedStream

__all__ = ["Latch", "Session"]

_GRACE = 2.0
"""Seconds that a broken connection waits for the peer's own word on why it broke."""
_SETTLING = 5.0
"""Seconds to wait for whoever fails the session first: Ctrl-C may have come in between."""


class Session:
    """Threads that fail together. Callbacks of `on_failure` run once, in the failing thread."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._settled = threading.Event()
        self._error: BaseException | None = None
        self._threads: list[threading.Thread] = []
        self._callbacks: list[Callable[[BaseException], None]] = []

    @property
    def error(self) -> BaseException | None:
        """What the session failed with, if it has."""
        return self._error

    def on_failure(self, callback: Callable[[BaseException], None]) -> None:
        """Have ``callback`` called with the error, should the session fail."""
        with self._changed:
            if self._error is None:
                self._callbacks.append(callback)
                return
        callback(self._error)

    def fail(self, error: BaseException) -> None:
        """Fail with ``error``, unless the session has failed already.

        Returns when all callbacks have run, whoever runs them: nobody tears down what they need.
        """
        if isinstance(error, MemoryError):
            error = TransferError("out of memory")
        with self._changed:
            first = self._error is None
            if first:
                self._error = error
                callbacks, self._callbacks = self._callbacks, []
                self._changed.notify_all()
        if not first:
            self._settled.wait(_SETTLING)
            return
        try:
            for callback in callbacks:
                callback(error)
        finally:
            self._settled.set()

    def wait(self, condition: Callable[[], bool], timeout: float | None = None) -> None:
        """Wait until ``condition`` holds, as `notify` tells, or ``timeout`` seconds have passed.

        Raises the session's error where it fails first.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._error is not None or condition(), timeout)
        self.check()

    def notify(self) -> None:
        """Have those who `wait` look at their conditions again."""
        with self._changed:
            self._changed.notify_all()

    def check(self) -> None:
        """Raise the error of a session that has failed."""
        if self._error is not None:
            self._settled.wait(_SETTLING)
            raise self._error

    def start(
        self, name: str, target: Callable[..., None], *arguments: Any, busy: bool = False
    ) -> None:
        """Run ``target`` in a thread of the session; what it raises fails the session.

        ``busy`` threads compute: the scheduler need not wake them at once. Raises `TransferError`
        where the system has no thread for it.
        """
        thread = threading.Thread(
            target=self._guard, args=(busy, target, *arguments), name=name, daemon=True
        )
        # Whoever joins finds every thread started.
        with self._changed:
            try:
                thread.start()
            except RuntimeError as error:
                raise TransferError(
                    "no thread can be started: out of memory, or of the processes that a user may "
                    "have"
                ) from error
            self._threads.append(thread)

    def join(self) -> None:
        """Wait until every thread has ended."""
        with self._changed:
            threads = list(self._threads)
        for thread in threads:
            if thread is not threading.current_thread():
                thread.join()

    def _guard(self, busy: bool, target: Callable[..., None], *arguments: Any) -> None:
        if busy:
            _lower_preemption()
        try:
            target(*arguments)
        except (LinkError, TruncatedStream) as error:
            # A cut connection is a symptom; the peer's own reason may be on its way.
            with self._changed:
                self._changed.wait_for(lambda: self._error is not None, _GRACE)
            self.fail(error)
        except BaseException as error:
            self.fail(error)


def _lower_preemption() -> None:
    """Let this thread not interrupt another when it wakes.

    Where a host has fewer CPUs than channel threads, a packet that arrives would otherwise cut
    into the coding of another, and push its data out of the caches. A policy that somebody chose
    for the process is left as it is.
    """
    with suppress(OSError):
        if os.sched_getscheduler(0) == os.SCHED_OTHER:
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


class Latch:
    """Opens once ``count`` parties have arrived, or the session has failed."""

    def __init__(self, session: Session, count: int) -> None:
        self._lock = threading.Lock()
        self._missing = count
        self._session = session

    def arrive(self) -> None:
        """Be one of the parties."""
        with self._lock:
            self._missing -= 1
        self._session.notify()

    def wait(self) -> None:
        """Wait for all parties. Raises the session's error where it fails first."""
        self._session.wait(lambda: self._missing <= 0)
