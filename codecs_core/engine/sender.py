"""The sending end of a session: a control connection, N channels, and a thread for each."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Self
from uuid import UUID

from codecs_core.codec import DEFAULT_GEOMETRY, Geometry
from codecs_core.engine.agreement import Offer, Verify
from codecs_core.engine.channel import SendingChannel
from codecs_core.engine.control import Control
from codecs_core.engine.crew import Crew
from codecs_core.engine.keeper import Redialler
from codecs_core.engine.methods import Choice, choice
from codecs_core.engine.packing import Packing
from codecs_core.engine.progress import Clock, Progress
from codecs_core.engine.resume import Remainder
from codecs_core.engine.round import Round
from codecs_core.engine.session import Session
from codecs_core.engine.shared import DataWriter
from codecs_core.errors import ProtocolError, TransferError, UsageError
from codecs_core.memory.block import Block, PageRun
from codecs_core.transport.address import ExecAddress, parse
from codecs_core.transport.connect import carries_one_stream, dial
from codecs_core.transport.link import Link
from codecs_core.transport.tls_link import client_links
from codecs_core.wire import control as wire

if TYPE_CHECKING:
    from types import TracebackType

    from codecs_core.transport.tls import TlsCredentials

__all__ = ["Sender", "Verify"]

_DEFAULT_CHANNELS = 2


class Sender:
    """Sends blocks to a `Receiver`, over several channels at once.

    ::

        with Sender("tcp:host:4444", codec="zstd", level=3) as sender:
            sender.add_block("guest", memory)
            sender.send("guest")

    ``uri`` is ``tcp:HOST:PORT``, ``unix:PATH``, ``fd:N`` (a connected socket) or ``exec:COMMAND``.
    ``codec`` is a codec, or a codec's name with its ``parameters``; by ``"auto"`` or an `Adaptive`
    every channel chooses for every packet. ``channels`` is 1 to 255; by
    default 2, or 1 where ``uri`` leads to one stream only. ``timeout`` is how many seconds the
    peer may be silent. ``checksum`` sends one of every packet, which the receiver compares; memory
    must then not change while a call sends it, see `MemoryBlock`. ``verify="full"`` compares every
    whole block in the end, as it is at the receiver then. ``resume`` leaves out what the receiver
    proves to hold from an earlier transfer. A connection that is lost may take ``retry_for``
    seconds to be made again, and costs 2 MiB of memory; 0: it is not. ``tls`` protects all
    connections, and only a receiver that it knows gets anything.

    Leaving the ``with`` block without an error finishes the transfer: everything has arrived and
    is stored. Leaving it with one tells the receiver why. One thread at a time may use a sender;
    `progress` and `close` may be called by any.

    Raises `UsageError` for wrong arguments, `PluginError` or `UnknownCodec` for the codec.
    """

    def __init__(
        self,
        uri: str,
        *,
        codec: str | Choice = "none",
        channels: int | None = None,
        geometry: Geometry = DEFAULT_GEOMETRY,
        timeout: float = 30.0,
        checksum: bool = True,
        verify: Verify = "none",
        resume: bool = True,
        retry_for: float = 0.0,
        tls: TlsCredentials | None = None,
        **parameters: Any,
    ) -> None:
        self._address = parse(uri)
        chosen = choice(codec, **parameters)
        one = carries_one_stream(self._address)
        if channels is None:
            channels = 1 if one else _DEFAULT_CHANNELS
        if one and channels > 1:
            raise UsageError(f"{uri} is one connection and carries 1 channel, not {channels}")
        if timeout <= 0:
            raise UsageError(f"timeout={timeout}: give a number of seconds above 0")
        self._offer = Offer(
            codec=chosen,
            channels=channels,
            geometry=geometry,
            shared=one or (isinstance(self._address, ExecAddress) and channels == 1),
            checksum=checksum,
            verify=verify,
            resume=resume,
            retry_for=retry_for,
        )
        self._make = Link if tls is None else client_links(tls, self._address)
        self._timeout = timeout
        self._session = Session()
        self._keeper: Redialler | None = None
        self._control: Control | None = None
        self._remainder = Remainder(self._offer.blocks, geometry, resume=resume)
        self._crew = Crew(self._session)
        self._channels: list[SendingChannel] = []
        self._outlets: list[Link | DataWriter] = []
        self._clock = Clock()
        self._syncs = 0
        self._synced = 0
        self._all_sent = False
        self._acknowledged = False
        self._finished = False
        self._closing = threading.Lock()
        self._closed = False

    def add_block(self, name: str, memory: Any) -> Block:
        """Announce a block: ``memory`` is any contiguous buffer, or a `Block`.

        The sender closes it in the end, which lets go of a buffer and leaves it as it is. All
        blocks are announced before the first is sent. Raises `UsageError`.
        """
        self._check_open()
        if self._control is not None:
            raise UsageError(f"block {name!r}: add every block before the first is sent")
        return self._offer.add(name, memory)

    def connect(self) -> None:
        """Connect and agree with the receiver; `send` does so where it has not been done.

        Raises `LinkError` where the receiver cannot be reached, `RemoteError` with its reason
        where it refuses.
        """
        self._check_open()
        if self._control is not None:
            return
        with self._failing():
            self._clock.start()
            if self._offer.verifies:
                for block in self._offer.blocks.values():
                    block.watch()
            link = self._dial()
            self._control = control = Control(link, self._timeout, self._session)
            self._session.on_failure(self._stop)
            accept = control.offer(self._offer.hello())
            self._remainder.begin(accept)
            control.sent = lambda: {each.number: each.sent for each in self._channels}
            if accept.repair and self._offer.retry_for:
                self._keeper = Redialler(
                    control, self._session, accept.token, self._offer.retry_for, self._dial
                )
            control.start(self._handle)
            self._open_channels(control, accept)
            self._session.wait(lambda: self._remainder.is_known)

    def send(self, *names: str) -> None:
        """Send all pages of these blocks, or of all blocks, and return when they are on the wire.

        What a file knows to be a hole is not sent where the receiver has it zero already. A page
        that is sent again needs a `sync` in between. Raises `UsageError` for an unknown block,
        `TransferError`, `LinkError` or `RemoteError` where the transfer fails.
        """
        blocks = list(map(self._offer.block, names)) or list(self._offer.blocks.values())
        self.connect()
        self._send_round(itertools.chain.from_iterable(map(self._remainder.runs, blocks)))

    def send_pages(self, name: str, pages: Iterable[int]) -> None:
        """Send these pages of a block, by number; a dirty bitmap's set bits, say.

        Raises as `send`, and `UsageError` for a page outside the block.
        """
        runs = list(self._offer.block(name).runs_of(pages, self._offer.geometry.pages_per_packet))
        self.connect()
        self._remainder.forget(name)
        self._send_round(runs)

    def sync(self) -> None:
        """End a round: return when the receiver has stored all that was sent so far.

        Raises as `send`.
        """
        self.connect()
        with self._failing():
            self._syncs += 1
            self._crew.do(SendingChannel.send_sync)
            self._session.wait(lambda: self._synced >= self._syncs)

    def finish(self) -> Progress:
        """End the transfer: return when everything is stored under its final name.

        Raises as `send`.
        """
        self.connect()
        with self._failing():
            self._crew.do(SendingChannel.end)
            done = self._done()
            self._all_sent = True
            assert self._control is not None
            if self._offer.checksum:
                done = wire.seal(done, self._control.agreed)
            self._control.send(done)
            self._session.wait(lambda: self._acknowledged)
            self._finished = True
        self._clock.stop()
        self.close()
        return self.progress()

    def progress(self) -> Progress:
        """Take a snapshot of how far the transfer is."""
        blocks = list(self._offer.blocks.values())
        sizes = [each.size for each in blocks]
        return Progress(
            codec=self._offer.codec.name,
            page_size=self._offer.geometry.page_size,
            seconds=self._clock.seconds,
            total_pages=None if None in sizes else sum(each.pages for each in blocks),
            skipped_pages=self._remainder.skipped_pages,
            syncs=self._synced,
            channels=tuple(c.progress() for c in self._channels),
            repairs=self._keeper.repairs if self._keeper else 0,
            held_pages=self._remainder.held_pages,
            checksum=self._offer.checksum,
            verified=self._offer.verifies and self._acknowledged,
        )

    def close(self) -> None:
        """Release everything; a transfer that is not finished fails. Calling it again is fine."""
        with self._closing:
            if self._closed:
                return
            self._closed = True
            self._clock.stop()
            if not self._finished:
                self._session.fail(TransferError("the sender was closed before it had finished"))
            self._release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if error is not None:
                self._session.fail(error)
            elif not self._closed:
                self.finish()
        finally:
            self.close()

    def _dial(self) -> Link:
        return dial(self._address, self._timeout, self._make)

    def _open_channels(self, control: Control, accept: wire.Accept) -> None:
        token = UUID(accept.token)
        packing = Packing.agreed(
            self._offer.codec, accept, self._offer.geometry, near=control.link.near
        )
        numbers = itertools.count()
        offer = self._offer
        for number in range(offer.channels):
            outlet = DataWriter(control) if offer.shared else self._dial()
            self._outlets.append(outlet)
            channel = SendingChannel(
                number, outlet, packing.packer(), offer.geometry, numbers, checksum=offer.checksum
            )
            self._channels.append(channel)
            if isinstance(outlet, Link):
                channel.begin(token)
                if self._keeper is not None:
                    channel.link = self._outlets[-1] = self._keeper.keep(outlet, number)
        for channel in self._channels:
            self._crew.start(channel)

    def _handle(self, message: wire.Message) -> bool:
        number = message.number if isinstance(message, wire.Synced) else 0
        if number == self._synced + 1 <= self._syncs:
            self._synced = number
        elif isinstance(message, wire.Ack) and self._all_sent:
            self._acknowledged = True
        elif not (isinstance(message, wire.Held) and self._remainder.take(message)):
            raise ProtocolError(f"the receiver sent {message.type.name} where none was due")
        self._session.notify()
        return not self._acknowledged

    def _send_round(self, runs: Iterable[PageRun]) -> None:
        round_ = Round(runs)
        with self._failing():
            self._crew.do(lambda channel: channel.send_round(round_))

    def _done(self) -> wire.Done:
        """Say what was sent, once that is all."""
        counters = [each.counters for each in self._channels]
        blocks = self._offer.blocks
        digests = {}
        if self._offer.verifies:
            digests = {name: each.digest(self._session.check) for name, each in blocks.items()}
        return wire.Done(
            normal_pages=sum(each.normal_pages for each in counters),
            zero_pages=sum(each.zero_pages for each in counters),
            skipped_pages=self._remainder.skipped_pages,
            held_pages=self._remainder.held_pages,
            sizes={n: each.final_size or 0 for n, each in blocks.items() if each.size is None},
            digests=digests,
        )

    def _check_open(self) -> None:
        self._session.check()
        if self._closed:
            raise UsageError("the sender is closed; make another for another transfer")

    @contextmanager
    def _failing(self) -> Iterator[None]:
        """Whatever goes wrong ends the session, and its first error is the one raised."""
        try:
            self._check_open()
            yield
        except BaseException as error:
            self._session.fail(error)
            self.close()
            # What we had begun to open when another thread closed us.
            self._release()
            self._session.check()
            raise

    def _release(self) -> None:
        """Wait for every thread, and let go of all there is; doing so again is fine."""
        self._stop(None)
        if self._control is not None:
            self._control.close(drain=not self._finished)
        self._session.join()
        for each in (*self._outlets, *self._channels, *self._offer.blocks.values()):
            each.close()

    def _stop(self, error: BaseException | None) -> None:
        """Wake every thread, so that it ends."""
        self._crew.stop()
        if error is not None or not self._finished:
            for block in self._offer.blocks.values():
                block.abort()
            for outlet in self._outlets:
                with suppress(OSError):
                    outlet.abort()
