"""A plan carried out between two relays, with a source and a destination that behave as QEMU's."""

from __future__ import annotations

import random
import socket
import struct
import tempfile
import threading
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from uuid import UUID

from codecs_core.gateway.egress import Egress
from codecs_core.gateway.ingress import Ingress
from codecs_core.gateway.relay import Migration
from codecs_core.wire.packet import INIT_SIZE, ChannelInit, PacketHeader
from codecs_core.wire.return_path import MessageType

from .plan import Plan
from .proxy import Proxy
from .verdict import Call, Verdict, watched, where_threads_are

__all__ = ["run"]

PAGE = 4096
_SLOTS = 128
_MAIN = b"QEVM"
_ARRIVED = struct.pack(">HHI", MessageType.SHUT, 4, 0)
_SLACK = 15.0
"""Seconds beyond the timeouts after which a run is a hang."""


def run(plan: Plan) -> Verdict:
    """Carry out a plan, and judge what comes of it."""
    verdict = Verdict(plan)
    with watched(verdict), tempfile.TemporaryDirectory(prefix="faults-") as place:
        _carry_out(plan, Path(place), verdict)
    return verdict


def _carry_out(plan: Plan, place: Path, verdict: Verdict) -> None:
    dice = random.Random(plan.seed)
    main = _MAIN + dice.randbytes(100 * plan.pages)
    channels = {number: _stream(dice, plan, number) for number in range(plan.channels)}
    tcp = plan.transport == "tcp"
    ended: list[Migration] = []
    with ExitStack() as stack:
        destination = Destination(place / "destination", main, channels)
        stack.callback(destination.close)
        ingress = Ingress(
            "tcp:127.0.0.1:0" if tcp else f"unix:{place}/ingress",
            f"unix:{place}/destination",
            timeout=plan.timeout,
            on_end=ended.append,
        )
        listen = "tcp:127.0.0.1:0" if tcp else f"unix:{place}/proxy"
        proxy = stack.enter_context(Proxy(listen, ingress.address, plan.faults))
        egress = Egress(
            f"unix:{place}/source",
            proxy.address,
            codec=plan.codec,
            retry_for=plan.retry_for,
            timeout=plan.timeout,
            on_end=ended.append,
        )
        for relay in (ingress, egress):
            thread = threading.Thread(target=relay.serve)
            thread.start()
            stack.callback(thread.join)
            stack.callback(relay.close)
        source = Source(place / "source", main, channels)
        stack.callback(source.close)
        bound = time.monotonic() + 3 * (plan.timeout + plan.retry_for) + _SLACK
        migrating = Call(source.migrate)
        if not migrating.ends(bound - time.monotonic()):
            verdict.wrong.append(f"the source hangs: {where_threads_are()}")
        source.close()
        # The source has gone: both relays and the destination are to see that.
        while time.monotonic() < bound and (ingress.live() or egress.live()):
            time.sleep(0.01)
        if ingress.live() or egress.live():
            verdict.wrong.append(f"a relay hangs: {where_threads_are()}")
        if destination.reached and not destination.ended.wait(max(0.0, bound - time.monotonic())):
            verdict.wrong.append("the destination hangs")
        verdict.fired = tuple(map(str, proxy.fired))
    verdict.errors = tuple(f"{each.peer}: {each.error}" for each in ended if each.error)
    if source.arrived:
        verdict.end = "arrived"
        if not destination.loaded:
            verdict.wrong.append("the source was told of an arrival that was none")
        if plan.harmless and verdict.errors:
            verdict.wrong.append("a relay failed, though nothing was lost")
    else:
        verdict.end = "arrived, but the source was not told" if destination.loaded else "failed"
        if plan.harmless:
            verdict.wrong.append(f"{verdict.end}, though nothing was lost")
    if migrating.error is not None:
        verdict.wrong.append(f"the test itself failed: {migrating.error!r}")


class Source:
    """Sends a migration as QEMU does, and listens on the return path."""

    def __init__(self, path: Path, main: bytes, channels: dict[int, bytes]) -> None:
        self.arrived = False
        self._path = str(path)
        self._main = main
        self._channels = channels
        self._sockets: list[socket.socket] = []

    def migrate(self) -> None:
        """Return once the destination has told that the guest has arrived, or the end is seen."""
        first = self._connect()
        sending = [Call(self._send, self._connect(), data) for data in self._channels.values()]
        answer = b""
        with suppress(OSError):
            first.sendall(self._main)
            while data := first.recv(1 << 16):
                answer += data
        self.arrived = answer == _ARRIVED
        self.close()
        for each in sending:
            each.ends(10)

    def close(self) -> None:
        """Be gone, with all connections."""
        for each in self._sockets:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _connect(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX)
        self._sockets.append(connection)
        connection.connect(self._path)
        return connection

    def _send(self, connection: socket.socket, data: bytes) -> None:
        try:
            connection.sendall(data)
        except OSError:
            # As QEMU: a channel that fails ends the migration.
            with suppress(OSError):
                self._sockets[0].shutdown(socket.SHUT_RDWR)


class Destination:
    """Takes a migration in as QEMU does, and says so once it has all of it."""

    def __init__(self, path: Path, main: bytes, channels: dict[int, bytes]) -> None:
        self.loaded = False
        self.ended = threading.Event()
        self._wanted = {_MAIN: main} | {
            ChannelInit.decode(data[:INIT_SIZE]).encode(): data for data in channels.values()
        }
        self._whole: set[bytes] = set()
        self._first: socket.socket | None = None
        self._lock = threading.Lock()
        self._sockets: list[socket.socket] = []
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(str(path))
        self._server.listen(300)
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    @property
    def reached(self) -> bool:
        """Whether anybody has connected."""
        return bool(self._sockets)

    def close(self) -> None:
        """End everything."""
        with suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self._threads[0].join()
        self._hang_up()
        for each in self._threads:
            each.join()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._server.accept()
            except OSError:
                return
            with self._lock:
                self._sockets.append(connection)
            thread = threading.Thread(target=self._read, args=(connection,))
            self._threads.append(thread)
            thread.start()

    def _read(self, connection: socket.socket) -> None:
        stream = bytearray()
        with connection:
            while True:
                try:
                    data = connection.recv(1 << 16)
                except OSError:
                    self._hang_up()
                    return
                if not data:
                    break
                stream += data
                self._look(connection, stream)
            if _MAIN.startswith(stream[: len(_MAIN)]):
                self._hang_up()

    def _look(self, connection: socket.socket, stream: bytearray) -> None:
        """See whether all has come that is wanted."""
        start = _MAIN if stream.startswith(_MAIN) else bytes(stream[:INIT_SIZE])
        with self._lock:
            if start == _MAIN:
                self._first = connection
            if stream == self._wanted.get(start):
                self._whole.add(start)
            else:
                self._whole.discard(start)
            arrived = self._first is not None and self._whole == set(self._wanted)
        if arrived:
            self.loaded = True
            assert self._first is not None
            with suppress(OSError):
                self._first.sendall(_ARRIVED)
            self._hang_up()

    def _hang_up(self) -> None:
        with self._lock:
            for each in self._sockets:
                with suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)
        self.ended.set()


def _stream(dice: random.Random, plan: Plan, number: int) -> bytes:
    """A channel's stream: its share of the pages in every round, and a SYNC behind each."""
    data = bytearray(ChannelInit(UUID(int=plan.seed + 1), number).encode())
    share = range(number, plan.pages, plan.channels)
    count = 0
    for _ in range(plan.rounds + 1):
        for start in range(0, len(share), _SLOTS):
            pages = share[start : start + _SLOTS]
            fill = b"".join(
                dice.choice((dice.randbytes(PAGE), b"guest memory " * 315 + b"\0")) for _ in pages
            )
            data += PacketHeader(
                method=0,
                packet_num=count,
                normal_pages=len(pages),
                next_packet_size=len(fill),
                block="pc.ram",
                offsets=struct.pack(f">{len(pages)}Q", *(page * PAGE for page in pages)),
                pages_alloc=_SLOTS,
            ).encode()
            data += fill
            count += 1
        data += PacketHeader(method=0, packet_num=count, sync=True).encode()
        count += 1
    return bytes(data)
