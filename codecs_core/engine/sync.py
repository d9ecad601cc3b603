"""The SYNC barrier of the receiving channels."""

from __future__ import annotations

import threading

from codecs_core.errors import ProtocolError

__all__ = ["SyncBarrier"]


class SyncBarrier:
    """Keeps ``parties`` channels together at every SYNC.

    `threading.Barrier` does not do: what breaks it, breaks it also for those who have passed but
    not yet woken.
    """

    def __init__(self, parties: int) -> None:
        self._changed = threading.Condition()
        self._parties = parties
        self._arrived = 0
        self._broken = False
        self.passed = 0

    def arrive(self) -> int | None:
        """Wait for all; return the number of the SYNC, from 1, in one of the threads.

        Raises `ProtocolError` where a channel ends instead.
        """
        with self._changed:
            number = self.passed + 1
            self._arrived += 1
            if self._arrived == self._parties and not self._broken:
                self._arrived = 0
                self.passed = number
                self._changed.notify_all()
                return number
            self._changed.wait_for(lambda: self.passed >= number or self._broken)
            if self.passed < number:
                raise ProtocolError(f"SYNC {number} did not come on all channels")
            return None

    def leave(self) -> None:
        """A channel has ended: nobody passes any more."""
        with self._changed:
            self._broken = True
            self._changed.notify_all()
