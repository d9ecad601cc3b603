"""Packets to payloads, and back: the codecs' sessions of one channel.

A `Packer` encodes by the session's one codec, an `AdaptivePacker` by what a `Chooser` finds best.
An `Unpacker` decodes what came under any method that was agreed on. Encoders and decoders are made
when they are first needed. A channel holds one of them, and lets go of it with the first packet of
another codec: both ends do, so that a codec that comes back begins anew at both.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Final, Generic, Protocol, TypeAlias, TypeVar

from codecs_core.codec import Buffer, Codec, Decoder, Encoder, Geometry
from codecs_core.engine.adapt import Chooser
from codecs_core.engine.costs import VERBATIM, Costs
from codecs_core.engine.methods import Adaptive, Choice, Methods, agreed, label
from codecs_core.engine.sampling import Sampler
from codecs_core.errors import CodecError, PluginError, ProtocolError
from codecs_core.guard import guarded_decoder, guarded_encoder
from codecs_core.wire import control as wire

__all__ = ["AdaptivePacker", "DecodeInto", "Packer", "Packing", "Unpacker", "looks_random"]

DecodeInto: TypeAlias = Callable[[memoryview, memoryview], None]
"""Fills a packet, the second, from a payload, the first; see `Decoder.decode_into`."""

_LEAST: Final = 16 << 10
"""Bytes below which a packet gives no sample, unless it is a whole one."""
_BYTES: Final = 512
_RANDOM: Final = 208
"""So many different values are among 512 bytes that are drawn at random, but for 1 case in 500."""
_AUDIT: Final = 16
"""Which of the packets that look random are encoded all the same, to see whether they are."""
_OFTEN: Final = 1e-3
"""Seconds between two looks at a link that takes pages as they are."""
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


_Session = TypeVar("_Session", bound=Encoder | Decoder)


class _Held(Generic[_Session]):
    """The one session that a channel holds: that of the method in use.

    Used by one thread; any may ask for `statistics`, which are those of all that were held.
    """

    def __init__(self, make: Callable[[int], _Session]) -> None:
        self._make = make
        # Replaced as a whole: another thread may be looking at it.
        self._state: tuple[int, _Session | None, Mapping[str, int]] = (0, None, {})

    @property
    def method(self) -> int:
        """The method in use, 0 before the first."""
        return self._state[0]

    def of(self, method: int) -> _Session:
        """Return the session of a method; another's is closed, once this one is made."""
        held, session, _ = self._state
        if session is None or held != method:
            made, past = self._make(method), self.statistics()
            self._state = (method, made, past)
            if session is not None:
                session.close()
            session = made
        return session

    def statistics(self) -> Mapping[str, int]:
        """The counters of all that were held."""
        _, session, past = self._state
        if session is None:
            return past
        total = Counter(past)
        total.update(session.statistics())
        return dict(total)

    def close(self) -> None:
        """Release the session."""
        method, session, _ = self._state
        self._state = (method, None, self.statistics())
        if session is not None:
            session.close()


class Packing:
    """How the channels of one session encode: by the one codec of ``methods``, or by any.

    It holds what channels learn for each other. `packer` makes what one channel needs.
    """

    def __init__(
        self, methods: Methods, geometry: Geometry, *, adaptive: bool, near: bool = False
    ) -> None:
        self.methods = methods
        self.geometry = geometry
        self.adaptive = adaptive
        # Candidate 0 is method 0.
        self.numbers = sorted(methods, key=lambda number: number != 0)
        codecs = [methods[each] for each in self.numbers]
        self.costs = Costs(_below(codecs))
        self.chooser = Chooser(self.costs, near=near)
        self.sampler = Sampler(codecs, geometry, self.costs, self.chooser)

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
        return AdaptivePacker(self) if self.adaptive else Packer(self)


class Packer:
    """Encodes the packets of one channel by one codec. Used by one thread.

    ``method`` is that of the packet encoded last. Any thread may ask for `statistics`, ``packets``
    (label of the codec → how many it has encoded) and `reason`.
    """

    def __init__(self, packing: Packing) -> None:
        self.packets: dict[str, int] = {}
        self._packing = packing
        self._held = _Held[Encoder](self._make)
        self._labels = {number: label(codec) for number, codec in packing.methods.items()}
        self.method = packing.numbers[0]
        if not packing.adaptive:
            # What cannot be made is better known at once.
            self._held.of(self.method)

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
        return self._held.statistics()

    def reason(self) -> str:
        """Why the packets are encoded as they are; empty where there is no choice."""
        return ""

    def close(self) -> None:
        """Release the encoder. Calling it again does nothing."""
        self._held.close()

    def _encode(self, method: int, packet: memoryview) -> Buffer:
        payload = self._held.of(method).encode(packet) if method else packet
        name = self._labels[method]
        self.packets[name] = self.packets.get(name, 0) + 1
        return payload

    def _make(self, method: int) -> Encoder:
        return guarded_encoder(self._packing.methods[method], self._packing.geometry)


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
        # Of packets that were sent so fast that asking about each would take its part of the time.
        self._unasked = False
        self._untold = (0, 0.0)

    def encode(self, packet: memoryview) -> Buffer:
        """As `Packer.encode`."""
        chooser = self._chooser
        if self._passes(packet):
            self.method = 0
            self._pending = (0, 0.0, True)
            return self._encode(0, packet)
        if chooser.wanted and len(packet) >= self._least:
            self._packing.sampler.sample(packet)
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
        now = time.perf_counter()
        self._unasked = self._chooser.current == VERBATIM and now - self._began < _OFTEN
        if not self._unasked:
            size, blocked = self._untold
            if size:
                self._lane.verbatim(size, blocked)
                self._untold = (0, 0.0)
            self._lane.before(now - self._began, outlet.backlog())
            self._began = now

    def sent(self, size: int, seconds: float) -> None:
        """As `Packer.sent`."""
        memory, encoding, passed = self._pending
        if self._unasked:
            self._untold = (self._untold[0] + size, self._untold[1] + seconds)
        elif passed:
            self._lane.verbatim(size, seconds)
        else:
            self._lane.packet(self._candidate, memory, size, encoding, seconds)

    def close(self) -> None:
        """As `Packer.close`."""
        self._lane.leave()
        super().close()

    def reason(self) -> str:
        """Say what sets the pace, and what is used for that; and what has failed."""
        return "; ".join((self._pace(), *self._failed.values()))

    def _pace(self) -> str:
        chooser = self._chooser
        name = self._labels[self._packing.numbers[chooser.current]]
        if chooser.link is None:
            return f"the link has not been waited for yet: {name} is quick enough"
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
            before = self._held.method
            try:
                return self._encode(self.method, packet)
            except (CodecError, PluginError) as error:
                if not self.method:
                    raise
                # Never again: it may remember a packet that the decoder will not see.
                self._lose(self.method, str(error))
                if before not in (0, self.method) and self._held.method == self.method:
                    # The other end has it still, as it was.
                    self._lose(before, f"its history went with {self._labels[self.method]}")
        self._candidate = VERBATIM
        self.method = 0
        return self._encode(0, packet)

    def _lose(self, method: int, why: str) -> None:
        # Replaced as a whole: another thread may be looking through it.
        self._failed = {**self._failed, method: f"{self._labels[method]} has failed: {why}"}
        self._packing.sampler.lose(self._packing.numbers.index(method))

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
        self._held = _Held[Decoder](self._make)
        self._labels = {number: label(codec) for number, codec in methods.items()}
        if len(methods) == 1:
            # What cannot be made is better known at once.
            self._held.of(*methods)

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
        return self._held.of(method).decode_into if method else None

    def statistics(self) -> Mapping[str, int]:
        """The counters of all decoders."""
        return self._held.statistics()

    def close(self) -> None:
        """Release the decoder."""
        self._held.close()

    def _make(self, method: int) -> Decoder:
        return guarded_decoder(self._methods[method], self._geometry)


def looks_random(packet: memoryview) -> bool:
    """Whether the bytes of a packet are spread so evenly that no codec will shrink it.

    Looks at 512 of them. Encrypted and compressed data do; so do pages that repeat random ones,
    which a codec shrinks all the same: encode one now and then.
    """
    if len(packet) < _LEAST:
        return False
    # An odd distance, so that it is not always the same place of a record.
    return len(set(bytes(packet[:: len(packet) // _BYTES | 1]))) >= _RANDOM


def _below(codecs: list[Codec]) -> list[int | None]:
    """Of each codec, which other of the same name comes before it."""
    last: dict[str, int] = {}
    below = []
    for number, codec in enumerate(codecs):
        below.append(last.get(codec.name))
        last[codec.name] = number
    return below
