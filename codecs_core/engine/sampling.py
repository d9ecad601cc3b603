"""Samples of packets, encoded to learn what candidates cost."""

from __future__ import annotations

import resource
import threading
import time
from collections.abc import Iterable, Iterator
from typing import Final

from codecs_core.codec import Codec, Encoder, Geometry
from codecs_core.engine.adapt import Chooser
from codecs_core.engine.costs import SAMPLE, Costs
from codecs_core.errors import CodecError, PluginError
from codecs_core.guard import guarded_encoder

__all__ = ["Sampler"]

_PIECES: Final = 4
"""In how many pieces a sample is taken."""


class Sampler:
    """Learns for the channels of a session what its ``chooser`` wants to know. For any thread.

    ``codecs`` are the candidates, by their numbers. Each has an encoder only while it is measured,
    so that all together take no more memory than the one that takes most.
    """

    def __init__(
        self, codecs: list[Codec], geometry: Geometry, costs: Costs, chooser: Chooser
    ) -> None:
        self._codecs = codecs
        self._geometry = geometry
        self._costs = costs
        self._chooser = chooser
        self._lock = threading.Lock()

    def sample(self, packet: memoryview) -> None:
        """Encode ``packet``, or a part of it, by all that are wanted.

        While another channel does so already, this one goes on without, unless nothing is known.
        """
        begun = any(map(self._costs.known, range(1, len(self._codecs))))
        if not self._lock.acquire(blocking=not begun):
            return
        try:
            for pages in _samples(packet, self._geometry.page_size, self._chooser.allowance):
                if not self._chooser.wanted:
                    break
                started = time.perf_counter()
                self._costs.learn(self._measure(pages, self._chooser.wanted), len(pages))
                self._chooser.sampled(time.perf_counter() - started, len(pages))
        finally:
            self._lock.release()

    def lose(self, candidate: int) -> None:
        """Have no channel choose a candidate any more: it has failed."""
        with self._lock:
            self._chooser.lose(candidate)

    def _measure(
        self, pages: memoryview, candidates: Iterable[int]
    ) -> dict[int, tuple[float, float]]:
        found = {}
        for each in candidates:
            try:
                encoder = guarded_encoder(self._codecs[each], self._geometry)
                try:
                    # The first time it fetches its memory; other bytes, for it will remember.
                    encoder.encode(memoryview(bytes(pages[: self._geometry.page_size])[::-1]))
                    size, seconds = _timed(encoder, pages)
                finally:
                    encoder.close()
            except (CodecError, PluginError):
                self._chooser.lose(each)
                continue
            found[each] = (max(seconds, 1e-9) / len(pages), size / len(pages))
        return found


def _samples(packet: memoryview, page_size: int, allowance: int) -> Iterator[memoryview]:
    """A packet, where ``allowance`` bytes are so many; else whole pages from all over it.

    Of these others each time. Neighbours stay together, for they are alike.
    """
    if allowance >= len(packet) > SAMPLE:
        yield packet
        return
    piece = max(SAMPLE // _PIECES, page_size)
    # From one piece to the next: a part of the packet, to the page.
    step = max(piece, len(packet) // _PIECES // page_size * page_size)
    for at in range(0, step - piece + 1, piece):
        ends = range(at, len(packet), step)
        yield memoryview(b"".join(packet[each : each + piece] for each in ends))


def _timed(encoder: Encoder, pages: memoryview) -> tuple[int, float]:
    """Return the size of a payload, and the seconds that it took, without those of others."""
    before = resource.getrusage(resource.RUSAGE_THREAD).ru_nivcsw
    started, cpu = time.perf_counter(), time.thread_time()
    size = len(encoder.encode(pages))
    seconds, cpu = time.perf_counter() - started, time.thread_time() - cpu
    interrupted = resource.getrusage(resource.RUSAGE_THREAD).ru_nivcsw > before
    return size, cpu if interrupted else seconds
