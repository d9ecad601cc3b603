"""A link that outlives its connections: what a lost one has swallowed is sent again on the next.

Both ends count the bytes of the stream. The sending end keeps what is not acknowledged; once there
is a new connection, it goes on behind the last byte that the other end has taken. Who sends and who
receives notices nothing of it but the time it takes.

How a new connection comes about, and how the ends tell each other what is not in the stream, is the
affair of a `Keeper`.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Protocol

from codecs_core.codec import Buffer
from codecs_core.errors import LinkError, LinkTimeout
from codecs_core.transport.link import Link
from codecs_core.transport.window import Window

__all__ = ["WINDOW", "Keeper", "LastingLink"]

WINDOW = 2 << 20
"""How many bytes may be on their way unacknowledged: two packets at least."""
_ACKNOWLEDGE = WINDOW // 8
_WORD = 1.0
"""Seconds in which the word comes that a stream has ended where its connection did."""


class Keeper(Protocol):
    """Sees to it that lasting links get connections, and carries word between their ends."""

    patience: float
    """How many seconds a link may be without a connection."""

    def lost(self, link: LastingLink, epoch: int, error: LinkError) -> None:
        """Connection number ``epoch`` of ``link`` is lost: see that there will be another.

        Raises `LinkError` where none can be made.
        """

    def received(self, link: LastingLink) -> bool:
        """Tell the other end how much was taken; ``False`` where that has to be done later."""

    def ended(self, link: LastingLink) -> None:
        """Tell the other end how long the stream is."""


class LastingLink(Link):
    """Link ``number`` of a session. ``received`` counts the bytes taken, ``epoch`` connections.

    ``since`` is when the present one was made, by the monotonic clock. ``length`` is that of the
    stream that is received, once the other end has told it. Where ``talkative``, a peer that is
    silent for the receive timeout has lost the connection. One thread at a time may send, and one
    receive; the other methods may be called by any.
    """

    def __init__(self, link: Link, number: int, keeper: Keeper, *, talkative: bool = False) -> None:
        self.number = number
        self.peer = link.peer
        self.protected = link.protected
        self.certificate = link.certificate
        self.received = 0
        self.epoch = 0
        self.since = time.monotonic()
        self.length: int | None = None
        self.window = Window(WINDOW)
        self._link = link
        self._keeper = keeper
        self._talkative = talkative
        self._changed = threading.Condition()
        self._sending = threading.Lock()
        self._receiving = threading.Lock()
        self._told = 0
        self._timeouts: dict[str, float | None] = {}
        self._limit: int | None = None
        self._settled = False
        self._ended = False

    # As any link.

    def fileno(self) -> int:
        """The descriptor of the present connection."""
        return self._link.fileno()

    @property
    def near(self) -> bool:
        """As `Link.near`, of the present connection."""
        return self._link.near

    def set_timeout(self, *, receive: float | None = None, send: float | None = None) -> None:
        """As `Link.set_timeout`, for the connections to come, too."""
        self._timeouts = {"receive": receive, "send": send}
        self._link.set_timeout(**self._timeouts)

    def send(self, buffers: Sequence[Buffer]) -> None:
        """Send all of ``buffers``, at most a window. Raises `LinkError` once it is given up."""
        size = sum(map(len, buffers))
        self._wait(lambda: self.window.room >= size)
        with self._sending:
            epoch = self.epoch
            self.window.append(buffers)
            try:
                self._link.send(buffers)
                return
            except LinkError as error:
                lost = error
        # It is in the window, and will be sent again.
        self.mend(epoch, lost)

    def backlog(self) -> int | None:
        """How many bytes are not acknowledged, but for those of which it is not due yet."""
        return max(0, WINDOW - self.window.room - 2 * _ACKNOWLEDGE)

    def limit_backlog(self, size: int) -> None:
        """As `Link.limit_backlog`, for the connections to come, too."""
        self._limit = size
        self._link.limit_backlog(size)

    def receive_into(self, buffer: memoryview) -> int:
        """As `Link.receive_into`. Raises `LinkError` once the link is given up."""
        while self.length is None or self.received < self.length:
            with self._receiving:
                epoch, count = self.epoch, 0
                lost: LinkError | None = None
                try:
                    count = self._link.receive_into(buffer)
                except LinkError as error:
                    lost = error
                self.received += count
            if count:
                taken = self.received
                if taken - self._told >= _ACKNOWLEDGE and self._keeper.received(self):
                    self._told = taken
                return count
            if isinstance(lost, LinkTimeout) and (not self._talkative or self._settled):
                raise lost
            if self._settled:
                return 0
            if lost is None:
                # An end that is meant is told, by another connection that may be slower.
                self._mended(epoch, _WORD)
                lost = LinkError(f"{self.peer} closed the connection")
            self.mend(epoch, lost)
        return 0

    def receive_exactly(self, size: int) -> bytearray | None:
        """As `Link.receive_exactly`; the time without a connection does not count."""
        data = bytearray(size)
        filled, epoch, give_up = 0, -1, math.inf
        while filled < size:
            if epoch != self.epoch:
                epoch = self.epoch
                give_up = time.monotonic() + (self._timeouts.get("receive") or math.inf)
            if filled and time.monotonic() > give_up:
                raise LinkTimeout(f"receiving: {self.peer} did not send a message whole")
            count = self.receive_into(memoryview(data)[filled:])
            if not count:
                if not filled:
                    return None
                raise LinkError(f"{self.peer} closed the connection inside a message")
            filled += count
        return data

    def end(self) -> None:
        """Tell the peer that no more will be sent; receiving goes on."""
        self._keeper.ended(self)
        with self._sending:
            self._ended = True
            self._link.end()

    def abort(self) -> None:
        """End the link at once; whoever waits in it gets an error."""
        self.settle()
        self._link.abort()

    def close(self, *, drain: bool = False) -> None:
        """As `Link.close`."""
        self.settle()
        self._link.close(drain=drain)

    def stalled(self, error: LinkTimeout) -> None:
        """Have another connection in place of one that stands still."""
        self.mend(self.epoch, error)

    def settle(self) -> None:
        """Have no other connection after this one."""
        with self._changed:
            self._settled = True
            self._changed.notify_all()

    # For the keeper.

    @property
    def settled(self) -> bool:
        """Whether there will be no other connection."""
        return self._settled

    @property
    def ended(self) -> bool:
        """Whether all was sent."""
        return self._ended

    def acknowledge(self, count: int) -> None:
        """The other end has taken ``count`` bytes. Raises `ProtocolError`."""
        with self._changed:
            self.window.acknowledge(count)
            self._changed.notify_all()

    def finish(self, length: int) -> None:
        """The other end will send ``length`` bytes in all."""
        with self._changed:
            self.length = length
            self._changed.notify_all()

    def suspect(self) -> None:
        """End the present connection, so that there will be another."""
        self._link.abort()

    def mend(self, epoch: int, error: LinkError) -> None:
        """Return when there is another connection than ``epoch``, or none is needed any more.

        Raises ``error`` where the link has been settled, `LinkError` where it is given up.
        """
        if self._mended(epoch, 0):
            return
        if not self._settled:
            self._keeper.lost(self, epoch, error)
            if not self._mended(epoch, self._keeper.patience) and not self._settled:
                raise LinkError(f"{error}; no other came in {self._keeper.patience:g} s") from error
        if not self._mended(epoch, 0):
            raise error

    def replace(self, link: Link, exchange: Callable[[int], int]) -> None:
        """Go on with ``link``.

        ``exchange`` tells the other end how much was received here, and returns how much there.
        Raises `LinkError` where ``link`` is lost already, `ProtocolError` where what the other end
        says cannot be; this end is as before then.
        """
        old = self._link
        # Wakes who waits in it: what was received must not become more while it is being told.
        old.abort()
        with self._sending:
            with self._receiving:
                count = exchange(self.received)
                rest = self.window.rest(count)
                link.set_timeout(**self._timeouts)
                if self._limit is not None:
                    link.limit_backlog(self._limit)
                self._link = link
                with self._changed:
                    self.epoch += 1
                    self.since = time.monotonic()
                    self._changed.notify_all()
            self.acknowledge(count)
            # Who receives will notice, should this connection be lost, too.
            with suppress(LinkError):
                if rest:
                    link.send(rest)
                if self._ended:
                    link.end()
        old.close()

    def _mended(self, epoch: int, timeout: float) -> bool:
        """Wait for another connection than ``epoch``; return whether it is there, or not needed."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_mended(epoch) or self._settled, timeout)
            return self._is_mended(epoch)

    def _is_mended(self, epoch: int) -> bool:
        return self.epoch != epoch or self.length == self.received

    def _wait(self, condition: Callable[[], bool]) -> None:
        with self._changed:
            self._changed.wait_for(lambda: condition() or self._settled)
        if not condition():
            raise LinkError(f"the connection to {self.peer} has ended")
