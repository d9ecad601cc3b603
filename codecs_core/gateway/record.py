"""The recorder: passes one migration on to its destination, and writes down what passes.

::

    source QEMU ──▶ Recorder ──▶ destination QEMU
                       │
                       └──▶ main.bin  ch0.bin  ch1.bin  …  meta.json

Every byte passes unchanged, in both directions, whatever it means; only the main channel is read
along, to tell at the end whether the migration was whole. The destination takes its bytes before
the file does.
"""

from __future__ import annotations

import json
import os
import threading
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Self

from codecs_core.codec import Buffer, Codec
from codecs_core.engine.lobby import Lobby, Stranger
from codecs_core.engine.session import Session
from codecs_core.errors import ProtocolError, TransferError, UsageError
from codecs_core.gateway.egress import BESIDE_QEMU
from codecs_core.memory.output import OutputDirectory
from codecs_core.registry import get_codec
from codecs_core.transport.address import parse
from codecs_core.transport.connect import dial, listen
from codecs_core.transport.link import Link
from codecs_core.wire import packet, qemu
from codecs_core.wire.return_path import ReturnPathParser

__all__ = ["Recorded", "Recorder"]

_CHUNK = 256 * 1024
_MEMBER = 4 << 20
"""How many bytes of a compressed file make up a member of its format."""


@dataclass(frozen=True)
class Recorded:
    """A recording that is whole: its place, channels, bytes that passed, bytes that files take."""

    path: str
    channels: int
    passed_bytes: int
    file_bytes: int
    seconds: float


class Recorder:
    """Takes one migration in on ``listen_uri`` and leads it on to ``connect_uri``.

    ``codec`` compresses the files, in its own file format. The recording appears at ``path`` when
    the migration has succeeded. ``timeout`` is how long, in seconds, a new connection may be
    silent. ``insecure`` allows an address that other hosts reach. Raises `UsageError` for wrong
    arguments, `LinkError` where it cannot listen, `TransferError` where nothing can be written.
    """

    def __init__(
        self,
        listen_uri: str,
        connect_uri: str,
        path: str | os.PathLike[str],
        *,
        codec: str | Codec = "none",
        timeout: float = 30.0,
        insecure: bool = False,
    ) -> None:
        self._onward = parse(connect_uri)
        self._codec = get_codec(codec)
        if self._codec.suffix is None and self._codec.name != "none":
            raise UsageError(f"codec {self._codec.name!r} has no file format; choose another")
        self._timeout = timeout
        self._session = Session()
        self._links: list[Link] = []
        self._tapes: list[_Tape] = []
        self._channels: set[int] = set()
        self._uuid: uuid.UUID | None = None
        self._early: list[Stranger] = []
        self._main: Link | None = None
        self._reader = _MainReader()
        self._lock = threading.Lock()
        self._running = 0
        self._started = 0.0
        self._listener = listen(parse(listen_uri), insecure=insecure, remedy=BESIDE_QEMU)
        try:
            if self._listener.fileno() is None:
                raise UsageError(
                    f"{listen_uri} gives one connection, and a migration has several; listen on "
                    "tcp:, unix: or a listening fd:"
                )
            self._output = OutputDirectory(path)
        except BaseException:
            self._listener.close()
            raise
        self._session.on_failure(self._abort)

    @property
    def address(self) -> str:
        """Where the migration is taken in, with the port that the system chose."""
        return self._listener.address

    @property
    def passed_bytes(self) -> int:
        """How many bytes have passed towards the destination."""
        return sum(each.passed for each in self._tapes)

    def record(self) -> Recorded:
        """Wait for a migration, pass it on, and return when it is recorded whole.

        Raises `TransferError` where it fails: there is no recording then.
        """
        lobby = Lobby(self._listener, self._timeout, self._session.check)
        try:
            lobby.open()
            while self._main is None or self._running:
                for stranger in lobby.poll():
                    if isinstance(stranger, Stranger):
                        self._take(stranger)
            self._session.check()
            self._reader.check()
            return self._commit()
        except BaseException as error:
            self._session.fail(error)
            raise
        finally:
            lobby.close()
            self._session.join()

    def close(self) -> None:
        """Release everything; what is not whole is removed."""
        self._session.fail(TransferError("the recorder was closed"))
        self._session.join()
        for link in [*self._links, *(each.link for each in self._early)]:
            link.close()
        for tape in self._tapes:
            tape.close()
        self._listener.close()
        self._output.__exit__()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _take(self, stranger: Stranger) -> None:
        if stranger.data[:4] == qemu.MAGIC and self._main is None:
            self._started = time.monotonic()
            # QEMU 7.2 takes the first connection for the main channel.
            self._main = self._lead_on(stranger, "main")
            early, self._early = self._early, []
            for each in early:
                self._take(each)
        elif stranger.is_channel and self._main is None:
            self._early.append(stranger)
        elif stranger.is_channel:
            init = packet.ChannelInit.decode(stranger.data)
            self._uuid = self._uuid or init.uuid
            if init.uuid != self._uuid or init.channel in self._channels:
                stranger.link.close()
                return
            self._channels.add(init.channel)
            self._lead_on(stranger, f"ch{init.channel}")
        else:
            stranger.link.close()

    def _lead_on(self, stranger: Stranger, name: str) -> Link:
        """Connect to the destination, and start to pass what comes, both ways."""
        self._links.append(stranger.link)
        onward = dial(self._onward, self._timeout)
        self._links.append(onward)
        codec = None if self._codec.suffix is None else self._codec
        tape = _Tape(self._output.partial / f"{name}.bin{self._codec.suffix or ''}", codec)
        self._tapes.append(tape)
        main = name == "main"
        with self._lock:
            self._running += 2 if main else 1
        self._session.start(
            f"record-{name}", self._out, stranger.link, onward, tape, stranger.data, main
        )
        if main:
            self._session.start("record-back", self._back, onward, stranger.link)
        return stranger.link

    def _out(self, inbound: Link, onward: Link, tape: _Tape, data: bytes, main: bool) -> None:
        while data or (data := inbound.receive_available(_CHUNK)):
            onward.send([data])
            tape.write(data)
            if main:
                self._reader.feed(data)
            data = b""
        onward.end()
        tape.finish()
        self._ended()

    def _back(self, onward: Link, inbound: Link) -> None:
        while data := onward.receive_available(_CHUNK):
            inbound.send([data])
            self._reader.feed_back(data)
        inbound.end()
        self._ended()

    def _ended(self) -> None:
        with self._lock:
            self._running -= 1

    def _commit(self) -> Recorded:
        facts = {
            "channels": len(self._channels),
            "uuid": None if self._uuid is None else str(self._uuid),
            "multifd": bool(self._channels),
        }
        (self._output.partial / "meta.json").write_text(json.dumps(facts, indent=2) + "\n")
        self._output.commit()
        return Recorded(
            path=str(self._output.path),
            channels=len(self._channels),
            passed_bytes=self.passed_bytes,
            file_bytes=sum(each.written for each in self._tapes),
            seconds=time.monotonic() - self._started,
        )

    def _abort(self, error: BaseException) -> None:
        for link in list(self._links):
            link.abort()


class _Tape:
    """One file of the recording. ``passed`` counts bytes given, ``written`` bytes in the file."""

    def __init__(self, path: Path, codec: Codec | None) -> None:
        self.passed = 0
        self.written = 0
        self._codec = codec
        self._waiting = bytearray()
        self._file: BinaryIO = path.open("xb", buffering=0)

    def write(self, data: Buffer) -> None:
        """Add bytes."""
        self.passed += len(data)
        if self._codec is None:
            self._store(data)
            return
        self._waiting += data
        if len(self._waiting) >= _MEMBER:
            self._compress(self._codec)

    def finish(self) -> None:
        """Write what is left, to the disk itself."""
        if self._codec is not None and (self._waiting or not self.written):
            self._compress(self._codec)
        os.fsync(self._file.fileno())
        self._file.close()

    def close(self) -> None:
        """Release the file."""
        self._file.close()

    def _compress(self, codec: Codec) -> None:
        # The file formats allow members after each other, so that memory stays bounded.
        self._store(codec.compress(self._waiting))
        self._waiting.clear()

    def _store(self, data: Buffer) -> None:
        rest = memoryview(data)
        try:
            while rest:
                count = self._file.write(rest) or 0
                self.written += count
                rest = rest[count:]
        except OSError as error:
            raise TransferError(f"writing the recording: {error.strerror}") from error


class _MainReader:
    """Reads the main channel along, to tell at the end whether the migration was whole."""

    def __init__(self) -> None:
        self._stream = qemu.MainParser()
        self._answers = ReturnPathParser()
        self._complete = False
        self._readable = True
        self._arrived: bool | None = None

    def feed(self, data: Buffer) -> None:
        """Take what the source sends. What cannot be read passes all the same."""
        if self._readable:
            try:
                events = self._stream.feed(data)
            except ProtocolError:
                self._readable = False
            else:
                self._complete |= any(isinstance(each, qemu.RamEnd) for each in events)

    def feed_back(self, data: Buffer) -> None:
        """Take what the destination answers."""
        if self._readable:
            try:
                messages = self._answers.feed(data)
            except ProtocolError:
                self._readable = False
            else:
                for each in messages:
                    self._arrived = each.arrived if each.arrived is not None else self._arrived

    def check(self) -> None:
        """Raise `TransferError` for a migration that did not come to its end."""
        if self._arrived is False:
            raise TransferError("the destination says that the migration has failed")
        if self._readable and not self._complete:
            raise TransferError(
                "the migration broke off before its RAM was complete: it failed or was cancelled"
            )
        if self._readable and self._stream.return_path and not self._arrived:
            raise TransferError("the destination never said that the guest has arrived")
