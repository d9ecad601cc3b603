"""The sending end of a session: a control connection, N channels, and a thread for each."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Literal, Self, TypeAlias, get_args
from uuid import UUID

from codecs_core.codec import DEFAULT_GEOMETRY, Codec, Geometry
from codecs_core.engine.channel import SendingChannel
from codecs_core.engine.control import Control, DataWriter
from codecs_core.engine.keeper import Redialler
from codecs_core.engine.progress import Clock, Progress
from codecs_core.engine.resume import Comparison
from codecs_core.engine.round import Round
from codecs_core.engine.session import Latch, Session
from codecs_core.errors import ProtocolError, TransferError, UsageError
from codecs_core.memory.block import Block, MemoryBlock, PageRun
from codecs_core.registry import get_codec
from codecs_core.transport.address import ExecAddress, parse
from codecs_core.transport.connect import carries_one_stream, dial
from codecs_core.transport.link import Link
from codecs_core.transport.tls_link import client_links
from codecs_core.wire import control as wire
from codecs_core.wire.checksum import CHECKSUM
from codecs_core.wire.packet import BLOCK_NAME_SIZE

if TYPE_CHECKING:
    from types import TracebackType

    from codecs_core.transport.tls import TlsCredentials

__all__ = ["Sender"]

Verify: TypeAlias = Literal["none", "full"]
_Work: TypeAlias = tuple[Callable[[SendingChannel], None], Latch]
_DEFAULT_CHANNELS = 2


class Sender:
    """Sends blocks to a `Receiver`, over several channels at once.

    ::

        with Sender("tcp:host:4444", codec="zstd", level=3) as sender:
            sender.add_block("guest", memory)
            sender.send("guest")

    ``uri`` is ``tcp:HOST:PORT``, ``unix:PATH``, ``fd:N`` (a connected socket) or ``exec:COMMAND``.
    ``codec`` is a codec, or a codec's name with its ``parameters``. ``channels`` is 1 to 255; by
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
        codec: str | Codec = "none",
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
        self._codec = get_codec(codec, **parameters)
        one = carries_one_stream(self._address)
        if channels is None:
            channels = 1 if one else _DEFAULT_CHANNELS
        if not 1 <= channels <= 255:
            raise UsageError(f"multifd-channels expects a value between 1 and 255, not {channels}")
        if one and channels > 1:
            raise UsageError(f"{uri} is one connection and carries 1 channel, not {channels}")
        if verify not in get_args(Verify):
            raise UsageError(f"verify expects none or full, not {verify!r}")
        if timeout <= 0:
            raise UsageError(f"timeout={timeout}: give a number of seconds above 0")
        if not 0 <= retry_for <= 86400:
            raise UsageError(f"retry_for={retry_for}: give a number of seconds from 0 to 86400")
        self._make = Link if tls is None else client_links(tls, self._address)
        self._shared = one or (isinstance(self._address, ExecAddress) and channels == 1)
        self._count = channels
        self._geometry = geometry
        self._timeout = timeout
        self._checksum = checksum
        self._verify = verify == "full"
        self._resume = resume
        self._retry_for = 0.0 if self._shared else retry_for
        self._keeper: Redialler | None = None
        self._held: dict[str, Comparison] = {}
        self._session = Session()
        self._control: Control | None = None
        self._blocks: dict[str, Block] = {}
        self._zeroed: set[str] = set()
        self._channels: list[SendingChannel] = []
        self._queues: list[SimpleQueue[_Work | None]] = []
        self._outlets: list[Link | DataWriter] = []
        self._clock = Clock()
        self._skipped = 0
        self._held_pages = 0
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
        if name in self._blocks:
            raise UsageError(f"block {name!r} was added before")
        if not 0 < len(name.encode()) < BLOCK_NAME_SIZE or "\0" in name:
            raise UsageError(
                f"block name {name!r}: 1 to {BLOCK_NAME_SIZE - 1} bytes of UTF-8 without NUL"
            )
        block = (
            memory
            if isinstance(memory, Block)
            else MemoryBlock(name, memory, self._geometry.page_size)
        )
        if (block.name, block.page_size) != (name, self._geometry.page_size):
            raise UsageError(
                f"block {block.name!r} with pages of {block.page_size} bytes cannot be added as "
                f"{name!r} with pages of {self._geometry.page_size}"
            )
        self._blocks[name] = block
        return block

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
            if self._verify:
                for block in self._blocks.values():
                    block.watch()
            link = self._dial()
            self._control = control = Control(link, self._timeout, self._session)
            self._session.on_failure(self._stop)
            accept = control.offer(self._hello())
            self._zeroed = set(accept.zeroed)
            self._held = {
                name: Comparison(self._held_block(name), self._geometry) for name in accept.held
            }
            control.sent = lambda: {each.number: each.sent for each in self._channels}
            if accept.repair and self._retry_for:
                self._keeper = Redialler(
                    control, self._session, accept.token, self._retry_for, self._dial
                )
            control.start(self._handle)
            self._open_channels(control, UUID(accept.token))
            self._session.wait(lambda: all(each.ended for each in self._held.values()))

    def send(self, *names: str) -> None:
        """Send all pages of these blocks, or of all blocks, and return when they are on the wire.

        What a file knows to be a hole is not sent where the receiver has it zero already. A page
        that is sent again needs a `sync` in between. Raises `UsageError` for an unknown block,
        `TransferError`, `LinkError` or `RemoteError` where the transfer fails.
        """
        blocks = [self._block(name) for name in names] or list(self._blocks.values())
        self.connect()
        self._send_round(itertools.chain.from_iterable(map(self._all_runs, blocks)))

    def send_pages(self, name: str, pages: Iterable[int]) -> None:
        """Send these pages of a block, by number; a dirty bitmap's set bits, say.

        Raises as `send`, and `UsageError` for a page outside the block.
        """
        block = self._block(name)
        runs = list(block.runs_of(pages, self._geometry.pages_per_packet))
        self.connect()
        self._zeroed.discard(name)
        self._held.pop(name, None)
        self._send_round(runs)

    def sync(self) -> None:
        """End a round: return when the receiver has stored all that was sent so far.

        Raises as `send`.
        """
        self.connect()
        with self._failing():
            self._syncs += 1
            self._on_all(SendingChannel.send_sync)
            self._session.wait(lambda: self._synced >= self._syncs)

    def finish(self) -> Progress:
        """End the transfer: return when everything is stored under its final name.

        Raises as `send`.
        """
        self.connect()
        with self._failing():
            self._on_all(SendingChannel.end)
            counters = [each.counters for each in self._channels]
            sizes = {
                name: each.final_size or 0
                for name, each in self._blocks.items()
                if each.size is None
            }
            assert self._control is not None
            digests = {}
            if self._verify:
                digests = {
                    name: each.digest(self._session.check) for name, each in self._blocks.items()
                }
            self._all_sent = True
            done = wire.Done(
                normal_pages=sum(each.normal_pages for each in counters),
                zero_pages=sum(each.zero_pages for each in counters),
                skipped_pages=self._skipped,
                held_pages=self._held_pages,
                sizes=sizes,
                digests=digests,
            )
            if self._checksum:
                done = wire.seal(done, self._control.agreed)
            self._control.send(done)
            self._session.wait(lambda: self._acknowledged)
            self._finished = True
        self._clock.stop()
        self.close()
        return self.progress()

    def progress(self) -> Progress:
        """Take a snapshot of how far the transfer is."""
        sizes = [each.size for each in self._blocks.values()]
        return Progress(
            codec=self._codec.name,
            page_size=self._geometry.page_size,
            seconds=self._clock.seconds,
            total_pages=None if None in sizes else sum(b.pages for b in self._blocks.values()),
            skipped_pages=self._skipped,
            syncs=self._synced,
            channels=tuple(c.progress() for c in self._channels),
            repairs=self._keeper.repairs if self._keeper else 0,
            held_pages=self._held_pages,
            checksum=self._checksum,
            verified=self._verify and self._acknowledged,
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
            self._stop(None)
            if self._control is not None:
                self._control.close(drain=not self._finished)
            self._session.join()
            for outlet in self._outlets:
                outlet.close()
            for channel in self._channels:
                channel.close()
            for block in self._blocks.values():
                block.close()

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

    def _hello(self) -> wire.Hello:
        return wire.Hello(
            page_size=self._geometry.page_size,
            packet_size=self._geometry.packet_size,
            channels=self._count,
            codec=self._codec.name,
            parameters=self._codec.wire_parameters(),
            blocks=[wire.BlockInfo(name, each.size) for name, each in self._blocks.items()],
            shared=self._shared,
            checksum=CHECKSUM if self._checksum else None,
            verify="full" if self._verify else None,
            resume=self._resume,
            retry_for=self._retry_for,
        )

    def _dial(self) -> Link:
        return dial(self._address, self._timeout, self._make)

    def _open_channels(self, control: Control, token: UUID) -> None:
        numbers = itertools.count()
        for number in range(self._count):
            outlet = DataWriter(control) if self._shared else self._dial()
            self._outlets.append(outlet)
            channel = SendingChannel(
                number, outlet, self._codec, self._geometry, numbers, checksum=self._checksum
            )
            self._channels.append(channel)
            if isinstance(outlet, Link):
                channel.begin(token)
                if self._keeper is not None:
                    channel.link = self._outlets[-1] = self._keeper.keep(outlet, number)
        for channel in self._channels:
            queue: SimpleQueue[_Work | None] = SimpleQueue()
            self._queues.append(queue)
            self._session.start(f"multifd-send-{channel.number}", _serve, channel, queue, busy=True)

    def _handle(self, message: wire.Message) -> bool:
        number = message.number if isinstance(message, wire.Synced) else 0
        if number == self._synced + 1 <= self._syncs:
            self._synced = number
        elif isinstance(message, wire.Ack) and self._all_sent:
            self._acknowledged = True
        elif isinstance(message, wire.Held) and message.block in self._held:
            self._held[message.block].take(message)
        else:
            raise ProtocolError(f"the receiver sent {message.type.name} where none was due")
        self._session.notify()
        return not self._acknowledged

    def _held_block(self, name: str) -> Block:
        block = self._blocks.get(name)
        if block is None or block.size is None or not self._resume:
            raise ProtocolError(f"the receiver holds block {name!r}, of which it was not asked")
        return block

    def _block(self, name: str) -> Block:
        if name not in self._blocks:
            known = ", ".join(map(repr, self._blocks)) or "none"
            raise UsageError(f"there is no block {name!r}; added: {known}")
        return self._blocks[name]

    def _all_runs(self, block: Block) -> Iterator[PageRun]:
        skip_holes = block.name in self._zeroed
        self._zeroed.discard(block.name)
        held = self._held.pop(block.name, None)
        if held is None:
            runs = block.runs(self._geometry.pages_per_packet, skip_holes=skip_holes)
        else:
            runs = held.runs()
            self._held_pages += held.held_pages
        sent = 0
        for run in runs:
            sent += run.count
            yield run
        if held is not None:
            self._skipped += block.pages - sent - held.held_pages
        elif skip_holes:
            self._skipped += block.pages - sent

    def _send_round(self, runs: Iterable[PageRun]) -> None:
        round_ = Round(runs)
        with self._failing():
            self._on_all(lambda channel: channel.send_round(round_))

    def _on_all(self, work: Callable[[SendingChannel], None]) -> None:
        """Have every channel's thread do ``work``, and wait for all of them."""
        latch = Latch(self._session, self._count)
        for queue in self._queues:
            queue.put((work, latch))
        latch.wait()

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
            self._session.check()
            raise

    def _stop(self, error: BaseException | None) -> None:
        """Wake every thread, so that it ends."""
        for queue in self._queues:
            queue.put(None)
        if error is not None or not self._finished:
            for block in self._blocks.values():
                block.abort()
            for outlet in self._outlets:
                with suppress(OSError):
                    outlet.abort()


def _serve(channel: SendingChannel, queue: SimpleQueue[_Work | None]) -> None:
    while (item := queue.get()) is not None:
        work, latch = item
        work(channel)
        latch.arrive()
