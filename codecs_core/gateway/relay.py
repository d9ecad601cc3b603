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
from typing import TYPE_CHECKING, Self

from codecs_core.codec import DEFAULT_GEOMETRY
from codecs_core.engine.keeper import LinkKeeper
from codecs_core.engine.lobby import Lobby, Stranger
from codecs_core.engine.methods import Methods
from codecs_core.engine.packing import Packing
from codecs_core.engine.progress import Progress
from codecs_core.engine.session import Session
from codecs_core.errors import (
    LinkError,
    ProtocolError,
    TlsError,
    TransferError,
    UsageError,
)
from codecs_core.gateway.bridge import Bridge
from codecs_core.transport.address import Address, parse
from codecs_core.transport.connect import Listener
from codecs_core.transport.link import Link

if TYPE_CHECKING:
    from codecs_core.transport.tls import TlsCredentials

__all__ = ["MAX_CHANNELS", "Migration", "Relay"]

MAX_CHANNELS = 255
"""How many channels a migration may have; HELLO says so where nobody has told the number."""
_PAUSE = 0.2
"""Seconds to wait where no connection can be taken in."""
_LOOK = 10.0
"""Seconds in which the relay must have looked at who has come."""
_MIGRATIONS = 64
"""How many migrations may be under way at once."""


@dataclass
class Migration:
    """One migration on its way through a relay.

    ``key`` is what its channels present: the source's uuid at the egress, the link's token at the
    ingress, and there ``certificate``, too, which is the egress's under TLS. ``process`` is the
    source QEMU, where that is known. ``token``, ``codec`` (its name),
    ``methods`` and ``checksum`` are what the relays have agreed on, ``packing`` is how the egress
    encodes. ``error`` is what it failed with, once it has ``ended``; ``told``: nothing of it is
    left, and its end was told.
    """

    peer: str
    process: int | None = None
    key: uuid.UUID | None = None
    certificate: bytes | None = None
    session: Session = field(default_factory=Session)
    bridge: Bridge | None = None
    error: BaseException | None = None
    ended: bool = False
    told: bool = False
    token: uuid.UUID | None = None
    codec: str = ""
    methods: Methods = field(default_factory=dict)
    packing: Packing | None = None
    checksum: bool = False
    keeper: LinkKeeper | None = None
    channels: queue.SimpleQueue[Stranger] = field(default_factory=queue.SimpleQueue)
    announced: set[int] = field(default_factory=set)
    numbers: set[int] = field(default_factory=set)
    thread: threading.Thread | None = None
    started: float = field(default_factory=time.monotonic)

    def progress(self) -> Progress:
        """Take a snapshot of how far it is: a relay knows no total."""
        bridge = self.bridge
        return Progress(
            codec=self.codec,
            page_size=DEFAULT_GEOMETRY.page_size,
            seconds=time.monotonic() - self.started,
            total_pages=None,
            skipped_pages=0,
            syncs=0 if bridge is None else bridge.syncs,
            channels=() if bridge is None else bridge.channels(),
            checksum=self.checksum,
            repairs=0 if self.keeper is None else self.keeper.repairs,
        )


class Relay:
    """Takes connections in on ``listen_uri`` and leads them on to ``connect_uri``.

    ``timeout`` is how many seconds the other relay may be silent. ``tls`` protects the link between
    the relays; what leads to a QEMU is in the clear. Where connections in the clear are taken in
    from other hosts, ``insecure`` must be true. ``on_start`` is told of every migration that is led
    on, ``on_end`` of every one that has ended, of those that failed before, too; ``on_refusal``, in
    a sentence, of every connection that was refused. Raises `UsageError` for wrong arguments,
    `LinkError` where it cannot listen.
    """

    def __init__(
        self,
        listen_uri: str,
        connect_uri: str,
        *,
        timeout: float = 30.0,
        tls: TlsCredentials | None = None,
        insecure: bool = False,
        on_start: Callable[[Migration], None] | None = None,
        on_end: Callable[[Migration], None] | None = None,
        on_refusal: Callable[[str], None] | None = None,
    ) -> None:
        if timeout <= 0:
            raise UsageError(f"timeout={timeout}: give a number of seconds above 0")
        self._onward: Address = parse(connect_uri)
        self._timeout = timeout
        self._on_start = on_start
        self._on_end = on_end
        self._on_refusal = on_refusal or (lambda why: None)
        self._geometry = DEFAULT_GEOMETRY
        self._migrations: list[Migration] = []
        self._lock = threading.Lock()
        self._serving = threading.Lock()
        self._stopping = threading.Event()
        self._looked = time.monotonic()
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

    def is_alive(self) -> bool:
        """Tell whether it takes connections in, or was told to stop."""
        return self._stopping.is_set() or time.monotonic() - self._looked < _LOOK

    def serve(self, on_stop: Callable[[], None] | None = None) -> None:
        """Serve migrations until `stop`; then call ``on_stop``, and wait for those under way."""
        with self._serving:
            if not self._stopping.is_set():
                self._lobby.open()
            while not self._stopping.is_set():
                self._looked = time.monotonic()
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
        if on_stop is not None:
            on_stop()
        self._wait()

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
        self._wait()

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

    def _wait(self) -> None:
        """Wait until every migration has ended, and its end has been told."""
        with self._lock:
            migrations = list(self._migrations)
        for each in migrations:
            if each.thread is not None:
                each.thread.join()

    def live(self) -> list[Migration]:
        """The migrations under way."""
        with self._lock:
            return [each for each in self._migrations if not each.ended]

    def is_busy(self) -> bool:
        """Tell whether a migration is under way, or the end of one is still to be told."""
        with self._lock:
            return any(not each.told for each in self._migrations)

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
            self._migrations = [each for each in self._migrations if not each.told]
            self._migrations.append(migration)
        migration.thread.start()

    def _refuse(self, link: Link, why: str) -> None:
        link.close()
        self._on_refusal(f"{link.peer}: {why}")

    def _run(self, migration: Migration, link: Link, first: bytes) -> None:
        bridge: Bridge | None = None
        session = migration.session
        try:
            bridge = self._connect(migration, link, first)
            if bridge is not None:
                if self._on_start is not None:
                    self._on_start(migration)
                session.start("relay-channels", self._join_all, migration, bridge)
                bridge.wait()
        except BaseException as error:
            migration.error = session.error or error
            session.fail(error)
        finally:
            migration.ended = True
            try:
                if bridge is not None or migration.error is not None:
                    self._let_go(migration, link)
            finally:
                migration.told = True

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
        if number in migration.numbers or number >= MAX_CHANNELS:
            raise ProtocolError(f"{peer}: channel {number} came a second time")
        migration.numbers.add(number)
