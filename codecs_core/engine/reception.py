"""Taking a session's connections in: first the control connection, then its channels."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from uuid import UUID

from codecs_core.engine.keeper import Doorkeeper, read_rejoin
from codecs_core.engine.lobby import Lobby, Stranger
from codecs_core.errors import LinkError, LinkTimeout, ProtocolError, TlsError
from codecs_core.transport.connect import Listener
from codecs_core.transport.link import Link
from codecs_core.wire import control, packet

__all__ = ["Reception"]

_WORD = 5.0
"""Seconds in which a connection that is made again must say so."""


class Reception:
    """Accepts connections on ``listener``.

    ``check`` is called several times a second and raises where waiting has become pointless.
    ``timeout`` is how long, in seconds, a connection may take to say what it is, and the channels
    to come. ``on_refusal`` is told of connections that were refused, and why.
    """

    def __init__(
        self,
        listener: Listener,
        timeout: float,
        check: Callable[[], None],
        on_refusal: Callable[[str], None],
    ) -> None:
        self._timeout = timeout
        self._lobby = Lobby(listener, timeout, check)
        self._on_refusal = on_refusal
        self._certificate: bytes | None = None

    def control(self) -> tuple[Link, bytes]:
        """Wait, for as long as it takes, for the first connection, which is the control one.

        Returns the link and its preamble, unchecked. Who fails in TLS is refused, and does not end
        the wait. Raises `ProtocolError` where it is a channel, `LinkTimeout` where it says nothing.
        """
        self._lobby.open()
        self._lobby.summon()
        while True:
            for stranger in self._lobby.poll():
                if isinstance(stranger, TlsError) and self._lobby.is_open:
                    self._on_refusal(str(stranger))
                    continue
                if isinstance(stranger, LinkError):
                    raise stranger
                if stranger.is_channel:
                    peer = stranger.link.peer
                    stranger.link.close()
                    raise ProtocolError(
                        f"{peer} opened a multifd channel, but no control connection before it; "
                        "QEMU itself connects to a relay"
                    )
                self._certificate = stranger.link.certificate
                return stranger.link, stranger.data

    def channels(self, token: UUID, count: int, keeper: Doorkeeper | None = None) -> list[Link]:
        """Wait for the session's channels, and return their links by number.

        Connections that do not belong here are refused, and do no harm. With a ``keeper`` those
        that are lost meanwhile may be made again. Raises `LinkTimeout`, naming those refused,
        where channels are missing after the timeout.
        """
        joined: dict[int, Link] = {}
        refused: deque[str] = deque(maxlen=4)

        def refuse(why: str) -> None:
            refused.append(why)
            self._on_refusal(why)

        deadline = time.monotonic() + self._timeout + (keeper.patience if keeper else 0)
        ask = time.monotonic() + self._timeout / 4
        try:
            for _ in range(count):
                self._lobby.summon()
            while len(joined) < count:
                for stranger in self._lobby.poll():
                    if isinstance(stranger, LinkError):
                        refuse(str(stranger))
                        continue
                    try:
                        if keeper is not None and not stranger.is_channel:
                            number = self._admit(stranger, keeper, count)
                        else:
                            number = _number_of(stranger, token, count, joined)
                            if stranger.link.certificate != self._certificate:
                                raise ProtocolError("a channel with another certificate")
                    except (LinkError, ProtocolError) as error:
                        refuse(f"{stranger.link.peer}: {error}")
                        stranger.link.close()
                        continue
                    if number is not None:
                        link = stranger.link
                        joined[number] = link if keeper is None else keeper.keep(link, number)
                if keeper is not None and time.monotonic() > ask:
                    ask = time.monotonic() + self._timeout / 4
                    keeper.ask(set(range(count)) - joined.keys())
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

    def _admit(self, stranger: Stranger, keeper: Doorkeeper, count: int) -> int | None:
        """Take in a connection that was made again; return the channel that joins by it."""
        link = stranger.link
        rejoin = read_rejoin(link, stranger.data, min(self._timeout, _WORD))
        if keeper.knows(rejoin.link):
            keeper.readmit(link, rejoin)
            return None
        if rejoin.link >= count:
            raise ProtocolError(f"channel {rejoin.link}, where {count} were agreed")
        keeper.admit(link, rejoin)
        return rejoin.link

    @property
    def is_open(self) -> bool:
        """Whether connections can come that were not there from the beginning."""
        return self._lobby.is_open

    def readmit(self, keeper: Doorkeeper) -> None:
        """Wait a moment for connections of the session that are made again, and take them in."""
        for stranger in self._lobby.poll():
            if isinstance(stranger, LinkError):
                self._on_refusal(str(stranger))
                continue
            link = stranger.link
            try:
                if stranger.is_channel:
                    raise ProtocolError("a channel that is late")
                keeper.readmit(link, read_rejoin(link, stranger.data, min(self._timeout, _WORD)))
            except (LinkError, ProtocolError) as error:
                link.close()
                self._on_refusal(f"{link.peer}: {error}")

    def close(self) -> None:
        """Let go of all connections that are on their way. The listener is its owner's."""
        self._lobby.close()


def _number_of(stranger: Stranger, token: UUID, count: int, joined: dict[int, Link]) -> int:
    """Return the channel that a connection is. Raises `ProtocolError` where it is none of ours."""
    if not stranger.is_channel:
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
