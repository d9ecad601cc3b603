"""Packets to payloads, and back: the codecs' sessions of one channel.

A `Packer` encodes by the session's one codec, an `AdaptivePacker` by what a `Chooser` finds best.
An `Unpacker` decodes what came under any method that was agreed on. Encoders and decoders are made
when they are first needed, so a channel holds no more of them than it uses.
"""

from __future__ import annotations

import resource
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final, Protocol, TypeAlias

from codecs_core.codec import Buffer, Codec, Decoder, Encoder, Geometry
from codecs_core.engine.adapt import Chooser
from codecs_core.engine.costs import SAMPLE, VERBATIM, Costs
from codecs_core.engine.methods import Adaptive, Choice, Methods, agreed, label
from codecs_core.errors import CodecError, PluginError, ProtocolError
from codecs_core.guard import guarded_decoder, guarded_encoder
from codecs_core.wire import control as wire

__all__ = ["AdaptivePacker", "DecodeInto", "Packer", "Packing", "Unpacker", "looks_random"]

DecodeInto: TypeAlias = Callable[[memoryview, memoryview], None]
"""Fills a packet, the second, from a payload, the first; see `Decoder.decode_into`."""

_LEAST: Final = 16 << 10
"""Bytes below which a packet gives no sample, unless it is a whole one."""
_PIECES: Final = 4
"""In how many pieces a sample is taken."""
_BYTES: Final = 512
_RANDOM: Final = 208
"""So many different values are among 512 bytes that are drawn at random, but for 1 case in 500."""
_AUDIT: Final = 16
"""Which of the packets that look random are encoded all the same, to see whether they are."""
_AHEAD: Final = 256 << 10
"""Bytes that the kernel may have ahead of the link: what is in its buffers was chosen already."""
_PACKS: Final = 0.95
"""Payloads above this part of their packet are not worth their encoding."""


class Outlet(Protocol):
    """Where packets are sent."""

    def backlog(self) -> int | None:
        """How many bytes are not on their way yet of what was sent; ``None``: nobody can tell."""

    def limit_backlog(self, size: int) -> None:
        """Have sends wait while more than ``size`` bytes are not on their way yet."""


class Packing:
    """How the channels of one session encode: by the one codec of ``methods``, or by any.

    It holds what channels learn for each other. `packer` makes what one channel needs; with the
    last of those that are closed it lets go of what it holds.
    """

    def __init__(
        self, methods: Methods, geometry: Geometry, *, adaptive: bool, near: bool = False
    ) -> None:
        self.methods = methods
        self.geometry = geometry
        self.adaptive = adaptive
        # Candidate 0 is method 0.
        self.numbers = sorted(methods, key=lambda number: number != 0)
        self.costs = Costs(_below([methods[each] for each in self.numbers]))
        self.chooser = Chooser(self.costs, near=near)
        self._samplers: dict[int, Encoder] = {}
        self._sampling = threading.Lock()
        self._open = 0

    @classmethod
    def agreed(
        cls, chosen: Choice, accept: wire.Accept, geometry: Geometry, *, near: bool
    ) -> Packing:
        """By what a receiver has accepted, which may be ``near``: on the same host.

        Raises `ProtocolError` where that was not offered.
        """
        adaptive = isinstance(chosen, Adaptive)
        return cls(agreed(chosen, accept), geometry, adaptive=adaptive, near=near)

    @property
    def computes(self) -> bool:
        """Whether encoding is work for a CPU."""
        return self.methods.keys() != {0}

    def packer(self) -> Packer:
        """Make the packer of one channel."""
        self._open += 1
        return AdaptivePacker(self) if self.adaptive else Packer(self)

    def sample(self, packet: memoryview) -> None:
        """Learn from ``packet``, or a part of it, what the chooser wants to know.

        While another channel does so already, this one goes on without, unless nothing is known.
        """
        begun = any(map(self.costs.known, range(1, len(self.numbers))))
        if not self._sampling.acquire(blocking=not begun):
            return
        try:
            for pages in _samples(packet, self.geometry.page_size, self.chooser.allowance):
                if not self.chooser.wanted:
                    break
                started = time.perf_counter()
                self.costs.learn(self._measure(pages, self.chooser.wanted), len(pages))
                self.chooser.sampled(time.perf_counter() - started, len(pages))
        finally:
            self._sampling.release()

    def lose(self, candidate: int) -> None:
        """Have no channel choose a candidate any more: it has failed."""
        with self._sampling:
            self.chooser.lose(candidate)

    def leave(self) -> None:
        """A packer is closed."""
        self._open -= 1
        if not self._open:
            for each in self._samplers.values():
                each.close()

    def _measure(
        self, pages: memoryview, candidates: Iterable[int]
    ) -> dict[int, tuple[float, float]]:
        found = {}
        for each in candidates:
            try:
                encoder = self._samplers.get(each)
                if encoder is None:
                    codec = self.methods[self.numbers[each]]
                    encoder = self._samplers[each] = guarded_encoder(codec, self.geometry)
                    # The first time it fetches its memory; other bytes, for it will remember.
                    encoder.encode(memoryview(bytes(pages)[::-1]))
                size, seconds = _timed(encoder, pages)
            except (CodecError, PluginError):
                self.chooser.lose(each)
                continue
            found[each] = (max(seconds, 1e-9) / len(pages), size / len(pages))
        return found


class Packer:
    """Encodes the packets of one channel by one codec. Used by one thread.

    ``method`` is that of the packet encoded last. Any thread may ask for `statistics`, ``packets``
    (label of the codec → how many it has encoded) and `reason`.
    """

    def __init__(self, packing: Packing) -> None:
        self.packets: dict[str, int] = {}
        self._packing = packing
        self._encoders: dict[int, Encoder] = {}
        self._labels = {number: label(codec) for number, codec in packing.methods.items()}
        self.method = packing.numbers[0]
        self._closed = False
        if not packing.adaptive:
            self._encoder(self.method)

    def encode(self, packet: memoryview) -> Buffer:
        """Return the payload for one packet, valid until the next call.

        Raises `CodecError` where the codec fails, `BrokenPlugin` where its payload is none.
        """
        return self._encode(self.method, packet)

    def sending(self, outlet: Outlet) -> None:
        """The packet encoded last is about to be sent there."""

    def sent(self, size: int, seconds: float) -> None:
        """The packet encoded last was sent: ``size`` bytes on the wire, which took ``seconds``."""

    def statistics(self) -> Mapping[str, int]:
        """The counters of all encoders."""
        return _sums(self._encoders.values())

    def reason(self) -> str:
        """Why the packets are encoded as they are; empty where there is no choice."""
        return ""

    def close(self) -> None:
        """Release the encoders."""
        if not self._closed:
            self._closed = True
            for each in list(self._encoders.values()):
                each.close()
            self._packing.leave()

    def _encoder(self, method: int) -> Encoder:
        encoder = self._encoders.get(method)
        if encoder is None:
            encoder = guarded_encoder(self._packing.methods[method], self._packing.geometry)
            # Replaced as a whole: another thread may be looking through it.
            self._encoders = {**self._encoders, method: encoder}
        return encoder

    def _encode(self, method: int, packet: memoryview) -> Buffer:
        payload = self._encoder(method).encode(packet)
        name = self._labels[method]
        self.packets[name] = self.packets.get(name, 0) + 1
        return payload


class AdaptivePacker(Packer):
    """Encodes each packet by what its session's channels have found best.

    A codec that fails is done without, from the packet on with which it did: that one travels as
    it is.
    """

    def __init__(self, packing: Packing) -> None:
        super().__init__(packing)
        self._chooser = packing.chooser
        self._lane = packing.chooser.lane()
        self._candidate = VERBATIM
        self._failed: dict[int, str] = {}
        self._least = min(_LEAST, packing.geometry.packet_size)
        self._began = time.perf_counter()
        self._random = 0
        self._trusted = True
        self._pending = (0, 0.0, False)
        self._outlet: Outlet | None = None

    def encode(self, packet: memoryview) -> Buffer:
        """As `Packer.encode`."""
        chooser = self._chooser
        if self._passes(packet):
            self.method = 0
            self._pending = (0, 0.0, True)
            return self._encode(0, packet)
        if chooser.wanted and len(packet) >= self._least:
            self._packing.sample(packet)
        started = time.perf_counter()
        payload = self._by_choice(packet)
        seconds = time.perf_counter() - started
        if self._random and self.method and len(payload) < _PACKS * len(packet):
            # The test is wrong about these pages: they are even, but not random.
            self._trusted = False
        self._pending = (len(packet), seconds if self.method else 0.0, False)
        return payload

    def sending(self, outlet: Outlet) -> None:
        """As `Packer.sending`."""
        if outlet is not self._outlet:
            self._outlet = outlet
            outlet.limit_backlog(_AHEAD)
        began, self._began = self._began, time.perf_counter()
        self._lane.before(self._began - began, outlet.backlog())

    def sent(self, size: int, seconds: float) -> None:
        """As `Packer.sent`."""
        memory, encoding, passed = self._pending
        if passed:
            self._lane.verbatim(size, seconds)
        else:
            self._lane.packet(self._candidate, memory, size, encoding, seconds)

    def close(self) -> None:
        """As `Packer.close`."""
        if not self._closed:
            self._lane.leave()
        super().close()

    def reason(self) -> str:
        """Say what sets the pace, and what is used for that; and what has failed."""
        return "; ".join((self._pace(), *self._failed.values()))

    def _pace(self) -> str:
        chooser = self._chooser
        if chooser.link is None:
            return "nothing is known of the link yet"
        name = self._labels[self._packing.numbers[chooser.current]]
        if chooser.waiting and chooser.current != VERBATIM:
            rate = f"{chooser.link / 1e6:.0f} MB/s"
            return f"the link is waited for, at {rate}: {name} gets most through it"
        if chooser.waiting:
            return f"the link takes {chooser.link / 1e6:.0f} MB/s, which no codec keeps up with"
        return f"encoding is waited for, and not the link: {name} is quick enough"

    def _by_choice(self, packet: memoryview) -> Buffer:
        self._candidate = self._chooser.current
        self.method = self._packing.numbers[self._candidate]
        if self.method not in self._failed:
            try:
                return self._encode(self.method, packet)
            except (CodecError, PluginError) as error:
                if not self.method:
                    raise
                # Never again: it may remember a packet that the decoder will not see.
                why = f"{self._labels[self.method]} has failed: {error}"
                # Replaced as a whole: another thread may be looking through it.
                self._failed = {**self._failed, self.method: why}
                self._packing.lose(self._candidate)
        self._candidate = VERBATIM
        self.method = 0
        return self._encode(0, packet)

    def _passes(self, packet: memoryview) -> bool:
        """Whether a packet is sent as it is, because it looks as if nothing could pack it."""
        if self._chooser.current == VERBATIM or not self._trusted or not looks_random(packet):
            self._random = 0
            return False
        self._random += 1
        return self._random % _AUDIT != 1


class Unpacker:
    """Decodes the packets of one channel, by any of ``methods``. Used by one thread.

    Any thread may ask for `statistics` and ``packets``, as of a `Packer`.
    """

    def __init__(self, methods: Methods, geometry: Geometry) -> None:
        self.packets: dict[str, int] = {}
        self._methods = methods
        self._geometry = geometry
        self._decoders: dict[int, Decoder] = {}
        self._labels = {number: label(codec) for number, codec in methods.items()}
        if len(methods) == 1:
            # What cannot be made is better known at once.
            self._decoder(*methods)

    def count(self, method: int) -> None:
        """A packet under this method has come."""
        name = self._labels[method]
        self.packets[name] = self.packets.get(name, 0) + 1

    def decoder(self, method: int) -> DecodeInto | None:
        """Return what decodes a payload into a packet; ``None``: it holds the pages as they are.

        Raises `ProtocolError` for a method that was not agreed on.
        """
        if method not in self._methods:
            known = ", ".join(map(str, sorted(self._methods)))
            was = "was" if len(self._methods) == 1 else "were"
            raise ProtocolError(f"method {method}, but method {known} {was} agreed")
        return self._decoder(method).decode_into if method else None

    def statistics(self) -> Mapping[str, int]:
        """The counters of all decoders."""
        return _sums(self._decoders.values())

    def close(self) -> None:
        """Release the decoders."""
        for each in list(self._decoders.values()):
            each.close()

    def _decoder(self, method: int) -> Decoder:
        decoder = self._decoders.get(method)
        if decoder is None:
            decoder = guarded_decoder(self._methods[method], self._geometry)
            self._decoders = {**self._decoders, method: decoder}
        return decoder


def looks_random(packet: memoryview) -> bool:
    """Whether the bytes of a packet are spread so evenly that no codec will shrink it.

    Looks at 512 of them. Encrypted and compressed data do; so do pages that repeat random ones,
    which a codec shrinks all the same: encode one now and then.
    """
    if len(packet) < _LEAST:
        return False
    # An odd distance, so that it is not always the same place of a record.
    return len(set(bytes(packet[:: len(packet) // _BYTES | 1]))) >= _RANDOM


def _samples(packet: memoryview, page_size: int, allowance: int) -> Iterator[memoryview]:
    """A packet, where ``allowance`` bytes are so many; else whole pages from all over it.

    Of these others each time: an encoder has not seen them yet. Neighbours stay together, for they
    are alike.
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


def _sums(sessions: Iterable[Encoder | Decoder]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for each in sessions:
        total.update(each.statistics())
    return dict(total)


def _below(codecs: list[Codec]) -> list[int | None]:
    """Of each codec, which other of the same name comes before it."""
    last: dict[str, int] = {}
    below = []
    for number, codec in enumerate(codecs):
        below.append(last.get(codec.name))
        last[codec.name] = number
    return below
