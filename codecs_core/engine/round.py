"""The page runs of one round, handed out to whichever channel asks next."""

from __future__ import annotations

import threading
from collections.abc import Iterable

from codecs_core.memory.block import PageRun

__all__ = ["Round"]


class Round:
    """Hands out page runs. Every channel pulls for itself: there is no dispatcher and no queue."""

    def __init__(self, runs: Iterable[PageRun]) -> None:
        self._runs = iter(runs)
        self._lock = threading.Lock()

    def pull(self, scratch: memoryview) -> tuple[PageRun, memoryview] | None:
        """Return the next run and its pages, or ``None`` when there are no more.

        Pages of an ordered block are read under the lock, so that channels take them in order.
        """
        with self._lock:
            run = next(self._runs, None)
            if run is None:
                return None
            if run.block.ordered:
                pages = run.block.read(run, scratch)
                return (run, pages) if pages else None
        return run, run.block.read(run, scratch)
