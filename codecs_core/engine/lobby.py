"""Connections on their way in: whoever connects is a stranger until its first bytes say what it is.

Several may be on their way at once, and none can hold the others up.
"""

from __future__ import annotations

import selectors
import time
from collections.abc import Callable, Iterator

from codecs_core.errors import LinkError, LinkTimeout
from codecs_core.transport.connect import Listener
from codecs_core.transport.link import Link
from codecs_core.wire import control, packet

__all__ = ["Lobby", "Stranger"]

_LOOK = 0.2
"""Seconds between two looks at whether the session still goes on."""
_STRANGERS = 64
"""How many connections may be on their way at once."""
_CHANNEL = packet.MAGIC.to_bytes(4)


class Stranger:
    """A connection whose first bytes are on their way."""

    def __init__(self, link: Link, deadline: float) -> None:
        self.link = link
        self.deadline = deadline
        self.data = b""

    @property
    def is_channel(self) -> bool:
        """Whether it begins as a multifd channel does."""
        return self.data[:4] == _CHANNEL

    @property
    def wanted(self) -> int:
        """How many bytes say what it is."""
        return packet.INIT_SIZE if self.is_channel else control.PREAMBLE_SIZE


class Lobby:
    """Accepts connections on ``listener``, and hands each on once it has said what it is.

    ``check`` is called several times a second and raises where waiting has become pointless.
    ``timeout`` is how long, in seconds, a connection may take to say what it is.
    """

    def __init__(self, listener: Listener, timeout: float, check: Callable[[], None]) -> None:
        self._listener = listener
        self._timeout = timeout
        self._check = check
        self._selector = selectors.DefaultSelector()
        self._strangers: set[Stranger] = set()

    def open(self) -> None:
        """Begin to accept."""
        if (fd := self._listener.fileno()) is not None:
            self._selector.register(fd, selectors.EVENT_READ)

    def close(self) -> None:
        """Let go of all connections that are on their way. The listener is its owner's."""
        self._selector.close()
        for each in self._strangers:
            each.link.close()
        self._strangers.clear()

    def summon(self) -> None:
        """Take a link from a listener that has them at hand."""
        if self._listener.fileno() is None and (link := self._listener.accept()) is not None:
            self._welcome(link)

    def _welcome(self, link: Link) -> None:
        stranger = Stranger(link, time.monotonic() + self._timeout)
        self._strangers.add(stranger)
        self._selector.register(link, selectors.EVENT_READ, stranger)

    def poll(self) -> Iterator[Stranger | LinkError]:
        """Wait a moment; yield who has said what it is, and why others were let go."""
        self._check()
        for key, _ in self._selector.select(_LOOK):
            if key.data is None:
                self._accept()
            elif (heard := self._hear(key.data)) is not None:
                yield heard
        now = time.monotonic()
        for each in [each for each in self._strangers if each.deadline < now]:
            self._dismiss(each)
            each.link.close()
            yield LinkTimeout(
                f"{each.link.peer} connected, but said nothing for {self._timeout:g} s"
            )

    def _accept(self) -> None:
        link = self._listener.accept()
        if link is not None and len(self._strangers) < _STRANGERS:
            self._welcome(link)
        elif link is not None:
            link.close()

    def _hear(self, stranger: Stranger) -> Stranger | LinkError | None:
        """Take what has arrived; return the stranger once that is enough to know who it is.

        A connection that closes without a word was a probe of the port, and is forgotten.
        """
        try:
            data = stranger.link.receive_available(stranger.wanted - len(stranger.data))
        except LinkError:
            data = b""
        stranger.data += data
        if data and len(stranger.data) < stranger.wanted:
            return None
        self._dismiss(stranger)
        if data:
            return stranger
        stranger.link.close()
        if not stranger.data and self._listener.fileno() is not None:
            return None
        return LinkError(
            f"{stranger.link.peer} closed the connection after {len(stranger.data)} bytes"
        )

    def _dismiss(self, stranger: Stranger) -> None:
        self._strangers.discard(stranger)
        self._selector.unregister(stranger.link)
