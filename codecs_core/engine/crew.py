"""The threads of a sender's channels: each serves one channel, and does what all are told to."""

from __future__ import annotations

from collections.abc import Callable
from queue import SimpleQueue
from typing import TypeAlias

from codecs_core.engine.channel import SendingChannel
from codecs_core.engine.session import Latch, Session

__all__ = ["Crew"]

_Work: TypeAlias = tuple[Callable[[SendingChannel], None], Latch]


class Crew:
    """Threads of ``session``, one a channel. What goes wrong in one fails the session."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._queues: list[SimpleQueue[_Work | None]] = []

    def start(self, channel: SendingChannel) -> None:
        """Have one more thread, for this channel. Raises `TransferError` where there is none."""
        queue: SimpleQueue[_Work | None] = SimpleQueue()
        self._queues.append(queue)
        self._session.start(f"multifd-send-{channel.number}", _serve, channel, queue, busy=True)

    def do(self, work: Callable[[SendingChannel], None]) -> None:
        """Have every thread do ``work`` with its channel, and wait for all of them.

        Raises the session's error where it fails first.
        """
        latch = Latch(self._session, len(self._queues))
        for queue in self._queues:
            queue.put((work, latch))
        latch.wait()

    def stop(self) -> None:
        """Let each thread end once its work is done; does not wait."""
        for queue in self._queues:
            queue.put(None)


def _serve(channel: SendingChannel, queue: SimpleQueue[_Work | None]) -> None:
    while (item := queue.get()) is not None:
        work, latch = item
        work(channel)
        latch.arrive()
