"""Whether all arrives on a channel that its sender has sent.

A channel may be idle for as long as its sender is. But what the sender has begun to send must come:
a connection can stand still, or end, somewhere on its way, while the control connection lives and
the sender notices nothing. So the sender tells by KEEPALIVE how many packets it has begun on each
channel, and the receiving end compares.
"""

from __future__ import annotations

from collections.abc import Callable

from codecs_core.engine.control import Control
from codecs_core.engine.session import Session
from codecs_core.errors import LinkTimeout, TruncatedStream
from codecs_core.transport.link import Link

__all__ = ["Arrival"]


class Arrival:
    """What arrives on ``link`` as channel ``number``, against what ``control`` is told of it.

    ``over`` tells whether the sender has said that it has sent everything.
    """

    def __init__(
        self,
        number: int,
        link: Link,
        control: Control,
        session: Session,
        over: Callable[[], bool] = lambda: False,
    ) -> None:
        self._came = 0
        self._number = number
        self._link = link
        self._control = control
        self._session = session
        self._over = over
        link.set_timeout(receive=control.timeout / 2)

    def receive_into(self, buffer: memoryview) -> int:
        """Receive as a `Link` does.

        Raises `LinkTimeout` where nothing comes in time although more is due.
        """
        due = False
        while True:
            try:
                return self._link.receive_into(buffer)
            except LinkTimeout:
                if due:
                    self._link.stalled(
                        LinkTimeout(
                            f"channel {self._number} stands still: nothing came for "
                            f"{self._control.timeout:g} s, though {self._link.peer} has sent more"
                        )
                    )
                begun, ended = self._told()
                due = ended or begun > self._came or self._over()

    def count(self) -> None:
        """One more packet has arrived whole."""
        self._came += 1

    def confirm(self) -> None:
        """See that the channel, which has ended here, was ended by its sender.

        Raises `TruncatedStream` where it was not, or where packets are missing.
        """
        self._session.wait(lambda: self._told()[1] or self._over(), self._control.timeout)
        begun, ended = self._told()
        if begun > self._came or not (ended or self._over()):
            raise TruncatedStream(
                f"channel {self._number} ended after {self._came} packets, but "
                f"{self._link.peer} has sent {max(begun, self._came)}"
                f"{'' if ended else ' and has not ended it'}"
            )

    def _told(self) -> tuple[int, bool]:
        return self._control.told.get(self._number, (0, False))
