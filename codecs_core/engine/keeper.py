"""Keeps a session's links in connections: a lost one is made again, by the end that dials.

::

    dialling end                       listening end
    Redialler                          Doorkeeper
      RECEIVED, ENDED      ──────────▶   and back, on the control connection
                           ◀──────────  LOST
      REJOIN               ──────────▶   on a new connection
                           ◀──────────  REJOINED
"""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Final

from codecs_core.engine.control import Control, receive_body, receive_header
from codecs_core.engine.session import Session
from codecs_core.errors import CodecsCoreError, LinkError, ProtocolError, RemoteError
from codecs_core.transport.lasting import LastingLink
from codecs_core.transport.link import Link
from codecs_core.wire import control as wire

__all__ = ["CONTROL", "Doorkeeper", "LinkKeeper", "Redialler", "read_rejoin"]

CONTROL: Final = 255
"""The number of the control connection; channels have those below."""
_FIRST_PAUSE: Final = 0.05
_LONGEST_PAUSE: Final = 2.0
_NOBODY: Final = (ConnectionRefusedError, FileNotFoundError)
_REFUSALS: Final = 5
"""How often in a row nobody may be listening. The end that listens does so as long as it lives."""


class LinkKeeper:
    """The lasting links of one session. ``control`` becomes one of them."""

    def __init__(self, control: Control, session: Session, token: str, patience: float) -> None:
        self.patience = patience
        self.repairs = 0
        self._control = control
        self._session = session
        self._token = token
        self._links: dict[int, LastingLink] = {}
        self._lengths: dict[int, int] = {}
        self._lock = threading.Lock()
        timeout = control.timeout
        control.link = self.keep(control.link, CONTROL)
        control.link.set_timeout(receive=timeout)
        control.keeper = self

    def keep(self, link: Link, number: int) -> LastingLink:
        """Make a lasting link of one that is connected, and of which nothing was counted yet."""
        lasting = LastingLink(link, number, self, talkative=number == CONTROL)
        with self._lock:
            self._links[number] = lasting
            if number in self._lengths:
                lasting.finish(self._lengths[number])
        return lasting

    def take(self, message: wire.Received | wire.Ended | wire.Lost) -> None:
        """Take what the other end says of a link. Raises `ProtocolError`."""
        with self._lock:
            link = self._links.get(message.link)
            if link is None:
                # A channel may be longer on its way than what is said of it here.
                if isinstance(message, wire.Ended):
                    self._lengths[message.link] = message.count
                return
        if isinstance(message, wire.Received):
            link.acknowledge(message.count)
        elif isinstance(message, wire.Ended):
            link.finish(message.count)
        else:
            self._make_again(link, message.epoch)

    def received(self, link: LastingLink) -> bool:
        """Tell how much was taken; the other end may be waiting for it.

        Who reads the control connection must not wait for who sends on it: that one may be waiting
        for what is read here. It tells another time where somebody is sending.
        """
        if link.number == CONTROL:
            return self._control.hint(lambda: wire.Received(link.number, link.received))
        self._control.send(wire.Received(link.number, link.received))
        return True

    def remind(self) -> None:
        """Tell how much was taken of each link: what was not told in time is told now."""
        with self._lock:
            links = list(self._links.values())
        for each in links:
            self._control.send(wire.Received(each.number, each.received))

    def ended(self, link: LastingLink) -> None:
        """Tell how long the stream is; that of the control connection ends with the session."""
        if link.number != CONTROL:
            self._control.send(wire.Ended(link.number, link.window.sent))
            return
        link.settle()
        with suppress(LinkError):
            self._control.hint(lambda: _last_word(link.window.sent))

    def ask(self, numbers: Iterable[int]) -> None:
        """Ask for connections for links that have not joined: nothing, at the end that dials."""

    def lost(self, link: LastingLink, epoch: int, error: LinkError) -> None:
        """See `codecs_core.transport.lasting.Keeper`."""
        raise NotImplementedError

    def _make_again(self, link: LastingLink, epoch: int) -> None:
        """The other end has lost connection ``epoch``."""
        raise ProtocolError("LOST came from the end that dials")

    def _link(self, number: int) -> LastingLink:
        with self._lock:
            if number not in self._links:
                raise ProtocolError(f"there is no link {number} in this session")
            return self._links[number]


class Redialler(LinkKeeper):
    """The end that dials, by ``dial``."""

    def __init__(
        self,
        control: Control,
        session: Session,
        token: str,
        patience: float,
        dial: Callable[[], Link],
    ) -> None:
        self._dial = dial
        self._dialling = {number: threading.Lock() for number in range(CONTROL + 1)}
        super().__init__(control, session, token, patience)

    def lost(self, link: LastingLink, epoch: int, error: LinkError) -> None:
        """Dial, again and again, until there is a connection or the patience is over."""
        with self._dialling[link.number]:
            began = time.monotonic()
            give_up = began + self.patience
            pause, refusals, why = _FIRST_PAUSE, 0, error
            while link.epoch == epoch and not link.settled:
                try:
                    self._rejoin(link, began)
                except LinkError as failure:
                    why = failure
                    refused = isinstance(failure.__cause__, _NOBODY)
                    refusals = refusals + 1 if refused else 0
                if link.epoch != epoch:
                    break
                if refusals == _REFUSALS or time.monotonic() > give_up:
                    raise LinkError(f"{error}; no other could be made: {why}") from error
                self._session.wait(lambda: link.settled, pause)
                pause = min(2 * pause, _LONGEST_PAUSE)

    def _rejoin(self, link: LastingLink, lost: float) -> None:
        fresh = self._dial()
        try:
            fresh.set_timeout(receive=self._control.timeout, send=self._control.timeout)
            link.replace(fresh, functools.partial(self._exchange, link, fresh))
        except BaseException:
            fresh.close()
            raise
        self.repairs += 1
        if link.number == CONTROL:
            # What has cut this one, has cut the others.
            with self._lock:
                others = [each for each in self._links.values() if each.since < lost]
            for each in others:
                each.suspect()
                # Who has nothing more to send on it would not notice.
                self._make_again(each, each.epoch)

    def _exchange(self, link: LastingLink, fresh: Link, received: int) -> int:
        rejoin = wire.Rejoin(self._token, link.number, received)
        fresh.send([wire.PREAMBLE, wire.encode(rejoin)])
        kind, length = receive_header(fresh)
        answer = wire.decode(kind, receive_body(fresh, length))
        if isinstance(answer, wire.Reject):
            raise RemoteError(f"{fresh.peer} does not go on: {answer.reason}")
        if not isinstance(answer, wire.Rejoined):
            raise ProtocolError(f"{fresh.peer} answered {answer.type.name} to REJOIN")
        return answer.count

    def _make_again(self, link: LastingLink, epoch: int) -> None:
        if epoch >= link.epoch and not link.settled:
            error = LinkError(f"{link.peer} has lost the connection")
            self._session.start(f"multifd-mend-{link.number}", self._mend, link, link.epoch, error)

    def _mend(self, link: LastingLink, epoch: int, error: LinkError) -> None:
        try:
            link.mend(epoch, error)
        except CodecsCoreError:
            # Where all was sent, the other end may have it all, and be gone: it would say so else.
            if not link.ended:
                raise


class Doorkeeper(LinkKeeper):
    """The end that listens. `readmit` takes new connections in; ``certificate`` is the peer's."""

    def __init__(self, control: Control, session: Session, token: str, patience: float) -> None:
        self._certificate = control.link.certificate
        self._asking = False
        super().__init__(control, session, token, patience)

    def lost(self, link: LastingLink, epoch: int, error: LinkError) -> None:
        """Ask for another connection, where there is a way to ask."""
        if link.number != CONTROL:
            self._control.send(wire.Lost(link.number, epoch))

    def ask(self, numbers: Iterable[int]) -> None:
        """Ask for connections for links that have not joined yet; does not wait."""
        if not self._asking:
            self._asking = True
            self._session.start("multifd-ask", self._ask, list(numbers))

    def _ask(self, numbers: list[int]) -> None:
        for number in numbers:
            self._control.send(wire.Lost(number, 0))
        self._asking = False

    def knows(self, number: int) -> bool:
        """Whether a link with this number has joined."""
        with self._lock:
            return number in self._links

    def admit(self, fresh: Link, message: wire.Rejoin) -> None:
        """Take in the first connection of a link that comes, whose others were lost on the way.

        Raises `ProtocolError` for one that does not belong here, which is closed.
        """
        with self._refusing(fresh, message):
            if message.count:
                raise ProtocolError(f"link {message.link}, of which nothing was sent to it")
            fresh.send([wire.encode(wire.Rejoined(0))])

    def readmit(self, fresh: Link, message: wire.Rejoin) -> None:
        """Go on with a link of this session on a new connection.

        Raises `ProtocolError` for one that does not belong here, which is closed.
        """
        with self._refusing(fresh, message):
            link = self._link(message.link)
            if link.settled:
                raise ProtocolError(f"link {message.link}, which has ended")
            link.replace(fresh, functools.partial(self._exchange, link, fresh, message.count))
        self.repairs += 1

    @contextmanager
    def _refusing(self, fresh: Link, message: wire.Rejoin) -> Iterator[None]:
        """Tell who does not belong here why not."""
        try:
            if message.token != self._token:
                raise ProtocolError("a link with another session's token")
            if fresh.certificate != self._certificate:
                raise ProtocolError("a link with another certificate")
            yield
        except ProtocolError as error:
            fresh.send([wire.encode(wire.Reject(str(error)))])
            fresh.close(drain=True)
            raise

    @staticmethod
    def _exchange(link: LastingLink, fresh: Link, count: int, received: int) -> int:
        link.window.rest(count)
        fresh.send([wire.encode(wire.Rejoined(received))])
        return count


def _last_word(sent: int) -> wire.Ended:
    """The message that ends the control connection, whose stream it is a part of."""
    length = sent
    while (whole := sent + len(wire.encode(wire.Ended(CONTROL, length)))) != length:
        length = whole
    return wire.Ended(CONTROL, length)


def read_rejoin(link: Link, preamble: bytes, timeout: float) -> wire.Rejoin:
    """Return what a new connection says behind its preamble.

    Raises `ProtocolError` where that is no REJOIN, `LinkError` where it does not come in time.
    """
    wire.check_preamble(preamble, link.peer)
    link.set_timeout(receive=timeout, send=timeout)
    kind, length = receive_header(link)
    if kind is not wire.Type.REJOIN:
        raise ProtocolError("a second control connection")
    message = wire.decode(kind, receive_body(link, length))
    assert isinstance(message, wire.Rejoin)
    return message
