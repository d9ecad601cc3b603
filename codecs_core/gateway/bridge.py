"""One migration on its way through one relay: its main channel, and its multifd channels.

The main channel passes verbatim in both directions. Each multifd channel has a thread that takes
packets in on one side and sends them on the other. All of it fails together: both QEMUs then see
their connections end, and the source's virtual machine runs on.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from codecs_core.engine.arrival import Arrival
from codecs_core.engine.control import Control
from codecs_core.engine.progress import ChannelProgress, Counters
from codecs_core.engine.session import Session
from codecs_core.errors import LinkError, LinkTimeout, ProtocolError
from codecs_core.gateway.transcode import Transcoder
from codecs_core.transport.link import Link
from codecs_core.wire import control as wire
from codecs_core.wire.channel import ChannelParser
from codecs_core.wire.packet import PacketHeader
from codecs_core.wire.return_path import ReturnPathParser

__all__ = ["Bridge"]

_CHUNK = 256 * 1024
_GRACE = 2.0
"""Seconds in which a destination that has closed a channel says that the guest has arrived."""


@dataclass(slots=True)
class _Passage:
    """One multifd channel on its way through: from ``inbound`` to ``outbound``."""

    number: int
    inbound: Link
    outbound: Link
    transcoder: Transcoder
    counters: Counters = field(default_factory=Counters)
    syncs: int = 0


class Bridge:
    """``main`` leads to a QEMU, ``control`` to the other relay.

    ``main_bytes`` counts what our QEMU has sent on the main channel.
    """

    def __init__(self, session: Session, control: Control, main: Link) -> None:
        self._session = session
        self._control = control
        self._main = main
        self._passages: list[_Passage] = []
        self._sent: dict[int, tuple[int, bool]] = {}
        self._joined: set[int] = set()
        self._missed: dict[int, float] = {}
        self._lock = threading.Lock()
        self._running = 2
        self._restores = False
        self._closed = False
        self._main_closed = False
        self._arrived = threading.Event()
        self.main_bytes = 0
        session.on_failure(self._abort)

    @property
    def packets(self) -> int:
        """Packets that have passed, SYNCs among them."""
        return sum(each.counters.packets for each in self._passages)

    @property
    def pages(self) -> int:
        """Pages that have passed."""
        return sum(each.counters.normal_pages + each.counters.zero_pages for each in self._passages)

    @property
    def wire_bytes(self) -> int:
        """What the channels carried between the relays, without their inits."""
        return sum(each.counters.wire_bytes for each in self._passages)

    @property
    def syncs(self) -> int:
        """SYNCs that have passed on a channel: all of them have the same ones."""
        return max((each.syncs for each in self._passages), default=0)

    def channels(self) -> tuple[ChannelProgress, ...]:
        """Take a snapshot of every channel, in the order of their numbers."""
        passages = sorted(self._passages, key=lambda each: each.number)
        return tuple(
            ChannelProgress.of(
                each.number,
                each.counters,
                each.transcoder,
                each.transcoder.packets,
                each.transcoder.reason(),
            )
            for each in passages
        )

    @property
    def methods(self) -> dict[str, int]:
        """How many packets each codec has served between the relays, by its label, most first."""
        total: Counter[str] = Counter()
        for each in self._passages:
            # A copy: the channel goes on.
            total.update(dict(each.transcoder.packets))
        return dict(total.most_common())

    def start(self, first: bytes = b"") -> None:
        """Begin to pass the main channel, of which ``first`` has been read already."""
        self._restores = not first
        self._control.sent = self._sent.copy
        self._control.start(None)
        self._session.start("relay-main-out", self._main_out, first)
        self._session.start("relay-main-in", self._main_in)

    def add_channel(
        self, number: int, inbound: Link, outbound: Link, transcoder: Transcoder
    ) -> None:
        """Pass the packets of channel ``number``, whose init is through."""
        with self._lock:
            self._running += 1
            self._joined.add(number)
            if transcoder.compresses:
                self._sent[number] = (0, False)
            passage = _Passage(number, inbound, outbound, transcoder)
            self._passages.append(passage)
        if self._session.error is not None:
            self._abort(self._session.error)
        self._session.start(
            f"relay-channel-{number}", self._channel, passage, busy=transcoder.computes
        )

    def wait(self) -> None:
        """Wait until all channels have ended. Raises what the migration failed with."""
        self._session.wait(lambda: self._running == 0)

    def close(self) -> None:
        """Release everything."""
        self._closed = True
        self._control.close(drain=True)
        self._session.join()
        self._main.close()
        for each in self._passages:
            each.inbound.close()
            each.outbound.close()
            each.transcoder.close()

    def _main_out(self, data: bytes) -> None:
        """From our QEMU to the other relay."""
        answers = ReturnPathParser() if self._restores else None
        while data or (data := self._main.receive_available(_CHUNK)):
            self._control.send(wire.Data(data))
            if answers is not None:
                answers = self._note(answers, data)
            self.main_bytes += len(data)
            data = b""
        self._main_closed = True
        self._control.send(wire.Data(b""))
        self._ended()

    def _note(self, answers: ReturnPathParser, data: bytes) -> ReturnPathParser | None:
        """Note whether the destination says that the guest has arrived."""
        try:
            if any(each.arrived for each in answers.feed(data)):
                self._arrived.set()
        except ProtocolError:
            return None
        return answers

    def _main_in(self) -> None:
        """From the other relay to our QEMU."""
        while True:
            kind, length = self._control.receive_header()
            if kind is not wire.Type.DATA:
                self._hear(kind, length)
                continue
            if not length:
                break
            data = self._control.link.receive_exactly(length)
            if data is None:
                raise LinkError(f"{self._control.link.peer} disappeared")
            try:
                self._main.send([data])
            except LinkError:
                # Who has closed its end may have gone: nobody waits for these bytes.
                if not self._main_closed:
                    raise
        self._main.end()
        self._ended()
        self._hear_out()

    def _hear_out(self) -> None:
        """Go on to hear what the other relay tells of its channels, until they have ended."""
        try:
            while True:
                self._hear(*self._control.receive_header())
        except LinkError:
            whole = all(
                ended and number in self._joined
                for number, (_, ended) in self._control.told.items()
            )
            if not (whole or self._closed):
                raise

    def _hear(self, kind: wire.Type, length: int) -> None:
        """Take a message that is not of the main channel; see that all channels come."""
        message = self._control.receive_body(kind, length)
        if not isinstance(message, wire.KeepAlive):
            raise ProtocolError(f"the other relay sent {kind.name} where none was due")
        missing = message.sent.keys() - self._joined
        keeper, patience = self._control.keeper, self._control.timeout
        if keeper is not None and missing:
            keeper.ask(missing)
            patience += keeper.patience
        now = time.monotonic()
        for number in missing:
            if now - self._missed.setdefault(number, now) > patience:
                raise LinkTimeout(
                    f"channel {number} did not come in {patience:g} s, though the other relay has "
                    "opened it"
                )

    def _channel(self, passage: _Passage) -> None:
        """Pass a channel, and see to it that the other relay gets, or has sent, all of it."""
        number, outbound = passage.number, passage.outbound
        if passage.transcoder.compresses:
            self._pass(passage, passage.inbound, lambda: self._tell(number))
            outbound.end()
            self._tell(number, ended=True)
            with suppress(LinkError):
                self._control.show_life()
        else:
            arrival = Arrival(number, passage.inbound, self._control, self._session)
            whole = self._pass(passage, arrival, arrival.count)
            outbound.end()
            if whole:
                arrival.confirm()
        self._ended()

    def _tell(self, number: int, *, ended: bool = False) -> None:
        """Note, for the other relay, that another packet is sent, or that those were all."""
        count, _ = self._sent.get(number, (0, False))
        self._sent[number] = (count if ended else count + 1, ended)

    def _pass(self, passage: _Passage, inbound: Link | Arrival, count: Callable[[], None]) -> bool:
        """Pass packets until the channel ends; return whether it was its sender that ended it."""
        transcoder, counters = passage.transcoder, passage.counters
        parser = ChannelParser(transcoder.geometry, init=False, checksum=transcoder.arrives_sealed)
        header: PacketHeader | None = None
        waiting = time.perf_counter_ns()
        while received := inbound.receive_into(parser.buffer()):
            event = parser.advance(received)
            if isinstance(event, PacketHeader):
                header = event
                if header.payload_size:
                    continue
                payload = memoryview(b"")
            elif isinstance(event, memoryview):
                payload = event
            else:
                continue
            assert header is not None
            complete = time.perf_counter_ns()
            buffers = transcoder.recode(header, parser.raw_header, payload)
            recoded = time.perf_counter_ns()
            count()
            transcoder.sending(passage.outbound)
            try:
                passage.outbound.send(buffers)
            except LinkError:
                # QEMU 7.2 sends a packet behind the last SYNC, and its destination may have all it
                # needs, and have closed the channel, before that arrives.
                if self._arrived.wait(_GRACE):
                    return False
                raise
            came, went = len(parser.raw_header) + len(payload), sum(map(len, buffers))
            sent = time.perf_counter_ns()
            transcoder.sent(went, (sent - recoded) / 1e9)
            counters.codec_ns += recoded - complete
            # The link between the relays: QEMU has a pace of its own.
            counters.blocked_ns += sent - recoded if transcoder.compresses else complete - waiting
            counters.wire_bytes += went if transcoder.compresses else came
            counters.packets += 1
            counters.normal_pages += header.normal_pages
            counters.zero_pages += header.zero_pages
            passage.syncs += header.sync
            waiting = sent
        parser.close()
        return True

    def _ended(self) -> None:
        with self._lock:
            self._running -= 1
        self._session.notify()

    def _abort(self, error: BaseException) -> None:
        self._main.abort()
        with self._lock:
            passages = list(self._passages)
        for each in passages:
            each.inbound.abort()
            each.outbound.abort()
        self._control.stop()
