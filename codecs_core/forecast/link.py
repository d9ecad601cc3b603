"""What a link carries, and what moving costs: pages of noise, sent without a codec.

The other end is ``multifd recv tcp:HOST:4444 - > /dev/null``, or any receiver that takes one
stream. The first moments do not count: connections start slowly, and shapers let bursts pass.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

from codecs_core.codec import DEFAULT_GEOMETRY
from codecs_core.engine.receiver import Receiver
from codecs_core.engine.sender import Sender
from codecs_core.errors import CodecsCoreError
from codecs_core.forecast.model import Engine
from codecs_core.memory import kernel
from codecs_core.memory.block import Block, PageRun
from codecs_core.memory.stream import StreamSink

if TYPE_CHECKING:
    from codecs_core.transport.tls import TlsCredentials

__all__ = ["bandwidth_to", "engine_costs"]

_NAME = "noise"
_LEAD = 0.3
_ZEROS = 32 << 20


class _Noise(Block):
    """A stream of the same packet of random bytes, until `until`."""

    ordered = True

    def __init__(self) -> None:
        super().__init__(_NAME, None, DEFAULT_GEOMETRY.page_size)
        self.until = 0.0
        self._packet = memoryview(os.urandom(DEFAULT_GEOMETRY.packet_size))
        self._packets = 0

    def runs(self, per_packet: int, *, skip_holes: bool = False) -> Iterator[PageRun]:
        """Yield runs until it is time."""
        while time.monotonic() < self.until:
            yield PageRun(self, self._packets * per_packet, per_packet)
            self._packets += 1

    def read(self, run: PageRun, scratch: memoryview) -> memoryview:
        """Return the packet."""
        return self._packet

    @property
    def final_size(self) -> int:
        """How many bytes were sent."""
        return self._packets * len(self._packet)


def bandwidth_to(
    uri: str,
    *,
    channels: int | None = None,
    seconds: float = 1.0,
    timeout: float = 30.0,
    tls: TlsCredentials | None = None,
) -> float:
    """Measure what the link to a receiver carries, in bytes of the wire a second.

    The receiver has received one transfer then, and ends. Raises as `Sender` does.
    """
    noise = _Noise()
    with Sender(uri, channels=channels, timeout=timeout, tls=tls) as sender:
        sender.add_block(_NAME, noise)
        sender.connect()
        _send(sender, noise, _LEAD)
        before = sender.progress()
        elapsed = _send(sender, noise, seconds)
        after = sender.progress()
    return (after.wire_bytes - before.wire_bytes) / elapsed


def _send(sender: Sender, noise: _Noise, seconds: float) -> float:
    """Send for that long, and return how long it took until all had arrived."""
    started = time.monotonic()
    noise.until = started + seconds
    sender.send()
    sender.sync()
    return time.monotonic() - started


def engine_costs(*, channels: int = 2, seconds: float = 0.3) -> Engine:
    """Measure what moving costs the CPUs of this host, by a transfer within this process.

    Each end is taken to bear half of it. Raises as `Sender` and `Receiver` do.
    """
    page, packet = DEFAULT_GEOMETRY.page_size, DEFAULT_GEOMETRY.packet_size
    with open(os.devnull, "wb", buffering=0) as sink:

        def open_block(name: str, size: int | None, page_size: int) -> Block:
            return StreamSink(name, sink.fileno(), size, page_size)

        with Receiver("tcp:127.0.0.1:0", open_block=open_block) as receiver:

            def receive() -> None:
                # What goes wrong, the sender tells.
                with suppress(CodecsCoreError):
                    receiver.receive()

            thread = threading.Thread(target=receive, name="multifd-measure")
            thread.start()
            try:
                cpu, noise = time.process_time(), _Noise()
                with Sender(receiver.address, channels=channels) as sender:
                    sender.add_block(_NAME, noise)
                    _send(sender, noise, seconds)
                    sent = sender.progress().wire_bytes
                cpu = time.process_time() - cpu
            finally:
                receiver.close()
                thread.join()
    zeros, offsets = memoryview(bytes(packet)), memoryview(bytearray(8 * (packet // page)))
    started = time.thread_time()
    for _ in range(_ZEROS // packet):
        kernel.scan(zeros, page, 0, None, offsets, None)
    return Engine(cpu / sent / 2, (time.thread_time() - started) / _ZEROS)
