"""Taking a session's connections in: first the control connection, then its channels.

Whoever connects is a stranger until its first bytes say what it is; several may be on their way
at once, and none can hold the others up.
"""

from __future__ import annotations

import selectors
import time
from collections import deque
from collections.abc import Callable, Iterator
from uuid import UUID

from codecs_core.errors import LinkError, LinkTimeout, ProtocolError
from codecs_core.transport.connect import Listener
from codecs_core.transport.link import Link
from codecs_core.wire import control, packet

__all__ = ["Reception"]

_LOOK = 0.2
"""Seconds between two looks at whether the session still goes on."""
_STRANGERS = 64
"""How many connections may be on their way at once."""
_CHANNEL = packet.MAGIC.to_bytes(4)


class _Stranger:
    """A connection whose first bytes are on their way."""

    def __init__(self, link: Link, deadline: float) -> None:
        self.link = link
        self.deadline = deadline
        self.data = b""

    @property
    def wanted(self) -> int:
        """How many bytes say what it is."""
        return packet.INIT_SIZE if self.data[:4] == _CHANNEL else control.PREAMBLE_SIZE


class Reception:
    """Accepts connections on ``listener``.

    ``check`` is called several times a second and raises where waiting has become pointless.
    ``timeout`` is how long, in seconds, a connection may take to say what it is, and the channels
    to come.
    """

    def __init__(self, listener: Listener, timeout: float, check: Callable[[], None]) -> None:
        self._listener = listener
        self._timeout = timeout
        self._check = check
        self._selector = selectors.DefaultSelector()
        self._strangers: set[_Stranger] = set()

    def control(self) -> tuple[Link, bytes]:
        """Wait, for as long as it takes, for the first connection, which is the control one.

        Returns the link and its preamble, unchecked. Raises `ProtocolError` where it is a
        channel, `LinkTimeout` where it says nothing.
        """
        if (fd := self._listener.fileno()) is not None:
            self._selector.register(fd, selectors.EVENT_READ)
        self._summon()
        while True:
            for stranger in self._pump():
                if isinstance(stranger, LinkError):
                    raise stranger
                if stranger.data[:4] == _CHANNEL:
                    peer = stranger.link.peer
                    stranger.link.close()
                    raise ProtocolError(
                        f"{peer} opened a multifd channel, but no control connection before it; "
                        "QEMU itself connects to a relay"
                    )
                return stranger.link, stranger.data

    def channels(self, token: UUID, count: int) -> list[Link]:
        """Wait for the session's channels, and return their links by number.

        Connections that do not belong here are refused, and do no harm. Raises `LinkTimeout`,
        naming those, where channels are missing after the timeout.
        """
        joined: dict[int, Link] = {}
        refused: deque[str] = deque(maxlen=4)
        deadline = time.monotonic() + self._timeout
        try:
            for _ in range(count):
                self._summon()
            while len(joined) < count:
                for stranger in self._pump():
                    if isinstance(stranger, LinkError):
                        refused.append(str(stranger))
                        continue
                    try:
                        number = _number_of(stranger, token, count, joined)
                    except ProtocolError as error:
                        refused.append(f"{stranger.link.peer}: {error}")
                        stranger.link.close()
                        continue
                    joined[number] = stranger.link
                if len(joined) < count and time.monotonic() > deadline:
                    why = "".join(f"; refused {each}" for each in refused)
                    raise LinkTimeout(
                        f"{len(joined)} of {count} channels came in {self._timeout:g} s{why}"
                    )
        except BaseException:
            for link in joined.values():
                link.close()
            raise
        return [joined[number] for number in range(count)]

    def close(self) -> None:
        """Let go of all connections that are on their way. The listener is its owner's."""
        self._selector.close()
        for each in self._strangers:
            each.link.close()
        self._strangers.clear()

    def _summon(self) -> None:
        """Take a link from a listener that has them at hand."""
        if self._listener.fileno() is None and (link := self._listener.accept()) is not None:
            self._welcome(link)

    def _welcome(self, link: Link) -> None:
        stranger = _Stranger(link, time.monotonic() + self._timeout)
        self._strangers.add(stranger)
        self._selector.register(link, selectors.EVENT_READ, stranger)

    def _pump(self) -> Iterator[_Stranger | LinkError]:
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

    def _hear(self, stranger: _Stranger) -> _Stranger | LinkError | None:
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

    def _dismiss(self, stranger: _Stranger) -> None:
        self._strangers.discard(stranger)
        self._selector.unregister(stranger.link)


def _number_of(stranger: _Stranger, token: UUID, count: int, joined: dict[int, Link]) -> int:
    """Return the channel that a connection is. Raises `ProtocolError` where it is none of ours."""
    if stranger.data[:4] != _CHANNEL:
        control.check_preamble(stranger.data)
        raise ProtocolError("a second control connection")
    init = packet.ChannelInit.decode(stranger.data)
    if init.uuid != token:
        raise ProtocolError("a channel with another session's token")
    if init.channel >= count:
        raise ProtocolError(f"channel {init.channel}, where {count} were agreed")
    if init.channel in joined:
        raise ProtocolError(f"channel {init.channel} a second time")
    return init.channel
