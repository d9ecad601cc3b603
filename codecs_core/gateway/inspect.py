"""Tells what a recording holds, without decoding its pages: counts, sizes, codecs, rounds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from codecs_core.gateway.bins import Bins
from codecs_core.gateway.explain import Explained, explain
from codecs_core.gateway.mapped import count_pages
from codecs_core.gateway.recording import Recording
from codecs_core.gateway.replay import Packet
from codecs_core.wire import qemu

__all__ = ["BlockSummary", "ChannelSummary", "MainSummary", "RoundSummary", "Summary", "inspect"]

MAX_ROUNDS: Final = 256
"""How many rounds are told one by one; of more, neighbours are put together."""


class _Sums:
    """What is summed up over pages, for a block, a round or a channel.

    ``payload_bytes`` is what the normal pages took on the wire, headers not included;
    ``memory_bytes`` what they are in memory.
    """

    normal_pages: int
    zero_pages: int
    payload_bytes: int
    memory_bytes: int

    def add(self, step: Explained) -> None:
        """Add the pages of one step."""
        self.normal_pages += step.normal_pages
        self.zero_pages += step.zero_pages
        self.payload_bytes += len(step.payload)
        self.memory_bytes += step.memory_bytes

    @property
    def ratio(self) -> float | None:
        """Bytes in memory to bytes of payload."""
        return self.memory_bytes / self.payload_bytes if self.payload_bytes else None


@dataclass
class BlockSummary(_Sums):
    """One RAM block. ``size`` is in bytes, ``None`` where no main channel tells it.

    Pages are counted as often as they were sent; in a mapped-ram file, once. That has no payload.
    """

    name: str
    size: int | None = None
    normal_pages: int = 0
    zero_pages: int = 0
    payload_bytes: int = 0
    memory_bytes: int = 0


@dataclass
class RoundSummary(_Sums):
    """One round; or rounds ``first`` to ``last``, where there are too many to tell each.

    ``packets`` counts those with pages. Dirty pages had been sent before; ``None`` where that is
    not known.
    """

    first: int = 0
    last: int = 0
    packets: int = 0
    normal_pages: int = 0
    zero_pages: int = 0
    dirty_normal_pages: int | None = None
    dirty_zero_pages: int | None = None
    payload_bytes: int = 0
    memory_bytes: int = 0

    @property
    def dirty_pages(self) -> int | None:
        """All dirty pages, normal and zero."""
        return _sum(self.dirty_normal_pages, self.dirty_zero_pages)

    def add(self, step: Explained) -> None:
        """Add the pages of one step."""
        super().add(step)
        self.first = self.first or step.round
        self.last = step.round
        self.packets += isinstance(step.step, Packet)
        self.dirty_normal_pages = _sum(self.dirty_normal_pages, step.dirty_normal_pages)
        self.dirty_zero_pages = _sum(self.dirty_zero_pages, step.dirty_zero_pages)

    def absorb(self, later: RoundSummary) -> None:
        """Put the round that follows on this one together with it."""
        self.last = later.last
        self.packets += later.packets
        self.normal_pages += later.normal_pages
        self.zero_pages += later.zero_pages
        self.dirty_normal_pages = _sum(self.dirty_normal_pages, later.dirty_normal_pages)
        self.dirty_zero_pages = _sum(self.dirty_zero_pages, later.dirty_zero_pages)
        self.payload_bytes += later.payload_bytes
        self.memory_bytes += later.memory_bytes


@dataclass
class ChannelSummary(_Sums):
    """One multifd channel.

    ``codecs`` are the codecs' names, ``method N`` where none is installed.
    """

    channel: int
    file: str
    codecs: list[str] = field(default_factory=list)
    packets: int = 0
    syncs: int = 0
    normal_pages: int = 0
    zero_pages: int = 0
    payload_bytes: int = 0
    memory_bytes: int = 0


@dataclass
class MainSummary:
    """The main channel, or the stream of a mapped-ram file.

    ``ram_complete`` tells whether the RAM ends in it; ``devices`` are those whose state follows,
    as the stream's own description lists them, ``None`` where it has none.
    """

    file: str
    machine: str = ""
    page_size: int = 0
    capabilities: list[str] = field(default_factory=list)
    normal_pages: int = 0
    zero_pages: int = 0
    ram_complete: bool = False
    devices: list[str] | None = None


@dataclass
class Summary:
    """What a recording holds. ``kind`` is ``recording``, ``channel``, ``main`` or ``mapped-ram``.

    ``rounds`` counts the stretches between two syncs in which pages were sent, ``None`` in a
    mapped-ram file, which keeps no order; ``per_round`` has at most `MAX_ROUNDS` entries.
    ``missing_channels`` lists channels of which no file is there.
    """

    path: str
    kind: str
    rounds: int | None
    missing_channels: list[int]
    main: MainSummary | None
    channels: list[ChannelSummary]
    blocks: list[BlockSummary]
    per_round: list[RoundSummary]

    def as_dict(self) -> dict[str, Any]:
        """Everything, for JSON."""
        summary = asdict(self)
        lists: tuple[tuple[str, list[Any]], ...] = (
            ("channels", self.channels),
            ("blocks", self.blocks),
            ("per_round", self.per_round),
        )
        for name, sums in lists:
            for entry, each in zip(summary[name], sums, strict=True):
                entry["ratio"] = each.ratio
        for entry, each in zip(summary["per_round"], self.per_round, strict=True):
            entry["dirty_pages"] = each.dirty_pages
        return summary


def inspect(recording: Recording, *watchers: Callable[[Explained], None]) -> Summary:
    """Read a whole recording and tell what it holds; show every step to the watchers.

    Raises `ProtocolError` where it breaks the format, `CorruptPayload` where one of its files is
    compressed and damaged; both name the file.
    """
    counts = _Counts(recording)
    for step in explain(recording):
        counts.take(step)
        for watch in watchers:
            watch(step)
    if recording.main is not None and recording.mapped:
        for block, normal in count_pages(recording.main, recording.blocks.values()):
            summary = counts.blocks[block.name]
            summary.normal_pages = normal
            summary.zero_pages = block.size // recording.page_size_of(block) - normal
    return Summary(
        path=str(recording.path),
        kind=_kind(recording),
        rounds=None if recording.mapped else counts.last_round,
        missing_channels=recording.missing_channels,
        main=counts.main,
        channels=list(counts.channels.values()),
        blocks=list(counts.blocks.values()),
        per_round=counts.rounds.bins,
    )


def _kind(recording: Recording) -> str:
    if recording.mapped:
        return "mapped-ram"
    if recording.path.is_dir():
        return "recording"
    return "channel" if recording.main is None else "main"


class _Counts:
    """The sums over the steps of a recording."""

    def __init__(self, recording: Recording) -> None:
        self.last_round = 0
        self.rounds = Bins(MAX_ROUNDS, RoundSummary, RoundSummary.absorb)
        self.main = None if recording.main is None else MainSummary(recording.main.path.name)
        self.blocks = {
            name: BlockSummary(name, block.size) for name, block in recording.blocks.items()
        }
        self.channels = {
            number: ChannelSummary(number, source.path.name)
            for number, source in recording.channels.items()
        }

    def take(self, explained: Explained) -> None:
        """Add one step."""
        step = explained.step
        if explained.block is not None:
            self._take_pages(explained, explained.block)
        if isinstance(step, Packet):
            channel = self.channels[step.channel]
            channel.add(explained)
            channel.packets += 1
            channel.syncs += step.header.sync
            if explained.codec is not None and explained.codec not in channel.codecs:
                channel.codecs.append(explained.codec)
            return
        if self.main is None:
            return
        self.main.normal_pages += explained.normal_pages
        self.main.zero_pages += explained.zero_pages
        match step:
            case qemu.Configuration():
                self.main.machine = step.machine
                self.main.page_size = step.page_size
                self.main.capabilities = list(step.capabilities)
            case qemu.RamEnd():
                self.main.ram_complete = True
            case qemu.Description():
                self.main.devices = [device.name for device in step.devices]

    def _take_pages(self, explained: Explained, block: str) -> None:
        if block not in self.blocks:
            self.blocks[block] = BlockSummary(block)
        self.blocks[block].add(explained)
        self.rounds.at(explained.round - 1).add(explained)
        self.last_round = explained.round


def _sum(one: int | None, other: int | None) -> int | None:
    """The sum of what is known; ``None`` where nothing is."""
    return (one or 0) + (other or 0) if (one, other) != (None, None) else None
