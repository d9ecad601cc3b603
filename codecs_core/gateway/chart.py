"""Gathers what is drawn of a recording beside its summary, in bounded memory."""

from __future__ import annotations

import zlib
from collections import Counter
from dataclasses import dataclass
from typing import Final

from codecs_core.gateway.bins import Bins
from codecs_core.gateway.explain import Explained
from codecs_core.gateway.mapped import sample_pages
from codecs_core.gateway.recording import Recording
from codecs_core.gateway.replay import Packet
from codecs_core.none import NoneCodec

__all__ = ["Chart", "Compressed"]

MAX_POINTS: Final = 1024
"""How many points a curve has at most."""
SAMPLE: Final = 16 * 1024
"""How many bytes of a packet are compressed, where its payload is not compressed already."""


@dataclass
class Compressed:
    """What a RAM block's normal pages are in memory, and compressed, in bytes.

    ``measured`` where that was estimated by deflate at level 1, from samples: what the recording
    holds is not compressed.
    """

    memory_bytes: int = 0
    payload_bytes: float = 0.0
    measured: bool = False


class Chart:
    """The payload of each channel over the packets, and how well each block compresses.

    ``payload`` has a bin for ``payload.width`` packets each, in the order of the replay: bytes by
    channel.
    """

    def __init__(self) -> None:
        self.packets = 0
        self.payload: Bins[Counter[int]] = Bins(MAX_POINTS, Counter, Counter.update)
        self.blocks: dict[str, Compressed] = {}

    def take(self, step: Explained) -> None:
        """Add one step of a recording."""
        if isinstance(step.step, Packet):
            self.payload.at(self.packets)[step.step.channel] += len(step.payload)
            self.packets += 1
        if step.normal_pages and step.block is not None:
            # Pages on the main channel are as they are, too.
            raw = not isinstance(step.step, Packet) or step.step.header.method == NoneCodec.method
            if raw:
                self._measure(step.block, step.memory_bytes, step.payload[:SAMPLE])
            else:
                block = self.blocks.setdefault(step.block, Compressed())
                block.memory_bytes += step.memory_bytes
                block.payload_bytes += len(step.payload)

    def take_mapped(self, recording: Recording) -> None:
        """Add the pages of a mapped-ram file."""
        assert recording.main is not None
        for block, size, sample in sample_pages(recording.main, recording.blocks.values(), SAMPLE):
            self._measure(block.name, size, memoryview(sample))

    def _measure(self, name: str, size: int, sample: memoryview) -> None:
        block = self.blocks.setdefault(name, Compressed())
        block.memory_bytes += size
        block.payload_bytes += size * len(zlib.compress(sample, level=1)) / len(sample)
        block.measured = True
