"""Connections on their way in: whoever connects is a stranger until its first bytes say what it is.

Several may be on their way at once, and none can hold the others up.
"""

from __future__ import annotations

import selectors
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

from codecs_core.errors import LinkError, LinkTimeout, TlsError
from codecs_core.transport.connect import Listener
from codecs_core.transport.link import LINGER, Link
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
        self.refused = False

    @classmethod
    def known(cls, link: Link, init: packet.ChannelInit) -> Stranger:
        """A connection of which another has told what it is."""
        stranger = cls(link, 0)
        stranger.data = init.encode()
        return stranger

    @property
    def is_channel(self) -> bool:
        """Whether it begins as a multifd channel does."""
        return self.data[:4] == _CHANNEL

    @property
    def missing(self) -> int:
        """How many bytes more say what it is."""
        return (packet.INIT_SIZE if self.is_channel else control.PREAMBLE_SIZE) - len(self.data)


class Lobby:
    """Accepts connections on ``listener``, and hands each on once it has said what it is.

    ``check`` is called several times a second and raises where waiting has become pointless.
    ``timeout`` is how long, in seconds, a connection may take to say what it is, and to prove who
    it is where links are protected.
    """

    def __init__(self, listener: Listener, timeout: float, check: Callable[[], None]) -> None:
        self._listener = listener
        self._timeout = timeout
        self._check = check
        self._selector = selectors.DefaultSelector()
        self._strangers: dict[Stranger, None] = {}

    @property
    def is_open(self) -> bool:
        """Whether others may come than those that were summoned."""
        return self._listener.fileno() is not None

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
        if not self.is_open and (link := self._listener.accept()) is not None:
            self._welcome(link)

    def poll(self) -> Iterator[Stranger | LinkError]:
        """Wait a moment; yield who has said what it is, and why others were let go."""
        self._check()
        for key, _ in self._selector.select(_LOOK):
            if key.data is None:
                self._accept()
            elif key.data not in self._strangers:
                continue
            elif key.data.refused:
                if not key.data.link.discard():
                    self._turn_away(key.data)
            elif (heard := self._hear(key.data)) is not None:
                yield heard
        now = time.monotonic()
        for each in [each for each in self._strangers if each.deadline < now]:
            self._turn_away(each)
            if each.refused:
                continue
            if each.link.protected and each.link.certificate is None:
                yield TlsError(f"{each.link.peer}: no TLS handshake in {self._timeout:g} s")
            else:
                yield LinkTimeout(
                    f"{each.link.peer} connected, but said nothing for {self._timeout:g} s"
                )

    def _accept(self) -> None:
        link = self._listener.accept()
        if link is None:
            return
        if len(self._strangers) >= _STRANGERS:
            # Who has been silent for longest is the least likely to be ours.
            self._turn_away(next(iter(self._strangers)))
        self._welcome(link)

    def _welcome(self, link: Link) -> None:
        stranger = Stranger(link, time.monotonic() + self._timeout)
        self._strangers[stranger] = None
        self._selector.register(link, selectors.EVENT_READ, stranger)

    def _hear(self, stranger: Stranger) -> Stranger | LinkError | None:
        """Take what has arrived; return the stranger once that is enough to know who it is.

        A connection that closes without a word was a probe of the port, and is forgotten.
        """
        try:
            # What the link has decrypted already makes no socket readable: take all there is.
            while data := stranger.link.receive_now(stranger.missing):
                stranger.data += data
                if not stranger.missing:
                    self._dismiss(stranger)
                    return stranger
        except TlsError as error:
            self._refuse(stranger, error)
            return error
        except LinkError:
            data = b""
        if data is None:
            return None
        self._turn_away(stranger)
        if not stranger.data and self.is_open:
            return None
        return LinkError(
            f"{stranger.link.peer} closed the connection after {len(stranger.data)} bytes"
        )

    def _refuse(self, stranger: Stranger, error: TlsError) -> None:
        """Tell the peer why, where it can hear us, and let it read that before it is gone."""
        if stranger.link.certificate is not None:
            with suppress(LinkError):
                stranger.link.send([control.encode(control.Error(str(error)))])
        stranger.link.end()
        stranger.refused = True
        stranger.deadline = time.monotonic() + LINGER

    def _turn_away(self, stranger: Stranger) -> None:
        self._dismiss(stranger)
        stranger.link.close()

    def _dismiss(self, stranger: Stranger) -> None:
        del self._strangers[stranger]
        self._selector.unregister(stranger.link)
