"""What ends together: the threads, links and waits of one transfer.

The first failure wins. It is remembered, told to the peer, and wakes every thread of the session;
whatever those threads then run into is a consequence and not reported.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from codecs_core.errors import CodecsCoreError, LinkError, TransferError

__all__ = ["Latch", "Session"]

_GRACE = 2.0
"""Seconds that a broken connection waits for the peer's own word on why it broke."""


class Session:
    """Threads that fail together. Callbacks of `on_failure` run once, in the failing thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._error: BaseException | None = None
        self._failed = threading.Event()
        self._threads: list[threading.Thread] = []
        self._callbacks: list[Callable[[BaseException], None]] = []

    @property
    def failed(self) -> bool:
        """Whether the session has failed."""
        return self._failed.is_set()

    def on_failure(self, callback: Callable[[BaseException], None]) -> None:
        """Have ``callback`` called with the error, should the session fail."""
        with self._lock:
            if self._error is None:
                self._callbacks.append(callback)
                return
        callback(self._error)

    def fail(self, error: BaseException) -> None:
        """Fail with ``error``, unless the session has failed already."""
        with self._lock:
            if self._error is not None:
                return
            self._error = error
            callbacks = self._callbacks
        self._failed.set()
        for callback in callbacks:
            callback(error)

    def check(self) -> None:
        """Raise the error of a session that has failed."""
        if self._error is not None:
            raise self._error

    def start(self, name: str, target: Callable[..., None], *arguments: Any) -> None:
        """Run ``target`` in a thread of the session; what it raises fails the session."""
        thread = threading.Thread(
            target=self._guard, args=(target, *arguments), name=name, daemon=True
        )
        self._threads.append(thread)
        thread.start()

    def join(self) -> None:
        """Wait until every thread has ended."""
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join()

    def _guard(self, target: Callable[..., None], *arguments: Any) -> None:
        try:
            target(*arguments)
        except LinkError as error:
            # A cut connection is a symptom; the peer's reason may be on its way.
            self._failed.wait(_GRACE)
            self.fail(error)
        except CodecsCoreError as error:
            self.fail(error)
        except MemoryError:
            self.fail(TransferError("out of memory"))
        except BaseException as error:
            self.fail(error)


class Latch:
    """Opens once ``count`` parties have arrived, or the session has failed."""

    def __init__(self, session: Session, count: int) -> None:
        self._condition = threading.Condition()
        self._missing = count
        self._session = session
        session.on_failure(self._wake)

    def arrive(self) -> None:
        """Be one of the parties."""
        with self._condition:
            self._missing -= 1
            self._condition.notify_all()

    def wait(self) -> None:
        """Wait for all parties. Raises the session's error where it fails first."""
        with self._condition:
            while self._missing > 0 and not self._session.failed:
                self._condition.wait()
        self._session.check()

    def _wake(self, error: BaseException) -> None:
        with self._condition:
            self._condition.notify_all()
