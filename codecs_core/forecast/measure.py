"""What a codec does on this host: real packets, in as many threads as there are channels.

A measurement has two halves: first all threads compress, then all decompress what they made. Each
has a share of the sample, as a channel has, and goes over it again and again, each time with a
fresh session, so that no history makes the next pass look better. A slow codec gets more time, for
one pass at least: the beginning of a sample tells little of the rest, and history grows slowly.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

from codecs_core.codec import DEFAULT_GEOMETRY, HARDWARE_PACKETS, SOFTWARE_PACKETS, Codec
from codecs_core.forecast.model import Measured
from codecs_core.forecast.sample import Sample
from codecs_core.guard import guarded_decoder, guarded_encoder
from codecs_core.none import NoneCodec
from codecs_core.wire.packet import header_size

__all__ = ["measure", "ratio_of"]

_HEADER = header_size(DEFAULT_GEOMETRY)
_RATIO_PACKETS = 16
_FIRST_PASS = 4
"""How many times as long as was asked for the first pass may take."""
_AT_ONCE = 1e15
"""The rate of a codec that does nothing: far above any other, and a number that JSON has."""


def measure(
    codec: Codec,
    sample: Sample,
    *,
    channels: int = 2,
    cpus: int = 1,
    seconds: float = 1.0,
    one_host: bool = False,
) -> Measured:
    """Run a codec on a sample for about so many ``seconds``, and return its rates.

    There are as many threads as channels, but no more than CPUs; a codec whose work a device does
    gets all of its channels. With ``one_host`` both ends work at once in the second half, for they
    take caches and memory from each other. Raises what the codec raises: `CodecError`, or
    `CodecUnavailable`.
    """
    if codec.method == NoneCodec.method:
        # The engine sends pages from where they are, and receives them to where they belong.
        free = 1 / _AT_ONCE
        return Measured(codec.name, _AT_ONCE, _AT_ONCE, free, free, ratio_of(codec, sample))
    device = _uses_device(codec, sample)
    threads = channels if device else min(channels, cpus)
    ends = [
        _Ends(codec, sample.packets[number::threads] or sample.packets[:1])
        for number in range(threads)
    ]
    encode = [partial(end.encode, seconds / 2) for end in ends]
    decode = [partial(end.decode, seconds / 2) for end in ends]
    _at_once(encode)
    ratio = sum(end.encoding.pages for end in ends) / sum(end.wire for end in ends)
    if one_host:
        for end in ends:
            end.encoding = _Tally()
        decode += encode
    _at_once(decode)
    encoding, decoding = [end.encoding for end in ends], [end.decoding for end in ends]
    if one_host and not device:
        # More threads than CPUs: what each of them does alone shows in the CPU's time only.
        rates = 1 / _cpu(encoding), 1 / _cpu(decoding)
    else:
        rates = _rate(encoding), _rate(decoding)
    return Measured(
        codec.name,
        *rates,
        encode_cpu=_cpu(encoding),
        decode_cpu=_cpu(decoding),
        ratio=ratio,
        hardware=_share(sum((end.statistics for end in ends), Counter[str]())),
    )


def ratio_of(codec: Codec, sample: Sample) -> float:
    """The ratio alone, by a few packets from all over the sample."""
    chosen = sample.packets[:: max(1, len(sample.packets) // _RATIO_PACKETS)]
    with guarded_encoder(codec, DEFAULT_GEOMETRY) as encoder:
        wire = sum(_HEADER + len(encoder.encode(packet)) for packet in chosen)
    return sum(map(len, chosen)) / wire


@dataclass
class _Tally:
    """Bytes of pages, the nanoseconds that they took, and those of the CPU's among them."""

    pages: int = 0
    elapsed: int = 0
    cpu: int = 0

    @contextmanager
    def counting(self, size: int) -> Iterator[None]:
        """Count what the body does with so many bytes of pages."""
        cpu, started = time.thread_time_ns(), time.perf_counter_ns()
        yield
        self.elapsed += time.perf_counter_ns() - started
        self.cpu += time.thread_time_ns() - cpu
        self.pages += size


@dataclass
class _Ends:
    """Both ends of one channel, one after the other, each on a thread."""

    codec: Codec
    packets: Sequence[memoryview]
    encoding: _Tally = field(default_factory=_Tally)
    decoding: _Tally = field(default_factory=_Tally)
    wire: int = 0
    payloads: list[bytes] = field(default_factory=list)
    statistics: Counter[str] = field(default_factory=Counter)

    def encode(self, seconds: float) -> None:
        """Compress for so long; the payloads of the very first pass are kept."""
        deadline = time.monotonic() + seconds
        give_up = deadline + (_FIRST_PASS - 1) * seconds
        for number in self._passes(deadline):
            keep = not self.payloads
            with guarded_encoder(self.codec, DEFAULT_GEOMETRY) as encoder:
                for packet in self.packets:
                    with self.encoding.counting(len(packet)):
                        payload = encoder.encode(packet)
                    self.wire += _HEADER + len(payload)
                    if keep:
                        self.payloads.append(bytes(payload))
                    if time.monotonic() > (deadline if number else give_up):
                        break
                self.statistics.update(encoder.statistics())

    def decode(self, seconds: float) -> None:
        """Decompress what was kept, for so long."""
        deadline = time.monotonic() + seconds
        # Each packet has its place, as in a guest's memory: one for all would stay in the cache.
        places = [memoryview(bytearray(len(packet))) for packet in self.packets]
        for _ in self._passes(deadline):
            with guarded_decoder(self.codec, DEFAULT_GEOMETRY) as decoder:
                # The first pass may have been cut short.
                for place, payload in zip(places, self.payloads, strict=False):
                    with self.decoding.counting(len(place)):
                        decoder.decode_into(memoryview(payload), place)
                    if time.monotonic() > deadline:
                        break

    @staticmethod
    def _passes(deadline: float) -> Iterator[int]:
        """Count passes until it is time; there is one at least."""
        number = 0
        while number == 0 or time.monotonic() < deadline:
            yield number
            number += 1


def _at_once(works: Sequence[Callable[[], None]]) -> None:
    """Do all of them at the same time, each on a thread; raises what the first of them raises."""
    start = threading.Barrier(len(works))

    def run(work: Callable[[], None]) -> None:
        start.wait()
        work()

    with ThreadPoolExecutor(len(works), thread_name_prefix="multifd-measure") as pool:
        try:
            for done in [pool.submit(run, work) for work in works]:
                done.result()
        except BaseException:
            # A thread that could not be started leaves the others waiting for it.
            start.abort()
            raise


def _uses_device(codec: Codec, sample: Sample) -> bool:
    with guarded_encoder(codec, DEFAULT_GEOMETRY) as encoder:
        encoder.encode(sample.packets[0])
        return encoder.statistics().get(HARDWARE_PACKETS, 0) > 0


def _rate(tallies: Sequence[_Tally]) -> float:
    """Bytes of pages a second, of each thread on average."""
    return sum(each.pages * 1e9 / max(1, each.elapsed) for each in tallies) / len(tallies)


def _cpu(tallies: Sequence[_Tally]) -> float:
    """CPU seconds a byte of pages; not 0, even where the clock does not see them."""
    return max(1, sum(each.cpu for each in tallies)) / 1e9 / sum(each.pages for each in tallies)


def _share(statistics: Counter[str]) -> float | None:
    total = statistics[HARDWARE_PACKETS] + statistics[SOFTWARE_PACKETS]
    return statistics[HARDWARE_PACKETS] / total if total else None
