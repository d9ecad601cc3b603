"""A channel without a connection of its own: its bytes travel in DATA frames of the control one.

That is how a session goes over one stream, an inherited socket say. See ``shared`` of HELLO.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from codecs_core.codec import Buffer
from codecs_core.engine.control import Control
from codecs_core.errors import LinkError, LinkTimeout
from codecs_core.wire import control as wire

__all__ = ["DataReader", "DataWriter"]

_FRAME = 4
"""How many times the timeout a frame of DATA may take; a packet on a slow link takes a while."""


class DataWriter:
    """A channel that has no connection of its own: it sends in DATA frames of the control one."""

    def __init__(self, control: Control) -> None:
        self._control = control

    def send(self, buffers: Sequence[Buffer]) -> None:
        """Send ``buffers`` as one frame."""
        header = wire.frame_header(wire.Type.DATA, sum(map(len, buffers)))
        self._control.send_buffers([header, *buffers])

    def backlog(self) -> int | None:
        """How many bytes of the connection are not on their way yet."""
        return self._control.link.backlog()

    def limit_backlog(self, size: int) -> None:
        """As `Link.limit_backlog`, for the connection."""
        self._control.link.limit_backlog(size)

    def end(self) -> None:
        """Nothing: DONE ends the channel."""

    def abort(self) -> None:
        """Wake a blocked send."""
        self._control.stop()

    def close(self) -> None:
        """Nothing: the control connection is closed by its owner."""


class DataReader:
    """The other end of a `DataWriter`: hands DATA on, and all other messages to ``handle``.

    A frame that does not end is given up after four times the timeout: its length was damaged, and
    what comes are signs of life.
    """

    def __init__(self, control: Control, handle: Callable[[wire.Message], bool]) -> None:
        self._control = control
        self._handle = handle
        self._rest = 0
        self._waited = 0.0
        self._ended = False

    def receive_into(self, buffer: memoryview) -> int:
        """Receive what fits ``buffer``; 0 once ``handle`` has said that no more comes."""
        while not self._rest and not self._ended:
            kind, length = self._control.receive_header()
            if kind is wire.Type.DATA:
                self._rest = length
                self._waited = 0.0
                continue
            message = self._control.receive_body(kind, length)
            if not isinstance(message, wire.KeepAlive):
                self._ended = not self._handle(message)
        if self._ended:
            return 0
        started = time.monotonic()
        count = self._control.link.receive_into(buffer[: self._rest])
        if not count:
            raise LinkError(f"{self._control.link.peer} disappeared inside a packet")
        self._rest -= count
        # Only our waiting counts: storing may take as long as it likes.
        self._waited += time.monotonic() - started
        if self._rest and self._waited > _FRAME * self._control.timeout:
            raise LinkTimeout(
                f"receiving: {self._rest} bytes of a packet did not come from "
                f"{self._control.link.peer} in {self._waited:.1f} s"
            )
        return count

    def count(self) -> None:
        """Nothing: what is lost here, is lost to the control connection, too."""

    def confirm(self) -> None:
        """Nothing, for the same reason."""

    def abort(self) -> None:
        """Wake a blocked receive."""
        self._control.stop()

    def close(self) -> None:
        """Nothing: the control connection is closed by its owner."""
