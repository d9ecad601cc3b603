"""The sessions of one command: those under way, and the sums of those that have ended."""

from __future__ import annotations

import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeAlias

from codecs_core.codec import DEFAULT_GEOMETRY
from codecs_core.engine.progress import Progress
from codecs_core.monitor.metrics import KINDS, Count, Role, counts, kind_of, remaining

__all__ = ["Ledger", "SessionStatus", "Status"]

_Sums: TypeAlias = "Counter[tuple[str, tuple[str, ...]]]"


@dataclass(frozen=True, slots=True)
class SessionStatus:
    """A session under way. ``number`` counts from 1 in every command."""

    number: int
    peer: str
    progress: Progress


@dataclass(frozen=True, slots=True)
class Status:
    """What a command is doing, and has done in ``seconds`` since it began.

    ``completed``, ``failed`` and ``refused`` count the sessions that have ended, and connections.
    """

    role: Role
    version: str
    seconds: float
    sessions: tuple[SessionStatus, ...]
    completed: int
    failed: int
    refused: int


class _Session:
    """Looks at a session, and at what was seen last where it cannot be looked at.

    A plugin's statistics may raise anything. One session shall not keep the others from being seen,
    nor itself from ending.
    """

    def __init__(self, peer: str, progress: Callable[[], Progress]) -> None:
        self.peer = peer
        self._progress = progress
        self._seen = Progress("", DEFAULT_GEOMETRY.page_size, 0.0, None, 0, 0)

    def look(self) -> Progress:
        """Take a snapshot."""
        with suppress(Exception):
            self._seen = self._progress()
        return self._seen


class Ledger:
    """Any thread may write and read it; each sees a session under way or ended, never neither."""

    def __init__(self, role: Role, version: str) -> None:
        self.role: Role = role
        self._version = version
        self._began = time.monotonic()
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self._live: dict[int, _Session] = {}
        self._sums: _Sums = Counter()
        # What is 0 is shown, too: who counts increases must see where they began.
        for outcome in ("completed", "failed"):
            self._add("multifd_sessions_ended_total", (role, outcome), 0)
        for kind in KINDS:
            self._add("multifd_errors_total", (role, kind), 0)
        self._add("multifd_refused_connections_total", (role,), 0)

    def begin(self, peer: str, progress: Callable[[], Progress]) -> int:
        """Note a session with ``peer``, and how to look at it; return its number."""
        with self._lock:
            number = next(self._numbers)
            self._live[number] = _Session(peer, progress)
        return number

    def look(self, number: int) -> Progress:
        """How far a session under way is, or was when that could be had last."""
        with self._lock:
            return self._live[number].look()

    def end(self, number: int, error: BaseException | None = None) -> None:
        """Note that a session has ended, with ``error`` where it has failed."""
        with self._lock:
            self._take(counts(self.role, self._live.pop(number).look()), self._sums)
            self._count_end(error)

    def fail(self, error: BaseException) -> None:
        """Note a session that failed before it began."""
        with self._lock:
            self._count_end(error)

    def refuse(self) -> None:
        """Note a connection that was refused."""
        with self._lock:
            self._add("multifd_refused_connections_total", (self.role,), 1)

    def status(self) -> Status:
        """Take a snapshot of what is under way."""
        with self._lock:
            return Status(
                self.role,
                self._version,
                time.monotonic() - self._began,
                tuple(
                    SessionStatus(number, each.peer, each.look())
                    for number, each in self._live.items()
                ),
                completed=self._sums["multifd_sessions_ended_total", (self.role, "completed")],
                failed=self._sums["multifd_sessions_ended_total", (self.role, "failed")],
                refused=self._sums["multifd_refused_connections_total", (self.role,)],
            )

    def counts(self) -> list[Count]:
        """Return every metric's counts, of all sessions so far."""
        with self._lock:
            sums: _Sums = Counter(self._sums)
            looks = [each.look() for each in self._live.values()]
        for each in looks:
            self._take(counts(self.role, each), sums)
        sums["multifd_sessions", (self.role,)] = len(looks)
        sums["multifd_remaining_bytes", (self.role,)] = sum(map(remaining, looks))
        sums["multifd_info", (self.role, self._version)] = 1
        return [(name, labels, number) for (name, labels), number in sums.items()]

    def _count_end(self, error: BaseException | None) -> None:
        outcome = "completed" if error is None else "failed"
        self._add("multifd_sessions_ended_total", (self.role, outcome), 1)
        if error is not None:
            self._add("multifd_errors_total", (self.role, kind_of(error)), 1)

    def _add(self, name: str, labels: tuple[str, ...], number: int) -> None:
        self._sums[name, labels] += number

    @staticmethod
    def _take(new: Iterable[Count], sums: _Sums) -> None:
        for name, labels, number in new:
            sums[name, labels] += number
