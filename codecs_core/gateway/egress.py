"""The egress: the relay beside the source QEMU."""

from __future__ import annotations

import time
import uuid
from typing import TYPE_CHECKING, Any, Final

from codecs_core.engine.agreement import check_retry_for
from codecs_core.engine.control import Control
from codecs_core.engine.keeper import Redialler
from codecs_core.engine.lobby import Stranger
from codecs_core.engine.methods import Choice, choice, offered
from codecs_core.engine.packing import Packing
from codecs_core.errors import ProtocolError
from codecs_core.gateway.bridge import Bridge
from codecs_core.gateway.relay import MAX_CHANNELS, Migration, Relay
from codecs_core.gateway.transcode import Compressor, Transcoder
from codecs_core.transport.address import Address
from codecs_core.transport.connect import Listener, dial, listen
from codecs_core.transport.link import Link, LinkMaker
from codecs_core.transport.tls_link import client_links
from codecs_core.wire import control as wire
from codecs_core.wire import packet, qemu
from codecs_core.wire.checksum import CHECKSUM

if TYPE_CHECKING:
    from codecs_core.transport.tls import TlsCredentials

__all__ = ["BESIDE_QEMU", "Egress", "owner_of"]

BESIDE_QEMU: Final = "unix:PATH or tcp:127.0.0.1:PORT, beside the QEMU"
"""What to listen on instead of an address that other hosts reach."""
_UNCLAIMED = 4 * MAX_CHANNELS
"""How many channels may wait for their main channel."""


class Egress(Relay):
    """The relay beside the source: compresses with ``codec``, as of a `Sender`, what QEMU sends.

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
        codec: str | Choice,
        channels: int | None = None,
        checksum: bool = True,
        retry_for: float = 0.0,
        **settings: Any,
    ) -> None:
        check_retry_for(retry_for)
        self._retry_for = retry_for
        self._choice = choice(codec)
        self._channels = MAX_CHANNELS if channels is None else channels
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
        elif stranger.data[:2] == wire.TLS_HANDSHAKE:
            self._refuse(
                stranger.link,
                "it begins with TLS; QEMU talks to its relay on this host, in the clear; "
                "remedy: migrate_set_parameter tls-creds ''",
            )
        else:
            self._refuse(stranger.link, "neither a migration of QEMU nor one of its channels")

    def _tidy(self) -> None:
        left = []
        for deadline, stranger, init in self._unclaimed:
            migration = owner_of(self.live(), stranger.link.process(), init.uuid)
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
                **offered(self._choice),
                blocks=[],
                relay=True,
                checksum=CHECKSUM if self._checksum else None,
                retry_for=self._retry_for,
            )
            migration.codec, migration.checksum = self._choice.name, self._checksum
            answer = control.offer(hello)
            migration.packing = Packing.agreed(
                self._choice, answer, self._geometry, near=control.link.near
            )
            if answer.repair and self._retry_for:
                migration.keeper = Redialler(
                    control, migration.session, answer.token, self._retry_for, self._dial
                )
        except BaseException:
            control.close()
            raise
        bridge = migration.bridge = Bridge(migration.session, control, link)
        migration.token = uuid.UUID(answer.token)
        bridge.start(first)
        return bridge

    def _join(self, migration: Migration, bridge: Bridge, stranger: Stranger) -> None:
        assert migration.token is not None
        assert migration.packing is not None
        init = packet.ChannelInit.decode(stranger.data)
        self._claim(migration, init.channel, stranger.link.peer)
        onward = self._dial()
        try:
            onward.send([packet.ChannelInit(migration.token, init.channel).encode()])
            if migration.keeper is not None:
                onward = migration.keeper.keep(onward, init.channel)
            # The source's own init follows, for the destination.
            onward.send([stranger.data])
            transcoder: Transcoder = Compressor(migration.packing, checksum=self._checksum)
        except BaseException:
            onward.close()
            raise
        bridge.add_channel(init.channel, stranger.link, onward, transcoder)


def owner_of(migrations: list[Migration], process: int | None, key: uuid.UUID) -> Migration | None:
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
