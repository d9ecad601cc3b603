"""The receiving end of a session: it takes a sender's offer, and stores what comes."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Self

from codecs_core.engine.agreement import BlockFactory, Terms
from codecs_core.engine.arrival import Arrival
from codecs_core.engine.channel import Inlet, ReceivingChannel
from codecs_core.engine.control import Control, reason_of
from codecs_core.engine.keeper import Doorkeeper
from codecs_core.engine.methods import taken
from codecs_core.engine.packing import Unpacker
from codecs_core.engine.progress import Clock, Progress
from codecs_core.engine.reception import Reception
from codecs_core.engine.resume import held
from codecs_core.engine.session import Latch, Session
from codecs_core.engine.shared import DataReader
from codecs_core.engine.sync import SyncBarrier
from codecs_core.errors import (
    ChecksumMismatch,
    CodecsCoreError,
    ProtocolError,
    TransferError,
    UsageError,
)
from codecs_core.memory.block import Block
from codecs_core.transport.address import parse
from codecs_core.transport.connect import carries_one_stream, listen
from codecs_core.transport.link import Link
from codecs_core.transport.tls_link import server_links
from codecs_core.wire import control as wire

if TYPE_CHECKING:
    from types import TracebackType

    from codecs_core.transport.tls import TlsCredentials

__all__ = ["BlockFactory", "Receiver"]


class Receiver:
    """Listens for one `Sender`, and stores what it sends.

    ::

        with Receiver("tcp:0.0.0.0:4444", tls=TlsCredentials("/etc/pki/qemu")) as receiver:
            receiver.add_block("guest", bytearray(size))
            receiver.receive()

    ``uri`` is ``tcp:HOST:PORT`` (port 0: any free one, see `address`), ``unix:PATH``, ``fd:N`` (a
    listening or a connected socket) or ``exec:COMMAND``. ``open_block`` makes the blocks that were
    not added, when a sender announces them. ``timeout`` is how many seconds the peer may be
    silent. ``parameters`` holds the local parameters of codecs: codec name → name → value.
    ``sync_on_finish``: what goes to files is on stable storage before the sender is told.

    ``tls`` protects all connections, and only its clients are served. Without, a ``tcp:`` address
    that other hosts reach needs ``insecure=True``. ``on_refusal`` is told, in a sentence, of every
    connection that was refused without harm.

    Raises `UsageError` for wrong arguments, `LinkError` where it cannot listen.
    """

    def __init__(
        self,
        uri: str,
        *,
        open_block: BlockFactory | None = None,
        timeout: float = 30.0,
        sync_on_finish: bool = True,
        parameters: Mapping[str, Mapping[str, Any]] | None = None,
        tls: TlsCredentials | None = None,
        insecure: bool = False,
        on_refusal: Callable[[str], None] | None = None,
    ) -> None:
        if timeout <= 0:
            raise UsageError(f"timeout={timeout}: give a number of seconds above 0")
        address = parse(uri)
        self._timeout = timeout
        self._sync_on_finish = sync_on_finish
        self._on_refusal = on_refusal or (lambda why: None)
        self._session = Session()
        self._keeper: Doorkeeper | None = None
        self._control: Control | None = None
        self._held: list[Block] = []
        self._links: list[Link] = []
        self._channels: list[ReceivingChannel] = []
        self._barrier = SyncBarrier(1)
        self._clock = Clock()
        self._done: wire.Done | None = None
        self._verified = False
        self._finished = False
        self._closing = threading.Lock()
        self._closed = False
        make = Link if tls is None else server_links(tls)
        self._listener = listen(address, make, insecure=insecure)
        self._terms = Terms(
            self._listener.address,
            one_stream=carries_one_stream(address),
            open_block=open_block,
            parameters=parameters or {},
        )

    @property
    def address(self) -> str:
        """Where a sender reaches this receiver, with the port that the system chose."""
        return self._listener.address

    def add_block(self, name: str, memory: Any) -> None:
        """Receive block ``name`` into ``memory``: any writable contiguous buffer, or a `Block`.

        Its size must be the one that the sender announces. The receiver closes it in the end,
        which lets go of a buffer and leaves it as it is. Raises `UsageError`.
        """
        self._terms.add(name, memory)

    def receive(self, on_complete: Callable[[], None] | None = None) -> Progress:
        """Wait for a sender, and return when all it sends is stored.

        ``on_complete`` is called when all is stored and verified, before the sender is told; what
        it raises fails the transfer. Raises `ProtocolError`, `CorruptPayload`, `LinkError`,
        `RemoteError` or `TransferError` where the transfer fails; the sender is given the reason.
        """
        with self._failing():
            if self._control is not None:
                raise UsageError("a receiver serves one sender; make another for another transfer")
            reception = Reception(
                self._listener, self._timeout, self._session.check, self._on_refusal
            )
            try:
                link, preamble = reception.control()
                self._control = control = Control(link, self._timeout, self._session)
                self._session.on_failure(self._stop)
                wire.check_preamble(preamble, link.peer)
                self._clock.start()
                hello, token = self._agree(control, reception)
                self._open_channels(control, hello, token, reception)
                if self._keeper is not None:
                    self._session.start("multifd-door", self._keep_door, self._keeper, reception)
            finally:
                if self._keeper is None or not self._channels:
                    reception.close()
                    self._listener.close()
            self._store(control)
            if on_complete is not None:
                on_complete()
            self._finished = True
            control.send_last(wire.Ack())
        self._clock.stop()
        self.close()
        return self.progress()

    def progress(self) -> Progress:
        """Take a snapshot of how far the transfer is."""
        terms = self._terms
        blocks = list(terms.blocks.values())
        sizes = [each.size for each in blocks]
        return Progress(
            codec=terms.codec,
            page_size=terms.geometry.page_size,
            seconds=self._clock.seconds,
            total_pages=None if None in sizes else sum(each.pages for each in blocks),
            skipped_pages=self._done.skipped_pages if self._done else 0,
            syncs=self._barrier.passed,
            channels=tuple(c.progress() for c in self._channels),
            repairs=self._keeper.repairs if self._keeper else 0,
            held_pages=self._done.held_pages if self._done else 0,
            checksum=terms.checksum,
            verified=self._verified,
        )

    def close(self) -> None:
        """Release everything; a transfer that is not finished fails. Calling it again is fine."""
        with self._closing:
            if self._closed:
                return
            self._closed = True
            self._clock.stop()
            if not self._finished:
                self._session.fail(TransferError("the receiver was closed before it had finished"))
                # Once more, for the links that came while the session was failing.
                self._stop(None)
            self._listener.close()
            if self._control is not None:
                self._control.close(drain=True)
            self._session.join()
            for link in self._links:
                link.close()
            for channel in self._channels:
                channel.close()
            self._terms.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is not None:
            self._session.fail(error)
        self.close()

    # The handshake.

    def _agree(self, control: Control, reception: Reception) -> tuple[wire.Hello, uuid.UUID]:
        hello = control.receive()
        if not isinstance(hello, wire.Hello):
            raise ProtocolError(f"{control.link.peer} began with {hello.type.name}, not HELLO")
        try:
            self._terms.take(hello)
        except (CodecsCoreError, OSError) as error:
            control.send_last(wire.Reject(reason_of(error)[: wire.MAX_TEXT]))
            raise TransferError(
                f"the offer of {control.link.peer} was refused: {reason_of(error)}"
            ) from error
        token = uuid.uuid4()
        blocks = self._terms.blocks
        if hello.resume:
            self._held = [each for each in blocks.values() if each.resumed]
        zeroed = [name for name, each in blocks.items() if each.reads_zero]
        repair = hello.retry_for > 0 and reception.is_open and not hello.shared
        names = [each.name for each in self._held]
        methods = taken(hello, self._terms.methods)
        control.send(wire.Accept(token.hex, zeroed, names, repair, methods))
        if repair:
            self._keeper = Doorkeeper(control, self._session, token.hex, hello.retry_for)
        return hello, token

    def _open_channels(
        self, control: Control, hello: wire.Hello, token: uuid.UUID, reception: Reception
    ) -> None:
        terms = self._terms
        self._barrier = SyncBarrier(hello.channels)
        control.start(None if hello.shared else self._handle)
        inlets: Sequence[Inlet]
        if hello.shared:
            inlets = [DataReader(control, self._handle)]
        else:
            self._links = reception.channels(token, hello.channels, self._keeper)
            inlets = [
                Arrival(number, link, control, self._session, lambda: self._done is not None)
                for number, link in enumerate(self._links)
            ]
        for number, inlet in enumerate(inlets):
            self._channels.append(
                ReceivingChannel(
                    number,
                    inlet,
                    Unpacker(terms.methods, terms.geometry),
                    terms.geometry,
                    terms.blocks,
                    self._barrier,
                    lambda sync: control.send(wire.Synced(sync)),
                    checksum=terms.checksum,
                )
            )
        for block in terms.blocks.values():
            block.expect(hello.channels)
            if terms.verify:
                block.watch()

    def _keep_door(self, keeper: Doorkeeper, reception: Reception) -> None:
        """Take in the connections that are made again."""
        try:
            while not self._finished and not self._closed:
                reception.readmit(keeper)
        finally:
            reception.close()
            self._listener.close()

    # The transfer.

    def _store(self, control: Control) -> None:
        """Receive everything, and see that nothing is missing."""
        terms = self._terms
        ended = Latch(self._session, len(self._channels))
        for channel in self._channels:
            self._session.start(f"multifd-recv-{channel.number}", _run, channel, ended, busy=True)
        for block in self._held:
            for message in held(block, terms.geometry, self._session.check):
                control.send(message)
        ended.wait()
        self._session.wait(lambda: self._done is not None)
        done = self._done
        assert done is not None
        normal = sum(each.counters.normal_pages for each in self._channels)
        zero = sum(each.counters.zero_pages for each in self._channels)
        if (normal, zero) != (done.normal_pages, done.zero_pages):
            raise ProtocolError(
                f"{normal} normal and {zero} zero pages came of the {done.normal_pages} and "
                f"{done.zero_pages} that {control.link.peer} sent"
            )
        for name, block in terms.blocks.items():
            block.finish(done.sizes.get(name))
            if self._sync_on_finish:
                self._session.check()
                block.sync()
        for name, digest in done.digests.items():
            if terms.blocks[name].digest(self._session.check) != digest:
                raise TransferError(
                    f"block {name!r} is not here what it is at the sender: their digests differ; "
                    "it was damaged, or changed while it was sent"
                )
        self._verified = terms.verify

    def _handle(self, message: wire.Message) -> bool:
        if not isinstance(message, wire.Done) or self._done is not None:
            raise ProtocolError(f"the sender sent {message.type.name} where none was due")
        self._terms.check(message)
        if self._terms.checksum:
            self._check_sealed(message)
        self._done = message
        self._session.notify()
        # A channel of its own connection may still be busy: see that its sender lives.
        return not self._terms.shared

    def _check_sealed(self, done: wire.Done) -> None:
        """Raise `ChecksumMismatch` where the two ends have not heard what the other has said."""
        assert self._control is not None
        if not wire.is_sealed(done, self._control.done, self._control.agreed):
            raise ChecksumMismatch(
                f"DONE has the checksum {done.checksum}, which is not that of what was said: a "
                "message was damaged on the way"
            )

    @contextmanager
    def _failing(self) -> Iterator[None]:
        """Whatever goes wrong ends the session, and its first error is the one raised."""
        try:
            self._session.check()
            yield
        except BaseException as error:
            self._session.fail(error)
            self.close()
            # What had joined when another thread closed us, but was not ours yet.
            for link in self._links:
                link.close()
            self._session.check()
            raise

    def _stop(self, error: BaseException | None) -> None:
        """Wake every thread, so that it ends."""
        self._barrier.leave()
        for block in self._terms.blocks.values():
            block.abort()
        for link in self._links:
            link.abort()


def _run(channel: ReceivingChannel, ended: Latch) -> None:
    channel.run()
    ended.arrive()
