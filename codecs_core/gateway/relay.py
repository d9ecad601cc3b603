"""Relays between two QEMUs: the egress beside the source, the ingress beside the destination.

::

    source QEMU ──▶ Egress ══ compressed, N channels ══▶ Ingress ──▶ destination QEMU

A relay serves one migration after another, and several at once. Each is a `Migration`, with a
thread that sees it through; the relay itself only takes connections in and tells whose they are.
"""

from __future__ import annotations

import queue
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Self

from codecs_core.codec import DEFAULT_GEOMETRY, Codec
from codecs_core.engine.control import Control, reason_of
from codecs_core.engine.keeper import Doorkeeper, LinkKeeper, Redialler
from codecs_core.engine.lobby import Lobby, Stranger
from codecs_core.engine.session import Session
from codecs_core.errors import (
    CodecsCoreError,
    LinkError,
    ProtocolError,
    TlsError,
    TransferError,
    UsageError,
)
from codecs_core.gateway.bridge import Bridge
from codecs_core.gateway.transcode import Compressor, Restorer, Transcoder
from codecs_core.registry import get_codec
from codecs_core.transport.address import Address, parse
from codecs_core.transport.connect import Listener, dial, listen
from codecs_core.transport.link import Link, LinkMaker
from codecs_core.transport.tls_link import client_links, server_links
from codecs_core.wire import control as wire
from codecs_core.wire import packet, qemu
from codecs_core.wire.checksum import CHECKSUM

if TYPE_CHECKING:
    from codecs_core.transport.tls import TlsCredentials

__all__ = ["BESIDE_QEMU", "Egress", "Ingress", "Migration", "Relay"]

_CHANNELS = 255
"""How many channels a migration may have; HELLO says so where nobody has told the number."""
_PAUSE = 0.2
"""Seconds to wait where no connection can be taken in."""
_MIGRATIONS = 64
"""How many migrations may be under way at once."""
_UNCLAIMED = 4 * _CHANNELS
"""How many channels may wait for their main channel."""
BESIDE_QEMU: Final = "unix:PATH or tcp:127.0.0.1:PORT, beside the QEMU"
"""What to listen on instead of an address that other hosts reach."""


@dataclass
class Migration:
    """One migration on its way through a relay.

    ``key`` is what its channels present: the source's uuid at the egress, the link's token at the
    ingress, and there ``certificate``, too, which is the egress's under TLS. ``process`` is the
    source QEMU, where that is known. ``token``, ``codec`` and ``checksum`` are what the relays have
    agreed on. ``error`` is what it failed with, once it has ended.
    """

    peer: str
    process: int | None = None
    key: uuid.UUID | None = None
    certificate: bytes | None = None
    session: Session = field(default_factory=Session)
    bridge: Bridge | None = None
    error: BaseException | None = None
    ended: bool = False
    token: uuid.UUID | None = None
    codec: Codec | None = None
    checksum: bool = False
    keeper: LinkKeeper | None = None
    channels: queue.SimpleQueue[Stranger] = field(default_factory=queue.SimpleQueue)
    announced: set[int] = field(default_factory=set)
    numbers: set[int] = field(default_factory=set)
    thread: threading.Thread | None = None
    started: float = field(default_factory=time.monotonic)


class Relay:
    """Takes connections in on ``listen_uri`` and leads them on to ``connect_uri``.

    ``timeout`` is how many seconds the other relay may be silent. ``tls`` protects the link between
    the relays; what leads to a QEMU is in the clear. Where connections in the clear are taken in
    from other hosts, ``insecure`` must be true. ``on_end`` is told of every migration that has
    ended, ``on_refusal``, in a sentence, of every connection that was refused. Raises `UsageError`
    for wrong arguments, `LinkError` where it cannot listen.
    """

    def __init__(
        self,
        listen_uri: str,
        connect_uri: str,
        *,
        timeout: float = 30.0,
        tls: TlsCredentials | None = None,
        insecure: bool = False,
        on_end: Callable[[Migration], None] | None = None,
        on_refusal: Callable[[str], None] | None = None,
    ) -> None:
        if timeout <= 0:
            raise UsageError(f"timeout={timeout}: give a number of seconds above 0")
        self._onward: Address = parse(connect_uri)
        self._timeout = timeout
        self._on_end = on_end
        self._on_refusal = on_refusal or (lambda why: None)
        self._geometry = DEFAULT_GEOMETRY
        self._migrations: list[Migration] = []
        self._lock = threading.Lock()
        self._serving = threading.Lock()
        self._stopping = threading.Event()
        self._listener = self._listen(parse(listen_uri), tls, insecure)
        if self._listener.fileno() is None:
            self._listener.close()
            raise UsageError(
                f"{listen_uri} gives one connection, and a migration has several; listen on tcp:, "
                "unix: or a listening fd:"
            )
        self._lobby = Lobby(self._listener, timeout, lambda: None)

    @property
    def address(self) -> str:
        """Where connections are taken in, with the port that the system chose."""
        return self._listener.address

    def serve(self) -> None:
        """Serve migrations until `stop`; then wait for those under way."""
        with self._serving:
            if not self._stopping.is_set():
                self._lobby.open()
            while not self._stopping.is_set():
                try:
                    for stranger in self._lobby.poll():
                        if isinstance(stranger, Stranger):
                            self._take(stranger)
                        elif isinstance(stranger, TlsError):
                            self._on_refusal(str(stranger))
                except LinkError:
                    # Out of descriptors, most likely: the migrations under way give some back.
                    self._stopping.wait(_PAUSE)
                self._tidy()
            self._lobby.close()
            self._listener.close()
        for each in self.live():
            if each.thread is not None:
                each.thread.join()

    def stop(self) -> None:
        """Take no further migration. From any thread, or a signal's handler."""
        self._stopping.set()

    def abort(self) -> None:
        """End the migrations under way: their virtual machines stay where they are."""
        self.stop()
        for each in self.live():
            each.session.fail(TransferError("the relay was stopped"))

    def close(self) -> None:
        """End everything, and wait until it has ended."""
        self.abort()
        with self._serving:
            self._lobby.close()
            self._listener.close()
        # What was taken in meanwhile.
        self.abort()
        for each in self.live():
            if each.thread is not None:
                each.thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    # What the two sides do differently.

    def _listen(self, address: Address, tls: TlsCredentials | None, insecure: bool) -> Listener:
        """Listen, and see to what protects the link."""
        raise NotImplementedError

    def _take(self, stranger: Stranger) -> None:
        """Find out whose connection it is."""
        raise NotImplementedError

    def _tidy(self) -> None:
        """Let go of connections that nobody has claimed."""

    def _connect(self, migration: Migration, link: Link, first: bytes) -> Bridge | None:
        """Lead the first connection of a migration on; ``None`` where it was none of a new one."""
        raise NotImplementedError

    def _join(self, migration: Migration, bridge: Bridge, stranger: Stranger) -> None:
        """Lead a channel of the migration on."""
        raise NotImplementedError

    # What they share.

    def live(self) -> list[Migration]:
        """The migrations under way."""
        with self._lock:
            return [each for each in self._migrations if not each.ended]

    def _start(self, link: Link, first: bytes) -> None:
        live = self.live()
        if len(live) >= _MIGRATIONS:
            self._refuse(link, f"{len(live)} migrations are under way already")
            return
        migration = Migration(link.peer, link.process(), certificate=link.certificate)
        migration.thread = threading.Thread(
            target=self._run, args=(migration, link, first), name="relay-migration", daemon=True
        )
        with self._lock:
            self._migrations = [each for each in self._migrations if not each.ended]
            self._migrations.append(migration)
        migration.thread.start()

    def _refuse(self, link: Link, why: str) -> None:
        link.close()
        self._on_refusal(f"{link.peer}: {why}")

    def _run(self, migration: Migration, link: Link, first: bytes) -> None:
        bridge: Bridge | None = None
        session = migration.session
        try:
            bridge = migration.bridge = self._connect(migration, link, first)
            if bridge is not None:
                session.start("relay-channels", self._join_all, migration, bridge)
                bridge.wait()
        except BaseException as error:
            migration.error = session.error or error
            session.fail(error)
        finally:
            migration.ended = True
            if bridge is not None or migration.error is not None:
                self._let_go(migration, link)

    def _let_go(self, migration: Migration, link: Link) -> None:
        if migration.bridge is not None:
            migration.bridge.close()
        link.close()
        while not migration.channels.empty():
            migration.channels.get().link.close()
        if self._on_end is not None:
            self._on_end(migration)

    def _join_all(self, migration: Migration, bridge: Bridge) -> None:
        while not migration.ended and migration.session.error is None:
            try:
                stranger = migration.channels.get(timeout=0.05)
            except queue.Empty:
                continue
            try:
                self._join(migration, bridge, stranger)
            except BaseException:
                stranger.link.close()
                raise

    def _claim(self, migration: Migration, number: int, peer: str) -> None:
        """Raise `ProtocolError` for a channel that came before."""
        if number in migration.numbers or number >= _CHANNELS:
            raise ProtocolError(f"{peer}: channel {number} came a second time")
        migration.numbers.add(number)


def _owner(migrations: list[Migration], process: int | None, key: uuid.UUID) -> Migration | None:
    """Which of ``migrations`` a channel belongs to; ``None`` where that is not certain.

    Sources may share a uuid: QEMU's own default is zero. So the process that connects is what
    tells them apart, and then the uuid; a channel that could be of two migrations is of none, for
    pages must never reach another guest.
    """
    known = [each for each in migrations if process is not None and each.process == process]
    known = known or migrations
    found = [each for each in known if each.key == key]
    if not key.int or not found:
        found += [each for each in known if each.key is None]
    return found[0] if len(found) == 1 else None


class Egress(Relay):
    """The relay beside the source: compresses with ``codec`` what QEMU sends.

    ``channels`` is how many QEMU will open, where that is known: the other side is told. With
    ``checksum`` every packet carries one to the other relay, which leaves it out again. A
    connection between the relays that is lost may take ``retry_for`` seconds to be made again,
    while both QEMUs wait; 0: it is not.
    """

    def __init__(
        self,
        listen_uri: str,
        connect_uri: str,
        *,
        codec: str | Codec,
        channels: int | None = None,
        checksum: bool = True,
        retry_for: float = 0.0,
        **settings: Any,
    ) -> None:
        if not 0 <= retry_for <= 86400:
            raise UsageError(f"retry_for={retry_for}: give a number of seconds from 0 to 86400")
        self._retry_for = retry_for
        self._codec = get_codec(codec)
        self._channels = _CHANNELS if channels is None else channels
        self._checksum = checksum
        self._unclaimed: list[tuple[float, Stranger, packet.ChannelInit]] = []
        self._make: LinkMaker = Link
        super().__init__(listen_uri, connect_uri, **settings)

    def _listen(self, address: Address, tls: TlsCredentials | None, insecure: bool) -> Listener:
        if tls is not None:
            self._make = client_links(tls, self._onward)
        return listen(address, insecure=insecure, remedy=BESIDE_QEMU)

    def _dial(self) -> Link:
        return dial(self._onward, self._timeout, self._make)

    def _take(self, stranger: Stranger) -> None:
        if stranger.data[:4] == qemu.MAGIC:
            self._start(stranger.link, stranger.data)
        elif stranger.is_channel:
            try:
                init = packet.ChannelInit.decode(stranger.data)
            except ProtocolError:
                stranger.link.close()
                return
            # A channel may come before the main channel has said a word.
            if len(self._unclaimed) < _UNCLAIMED:
                self._unclaimed.append((time.monotonic() + self._timeout, stranger, init))
            else:
                self._refuse(stranger.link, "too many channels wait for their migration")
        else:
            self._refuse(stranger.link, "neither a migration of QEMU nor one of its channels")

    def _tidy(self) -> None:
        left = []
        for deadline, stranger, init in self._unclaimed:
            migration = _owner(self.live(), stranger.link.process(), init.uuid)
            if migration is not None:
                migration.key = init.uuid
                migration.channels.put(stranger)
            elif deadline < time.monotonic():
                stranger.link.close()
            else:
                left.append((deadline, stranger, init))
        self._unclaimed = left

    def close(self) -> None:
        """End everything, and wait until it has ended."""
        super().close()
        for _, stranger, _ in self._unclaimed:
            stranger.link.close()
        self._unclaimed = []

    def _connect(self, migration: Migration, link: Link, first: bytes) -> Bridge:
        control = Control(self._dial(), self._timeout, migration.session)
        try:
            hello = wire.Hello(
                page_size=self._geometry.page_size,
                packet_size=self._geometry.packet_size,
                channels=self._channels,
                codec=self._codec.name,
                parameters=self._codec.wire_parameters(),
                blocks=[],
                relay=True,
                checksum=CHECKSUM if self._checksum else None,
                retry_for=self._retry_for,
            )
            answer = control.offer(hello)
            if answer.repair and self._retry_for:
                migration.keeper = Redialler(
                    control, migration.session, answer.token, self._retry_for, self._dial
                )
        except BaseException:
            control.close()
            raise
        bridge = Bridge(migration.session, control, link)
        migration.token = uuid.UUID(answer.token)
        bridge.start(first)
        return bridge

    def _join(self, migration: Migration, bridge: Bridge, stranger: Stranger) -> None:
        assert migration.token is not None
        init = packet.ChannelInit.decode(stranger.data)
        self._claim(migration, init.channel, stranger.link.peer)
        onward = self._dial()
        try:
            onward.send([packet.ChannelInit(migration.token, init.channel).encode()])
            if migration.keeper is not None:
                onward = migration.keeper.keep(onward, init.channel)
            # The source's own init follows, for the destination.
            onward.send([stranger.data])
        except BaseException:
            onward.close()
            raise
        transcoder: Transcoder = Compressor(self._codec, self._geometry, checksum=self._checksum)
        bridge.add_channel(init.channel, stranger.link, onward, transcoder)


class Ingress(Relay):
    """The relay beside the destination: gives QEMU what the source sent.

    ``prepare`` is called for each migration before the destination is connected to, with the
    number of its channels where the egress knows it; what it raises refuses the migration.
    """

    def __init__(
        self,
        listen_uri: str,
        connect_uri: str,
        *,
        prepare: Callable[[int | None], None] | None = None,
        **settings: Any,
    ) -> None:
        self._prepare = prepare
        super().__init__(listen_uri, connect_uri, **settings)

    def _listen(self, address: Address, tls: TlsCredentials | None, insecure: bool) -> Listener:
        return listen(address, Link if tls is None else server_links(tls), insecure=insecure)

    def _take(self, stranger: Stranger) -> None:
        if not stranger.is_channel:
            self._start(stranger.link, stranger.data)
            return
        try:
            init = packet.ChannelInit.decode(stranger.data)
        except ProtocolError:
            stranger.link.close()
            return
        migration = next((each for each in self.live() if each.key == init.uuid), None)
        if migration is None:
            self._refuse(stranger.link, "a channel of no migration that is under way")
        elif migration.certificate != stranger.link.certificate:
            self._refuse(stranger.link, "a channel with another certificate than its migration")
        else:
            self._admit(migration, stranger)

    def _admit(self, migration: Migration, stranger: Stranger) -> None:
        migration.announced.add(packet.ChannelInit.decode(stranger.data).channel)
        migration.channels.put(stranger)

    def _connect(self, migration: Migration, link: Link, first: bytes) -> Bridge | None:
        control = Control(link, self._timeout, migration.session)
        main: Link | None = None
        try:
            wire.check_preamble(first)
            offer = control.receive()
            if isinstance(offer, wire.Rejoin):
                try:
                    self._readmit(link, offer)
                except (LinkError, ProtocolError) as error:
                    self._refuse(link, str(error))
                return None
            if not isinstance(offer, wire.Hello):
                raise ProtocolError(f"{link.peer} began with {offer.type.name}, not HELLO")
            main = self._agree(control, migration, offer)
            migration.key = uuid.uuid4()
            repair = offer.retry_for > 0 and self._lobby.is_open
            control.send(wire.Accept(migration.key.hex, repair=repair))
            if repair:
                migration.keeper = Doorkeeper(
                    control, migration.session, migration.key.hex, offer.retry_for
                )
        except BaseException:
            if main is not None:
                main.close()
            control.close(drain=True)
            raise
        bridge = Bridge(migration.session, control, main)
        bridge.start()
        return bridge

    def _readmit(self, link: Link, rejoin: wire.Rejoin) -> None:
        """Take in a connection that is made again. Raises `ProtocolError` where nobody wants it."""
        token = uuid.UUID(rejoin.token)
        for each in self.live():
            if each.key == token and isinstance(each.keeper, Doorkeeper):
                if each.keeper.knows(rejoin.link):
                    each.keeper.readmit(link, rejoin)
                elif rejoin.link in each.announced:
                    # It is about to join; who comes once more a moment later finds it here.
                    link.close()
                else:
                    each.keeper.admit(link, rejoin)
                    self._admit(each, Stranger.known(link, packet.ChannelInit(token, rejoin.link)))
                return
        why = "there is no migration with this token"
        link.send([wire.encode(wire.Reject(why))])
        raise ProtocolError(why)

    def _agree(self, control: Control, migration: Migration, hello: wire.Hello) -> Link:
        """Take the egress's offer, and return a connection to the destination."""
        geometry = self._geometry
        try:
            if not hello.relay:
                raise UsageError("a relay passes migrations on; send files to 'multifd recv'")
            if (hello.page_size, hello.packet_size) != (geometry.page_size, geometry.packet_size):
                raise UsageError(
                    f"pages of {hello.page_size} bytes in packets of {hello.packet_size}; this "
                    f"relay passes {geometry.page_size} and {geometry.packet_size}"
                )
            migration.codec = get_codec(hello.codec, **hello.parameters)
            migration.checksum = hello.checksum is not None
            if self._prepare is not None:
                self._prepare(None if hello.channels == _CHANNELS else hello.channels)
            return dial(self._onward, self._timeout)
        except (CodecsCoreError, OSError) as error:
            control.send_last(wire.Reject(reason_of(error)[: wire.MAX_TEXT]))
            raise TransferError(
                f"the migration of {control.link.peer} was refused: {reason_of(error)}"
            ) from error

    def _join(self, migration: Migration, bridge: Bridge, stranger: Stranger) -> None:
        assert migration.codec is not None
        own = packet.ChannelInit.decode(stranger.data)
        self._claim(migration, own.channel, stranger.link.peer)
        inbound = stranger.link
        if migration.keeper is not None:
            inbound = stranger.link = migration.keeper.keep(inbound, own.channel)
        inbound.set_timeout(receive=self._timeout)
        data = inbound.receive_exactly(packet.INIT_SIZE)
        if data is None:
            raise LinkError(f"{inbound.peer} closed channel {own.channel} at once")
        inbound.set_timeout()
        packet.ChannelInit.decode(data)
        onward = dial(self._onward, self._timeout)
        try:
            onward.send([data])
        except BaseException:
            onward.close()
            raise
        transcoder: Transcoder = Restorer(
            migration.codec, self._geometry, checksum=migration.checksum
        )
        bridge.add_channel(own.channel, inbound, onward, transcoder)
