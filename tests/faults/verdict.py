"""What came of a plan, and what is wrong with that."""

from __future__ import annotations

import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from .plan import Plan

__all__ = ["Call", "Verdict", "open_files", "watched", "where_threads_are"]

_SETTLE = 15.0


@dataclass
class Verdict:
    """``end`` names how it went; ``wrong`` is empty, or what must not be."""

    plan: Plan
    end: str = ""
    wrong: list[str] = field(default_factory=list)
    errors: tuple[str, ...] = ()
    fired: tuple[str, ...] = ()
    seconds: float = 0.0

    def __str__(self) -> str:
        what = "; ".join(self.wrong) or self.end
        errors = "".join(f"\n    {each}" for each in self.errors)
        return f"{self.plan}: {what} ({self.seconds:.1f} s){errors}"


class Call:
    """A call that runs in a thread of its own. A hang shall not outlive the process."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.error: BaseException | None = None
        self.value: Any = None
        self._function = function
        self._thread = threading.Thread(target=self._run, args=arguments, daemon=True)
        self._thread.start()

    def _run(self, *arguments: Any) -> None:
        try:
            self.value = self._function(*arguments)
        except BaseException as error:
            self.error = error

    def ends(self, seconds: float) -> bool:
        """Whether it ends in time."""
        self._thread.join(max(0.0, seconds))
        return not self._thread.is_alive()


@contextmanager
def watched(verdict: Verdict) -> Iterator[None]:
    """Time the body; it must leave no thread and no descriptor behind."""
    threads, files = set(threading.enumerate()), open_files()
    started = time.monotonic()
    yield
    verdict.seconds = time.monotonic() - started
    give_up = time.monotonic() + _SETTLE
    while True:
        left = {each.name for each in set(threading.enumerate()) - threads}
        opened = open_files() - files
        if (not left and opened <= 0) or time.monotonic() > give_up:
            break
        time.sleep(0.01)
    if left:
        verdict.wrong.append(f"threads left: {', '.join(sorted(left))}")
    if opened > 0:
        verdict.wrong.append(f"{opened} descriptors left")


def where_threads_are() -> str:
    """The innermost frames of every other thread, in a line."""
    names = {each.ident: each.name for each in threading.enumerate()}
    return "; ".join(
        f"{names.get(number, number)}: "
        + " < ".join(
            f"{os.path.basename(each.filename)}:{each.lineno}"
            for each in reversed(traceback.extract_stack(frame)[-4:])
        )
        for number, frame in sys._current_frames().items()
        if number != threading.get_ident()
    )


def open_files() -> int:
    """How many descriptors this process has."""
    return len(os.listdir("/proc/self/fd"))
