"""The ingress: the relay beside the destination QEMU."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from codecs_core.engine.control import Control, reason_of
from codecs_core.engine.keeper import Doorkeeper
from codecs_core.engine.lobby import Stranger
from codecs_core.engine.methods import answered, taken
from codecs_core.errors import (
    CodecsCoreError,
    LinkError,
    ProtocolError,
    TransferError,
    UsageError,
)
from codecs_core.gateway.bridge import Bridge
from codecs_core.gateway.relay import MAX_CHANNELS, Migration, Relay
from codecs_core.gateway.transcode import Restorer, Transcoder
from codecs_core.transport.address import Address
from codecs_core.transport.connect import Listener, dial, listen
from codecs_core.transport.link import Link
from codecs_core.transport.tls_link import server_links
from codecs_core.wire import control as wire
from codecs_core.wire import packet

if TYPE_CHECKING:
    from codecs_core.transport.tls import TlsCredentials

__all__ = ["Ingress"]


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
            wire.check_preamble(first, link.peer)
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
            methods = taken(offer, migration.methods)
            control.send(wire.Accept(migration.key.hex, repair=repair, methods=methods))
            if repair:
                migration.keeper = Doorkeeper(
                    control, migration.session, migration.key.hex, offer.retry_for
                )
        except BaseException as error:
            if main is not None:
                main.close()
            # So that the egress is told.
            migration.session.fail(error)
            control.close(drain=True)
            raise
        bridge = migration.bridge = Bridge(migration.session, control, main)
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
            migration.methods, migration.codec = answered(hello), hello.codec
            migration.checksum = hello.checksum is not None
            if self._prepare is not None:
                self._prepare(None if hello.channels == MAX_CHANNELS else hello.channels)
            return dial(self._onward, self._timeout)
        except (CodecsCoreError, OSError) as error:
            control.send_last(wire.Reject(reason_of(error)[: wire.MAX_TEXT]))
            raise TransferError(
                f"the migration of {control.link.peer} was refused: {reason_of(error)}"
            ) from error

    def _join(self, migration: Migration, bridge: Bridge, stranger: Stranger) -> None:
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
            transcoder: Transcoder = Restorer(
                migration.methods, self._geometry, checksum=migration.checksum
            )
        except BaseException:
            onward.close()
            raise
        bridge.add_channel(own.channel, inbound, onward, transcoder)
