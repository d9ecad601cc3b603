"""How far a transfer is: counters that channels write, and immutable snapshots of them."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

from codecs_core.codec import HARDWARE_PACKETS, SOFTWARE_PACKETS

__all__ = ["ChannelProgress", "Counters", "Progress", "methods_of"]


class Counters:
    """What one channel has done. Written by its thread alone, read by any."""

    __slots__ = (
        "blocked_ns",
        "codec_ns",
        "normal_pages",
        "packets",
        "wire_bytes",
        "zero_pages",
    )

    def __init__(self) -> None:
        self.packets = 0
        self.normal_pages = 0
        self.zero_pages = 0
        self.wire_bytes = 0
        self.codec_ns = 0
        self.blocked_ns = 0


class _Counting(Protocol):
    """A codec's session, or what stands for one."""

    def statistics(self) -> Mapping[str, int]:
        """Return its own counters."""


@dataclass(frozen=True, slots=True)
class ChannelProgress:
    """One channel: pages by kind, bytes on the wire (headers included), and its time.

    ``codec_seconds`` went into encoding or decoding, ``blocked_seconds`` into waiting for the
    link. ``statistics`` are the codec's own counters. ``methods`` tells how many packets each codec
    has served, by its label (``zstd level 3``); ``reason``, where the channel chooses between
    several, why it uses what it uses now.
    """

    channel: int
    packets: int
    normal_pages: int
    zero_pages: int
    wire_bytes: int
    codec_seconds: float
    blocked_seconds: float
    statistics: Mapping[str, int] = field(default_factory=dict)
    methods: Mapping[str, int] = field(default_factory=dict)
    reason: str = ""

    @classmethod
    def of(
        cls,
        channel: int,
        counters: Counters,
        session: _Counting,
        methods: Mapping[str, int] | None = None,
        reason: str = "",
    ) -> ChannelProgress:
        """Take a snapshot."""
        return cls(
            channel,
            counters.packets,
            counters.normal_pages,
            counters.zero_pages,
            counters.wire_bytes,
            counters.codec_ns / 1e9,
            counters.blocked_ns / 1e9,
            dict(session.statistics()),
            dict(methods or {}),
            reason,
        )


def methods_of(channels: Iterable[ChannelProgress]) -> dict[str, int]:
    """How many packets each codec has served on some channels, by its label, most first."""
    total: Counter[str] = Counter()
    for each in channels:
        total.update(each.methods)
    return dict(total.most_common())


@dataclass(frozen=True, slots=True)
class Progress:
    """A snapshot of a transfer. Sizes in bytes, times in seconds, rates in bytes per second.

    ``total_pages`` is what the blocks hold, ``None`` where a stream's size is not known.
    ``skipped_pages`` are zero at both ends, ``held_pages`` were at the receiver before.
    ``checksum``: every packet carries one. ``verified``: whole blocks were compared, too.
    ``repairs``: how many lost connections were made again.
    """

    codec: str
    page_size: int
    seconds: float
    total_pages: int | None
    skipped_pages: int
    syncs: int
    channels: tuple[ChannelProgress, ...] = field(default=())
    held_pages: int = 0
    checksum: bool = False
    verified: bool = False
    repairs: int = 0

    @property
    def normal_pages(self) -> int:
        """Pages that travelled with their bytes."""
        return sum(each.normal_pages for each in self.channels)

    @property
    def zero_pages(self) -> int:
        """Pages that travelled as an offset only."""
        return sum(each.zero_pages for each in self.channels)

    @property
    def pages(self) -> int:
        """Pages dealt with: normal, zero, those skipped as holes, and those held already."""
        return self.normal_pages + self.zero_pages + self.skipped_pages + self.held_pages

    @property
    def memory_bytes(self) -> int:
        """What those pages are in memory."""
        return self.pages * self.page_size

    @property
    def wire_bytes(self) -> int:
        """What they took on the wire, headers included."""
        return sum(each.wire_bytes for each in self.channels)

    @property
    def ratio(self) -> float:
        """Bytes in memory to bytes on the wire; 0 before anything was sent."""
        return self.memory_bytes / self.wire_bytes if self.wire_bytes else 0.0

    @property
    def rate(self) -> float:
        """Bytes of memory a second."""
        return self.memory_bytes / self.seconds if self.seconds else 0.0

    @property
    def wire_rate(self) -> float:
        """Bytes on the wire a second."""
        return self.wire_bytes / self.seconds if self.seconds else 0.0

    @property
    def statistics(self) -> dict[str, int]:
        """The codec's own counters, summed over the channels."""
        total: Counter[str] = Counter()
        for each in self.channels:
            total.update(each.statistics)
        return dict(total)

    @property
    def methods(self) -> dict[str, int]:
        """How many packets each codec has served, by its label, most first."""
        return methods_of(self.channels)

    @property
    def hardware_share(self) -> float | None:
        """The part of the packets that a device has served, 0 to 1; ``None`` without one."""
        total = self.statistics
        hardware = total.get(HARDWARE_PACKETS)
        if hardware is None:
            return None
        served = hardware + total.get(SOFTWARE_PACKETS, 0)
        # Where there was a choice, others have served packets, too.
        return hardware / max(1, served, sum(self.methods.values()))

    @property
    def eta(self) -> float | None:
        """Seconds until all pages are dealt with, at the rate so far; ``None`` where unknown."""
        if self.total_pages is None or not self.rate:
            return None
        return max(0, self.total_pages - self.pages) * self.page_size / self.rate

    def as_dict(self) -> dict[str, Any]:
        """Everything, for JSON."""
        return asdict(self) | {
            name: getattr(self, name)
            for name in (
                "normal_pages", "zero_pages", "pages", "memory_bytes", "wire_bytes", "ratio",
                "rate", "wire_rate", "eta", "statistics", "hardware_share", "methods",
            )
        }  # fmt: skip


class Clock:
    """Measures a transfer from `start` to `stop`."""

    def __init__(self) -> None:
        self._started: float | None = None
        self._stopped: float | None = None

    def start(self) -> None:
        """Begin to count."""
        self._started = time.monotonic()

    def stop(self) -> None:
        """Count no further."""
        self._stopped = time.monotonic()

    @property
    def seconds(self) -> float:
        """How long it has been."""
        if self._started is None:
            return 0.0
        return (self._stopped or time.monotonic()) - self._started
