"""Calls that several threads work on at a time, and whose results come back in order."""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Generic, ParamSpec, TypeVar

from codecs_core.errors import TransferError

__all__ = ["Pipeline"]

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")


class Pipeline(Generic[_Result]):
    """A queue of calls, of which ``threads`` run at a time; twice as many may be in it.

    One thread is none: calls then run where they are submitted, one at a time. Threads are started
    when there is work for them, and `close` ends them. The pipeline itself is for one thread.
    """

    def __init__(self, threads: int) -> None:
        self._workers: set[int] = set()
        self._pool = (
            ThreadPoolExecutor(
                threads,
                thread_name_prefix="codecs-core-file",
                initializer=_enrol,
                initargs=(self._workers,),
            )
            if threads > 1
            else None
        )
        self._depth = 2 * threads if threads > 1 else 1
        self._calls: deque[Future[_Result]] = deque()

    def __len__(self) -> int:
        return len(self._calls)

    @property
    def is_full(self) -> bool:
        """Whether a result must be taken before another call may be submitted."""
        return len(self._calls) >= self._depth

    @property
    def is_ready(self) -> bool:
        """Whether the next result is there, so that `take` would not wait."""
        return bool(self._calls) and self._calls[0].done()

    def submit(
        self,
        call: Callable[_Arguments, _Result],
        *args: _Arguments.args,
        **kwargs: _Arguments.kwargs,
    ) -> None:
        """Put a call at the end of the queue."""
        if self._pool is not None:
            # The interpreter is about to end, and starts no threads for us any more.
            with contextlib.suppress(RuntimeError):
                self._calls.append(self._pool.submit(call, *args, **kwargs))
                return
        future: Future[_Result] = Future()
        try:
            future.set_result(call(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        self._calls.append(future)

    def take(self) -> _Result:
        """Wait for the first call, and return its result or raise its error.

        Raises `TransferError` in one of the threads, which would wait for itself: there, garbage
        is collected too.
        """
        if self._is_worker():
            raise TransferError("a file that was not closed is garbage in one of its own threads")
        result = self._calls[0].result()
        self._calls.popleft()
        return result

    def settle(self) -> None:
        """Wait until no call runs; results stay to be taken."""
        wait(self._calls)

    def cancel(self) -> None:
        """Forget all calls, and wait until none of them runs any more."""
        wait([each for each in self._calls if not each.cancel()])
        self._calls.clear()

    def close(self) -> None:
        """Forget all calls, and end the threads."""
        self._calls.clear()
        if self._pool is not None:
            self._pool.shutdown(wait=not self._is_worker(), cancel_futures=True)

    def _is_worker(self) -> bool:
        return threading.get_ident() in self._workers


def _enrol(workers: set[int]) -> None:
    workers.add(threading.get_ident())
