"""The player: sends a recorded migration to a QEMU that waits for one, as its source did.

The main channel is connected first and each file is sent by a thread of its own, in its own order.
What keeps them in step is the destination, which waits for every channel's SYNC.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from codecs_core.engine.session import Session
from codecs_core.errors import LinkError, LinkTimeout, RemoteError, UsageError
from codecs_core.gateway.recording import Recording, Source
from codecs_core.transport.address import parse
from codecs_core.transport.connect import dial
from codecs_core.transport.link import Link
from codecs_core.wire.qemu import MainParser
from codecs_core.wire.return_path import ReturnPathParser

__all__ = ["Played", "Player"]

_CHUNK = 64 * 1024
_LOOK = 0.05


@dataclass(frozen=True)
class Played:
    """What was sent. ``arrived``: the destination has said so; ``None`` where it could not.

    It can where the recorded source had asked for a return path.
    """

    channels: int
    sent_bytes: int
    seconds: float
    arrived: bool | None


class Player:
    """Sends ``recording`` to the QEMU that listens at ``uri``.

    ``rate`` bounds what is sent, all channels together, in bytes a second. ``timeout`` is how
    long, in seconds, the destination may take nothing. Raises `UsageError` for a recording that
    is not whole, or no migration over connections.
    """

    def __init__(
        self,
        recording: Recording,
        uri: str,
        *,
        rate: float | None = None,
        timeout: float = 30.0,
    ) -> None:
        if recording.mapped:
            raise UsageError(
                f"{recording.path} is a mapped-ram file; QEMU itself reads it: "
                f"-incoming file:{recording.path}"
            )
        if recording.main is None:
            raise UsageError(f"{recording.path} has no main channel, which a destination needs")
        if recording.missing_channels:
            missing = ", ".join(map(str, recording.missing_channels))
            raise UsageError(f"{recording.path} lacks channel {missing}; a destination needs all")
        if rate is not None and rate <= 0:
            raise UsageError(f"rate={rate}: give a number of bytes a second above 0")
        if timeout <= 0:
            raise UsageError(f"timeout={timeout}: give a number of seconds above 0")
        self._recording = recording
        self._main: Source = recording.main
        self._address = parse(uri)
        self._timeout = timeout
        self._session = Session()
        self._pace = _Pace(rate)
        self._links: list[Link] = []
        self._stream = MainParser()
        self._lock = threading.Lock()
        self._running = 0
        self._answered = threading.Event()
        self._arrived: bool | None = None

    @property
    def sent_bytes(self) -> int:
        """How many bytes have been sent."""
        return self._pace.passed

    def play(self) -> Played:
        """Send everything, and wait for the destination's word, or for its end of the connection.

        Raises `RemoteError` where the destination says that it has failed, `LinkError` where it
        is gone, `LinkTimeout` where it takes nothing, and what reading the recording raises.
        """
        started = time.monotonic()
        self._session.on_failure(self._abort)
        try:
            sources = [self._main, *self._recording.channels.values()]
            self._running = len(sources)
            # QEMU 7.2 takes the first connection for the main channel.
            for source in sources:
                link = dial(self._address, self._timeout)
                self._links.append(link)
                self._session.start(f"play-{source.path.name}", self._send, source, link)
            self._session.start("play-answers", self._listen, self._links[0])
            self._wait(lambda: not self._running)
            for link in self._links:
                link.end()
            self._wait(self._answered.is_set)
        except BaseException as error:
            self._session.fail(error)
            raise
        finally:
            for link in self._links:
                link.abort()
            self._session.join()
            for link in self._links:
                link.close()
        if self._arrived is False:
            raise RemoteError("the destination says that the migration has failed")
        return Played(
            channels=len(self._recording.channels),
            sent_bytes=self.sent_bytes,
            seconds=time.monotonic() - started,
            arrived=self._arrived,
        )

    def _wait(self, condition: Callable[[], bool]) -> None:
        """Wait for ``condition``; give up where nothing has been taken for too long."""
        sent, since = -1, time.monotonic()
        while not condition():
            self._session.wait(condition, _LOOK)
            now = time.monotonic()
            if self.sent_bytes != sent:
                sent, since = self.sent_bytes, now
            elif now - since > self._timeout:
                raise LinkTimeout(
                    f"{self._address} has taken nothing and said nothing for {self._timeout:g} s"
                )

    def _send(self, source: Source, link: Link) -> None:
        with source.open() as file:
            while data := file.read(self._pace.chunk):
                if source is self._main and not self._stream.blocks:
                    self._stream.feed(data)
                self._pace.wait(len(data), self._session)
                link.send([data])
        with self._lock:
            self._running -= 1

    def _listen(self, link: Link) -> None:
        """Take the destination's answers, up to its last."""
        parser = ReturnPathParser()
        while self._arrived is None and (data := link.receive_available(_CHUNK)):
            for message in parser.feed(data):
                if message.arrived is not None:
                    self._arrived = message.arrived
        if self._arrived is None and self._stream.return_path:
            raise LinkError(
                f"{link.peer} closed the connection without saying that the guest has arrived"
            )
        self._answered.set()

    def _abort(self, error: BaseException) -> None:
        for link in list(self._links):
            link.abort()


class _Pace:
    """Holds senders back so that together they send no more than ``rate`` bytes a second."""

    def __init__(self, rate: float | None) -> None:
        self.passed = 0
        self.chunk = _CHUNK if rate is None else max(512, min(_CHUNK, int(rate / 20)))
        self._rate = rate
        self._lock = threading.Lock()
        self._next = 0.0

    def wait(self, count: int, session: Session) -> None:
        """Wait until ``count`` bytes may be sent. Raises the session's error where it fails."""
        with self._lock:
            self.passed += count
            if self._rate is None:
                return
            now = time.monotonic()
            turn = max(now, self._next)
            self._next = turn + count / self._rate
        if turn > now:
            session.wait(lambda: False, turn - now)
