"""Tells what a recording holds, without decoding its pages: counts, sizes, codecs, blocks."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from codecs_core import registry
from codecs_core.errors import ProtocolError
from codecs_core.gateway.mapped import count_pages
from codecs_core.gateway.recording import Recording
from codecs_core.gateway.replay import Packet, Step, replay
from codecs_core.wire import qemu
from codecs_core.wire.packet import BY_NAME

__all__ = ["BlockSummary", "ChannelSummary", "MainSummary", "Summary", "inspect"]


@dataclass
class BlockSummary:
    """One RAM block. ``size`` is in bytes, ``None`` where no main channel tells it.

    Pages are counted as often as they were sent; in a mapped-ram file, once.
    """

    name: str
    size: int | None = None
    normal_pages: int = 0
    zero_pages: int = 0


@dataclass
class ChannelSummary:
    """One multifd channel. ``codecs`` are the codecs' names, ``method N`` where none is installed.

    ``payload_bytes`` is what the normal pages took on the wire, headers not included;
    ``memory_bytes`` what they are in memory.
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

    @property
    def ratio(self) -> float | None:
        """Bytes in memory to bytes of payload."""
        return self.memory_bytes / self.payload_bytes if self.payload_bytes else None


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
    mapped-ram file, which keeps no order. ``missing_channels`` lists channels of which no file
    is there.
    """

    path: str
    kind: str
    rounds: int | None
    missing_channels: list[int]
    main: MainSummary | None
    channels: list[ChannelSummary]
    blocks: list[BlockSummary]

    def as_dict(self) -> dict[str, Any]:
        """Everything, for JSON."""
        summary = asdict(self)
        for each, channel in zip(summary["channels"], self.channels, strict=True):
            each["ratio"] = channel.ratio
        return summary


def inspect(recording: Recording) -> Summary:
    """Read a whole recording and tell what it holds.

    Raises `ProtocolError` where it breaks the format, `CorruptPayload` where one of its files is
    compressed and damaged; both name the file.
    """
    counts = _Counts(recording)
    for step in replay(recording):
        counts.take(step)
    counts.end_round()
    if recording.main is not None and recording.mapped:
        for block, normal in count_pages(recording.main, recording.blocks.values()):
            summary = counts.blocks[block.name]
            summary.normal_pages = normal
            summary.zero_pages = block.size // recording.page_size_of(block) - normal
    return Summary(
        path=str(recording.path),
        kind=_kind(recording),
        rounds=None if recording.mapped else counts.rounds,
        missing_channels=recording.missing_channels,
        main=counts.main,
        channels=list(counts.channels.values()),
        blocks=list(counts.blocks.values()),
    )


def _kind(recording: Recording) -> str:
    if recording.mapped:
        return "mapped-ram"
    if recording.path.is_dir():
        return "recording"
    return "channel" if recording.main is None else "main"


class _Counts:
    """The sums over the steps of a replay."""

    def __init__(self, recording: Recording) -> None:
        self.rounds = 0
        self.main = None if recording.main is None else MainSummary(recording.main.path.name)
        self.blocks = {
            name: BlockSummary(name, block.size) for name, block in recording.blocks.items()
        }
        self.channels = {
            number: ChannelSummary(number, source.path.name)
            for number, source in recording.channels.items()
        }
        self._recording = recording
        self._pages_in_round = False

    def take(self, step: Step) -> None:
        """Add one step."""
        if isinstance(step, Packet):
            with self._recording.channels[step.channel].naming():
                self._take_packet(step)
            return
        if isinstance(step, qemu.SyncPoint):
            self.end_round()
            return
        assert self.main is not None
        match step:
            case qemu.Configuration():
                self.main.machine = step.machine
                self.main.page_size = step.page_size
                self.main.capabilities = list(step.capabilities)
            case qemu.ZeroPages():
                self._count(self.main, step.block, 0, len(step.offsets) // 8)
            case qemu.Page():
                self._count(self.main, step.block, 1, 0)
            case qemu.RamEnd():
                self.main.ram_complete = True
            case qemu.Description():
                self.main.devices = [device.name for device in step.devices]

    def _take_packet(self, packet: Packet) -> None:
        header = packet.header
        channel = self.channels[packet.channel]
        channel.packets += 1
        channel.syncs += header.sync
        if header.offsets:
            channel.payload_bytes += header.payload_size
            channel.memory_bytes += header.normal_pages * self._recording.geometry.page_size
            codec = self._codec_name(header.method)
            if codec not in channel.codecs:
                channel.codecs.append(codec)
            where = f"packet {header.packet_num}: "
            self._count(channel, header.block, header.normal_pages, header.zero_pages, where)

    def _count(
        self,
        sender: MainSummary | ChannelSummary,
        block: str,
        normal: int,
        zero: int,
        where: str = "",
    ) -> None:
        if block not in self.blocks:
            if self.main is not None or len(self.blocks) == qemu.MAX_BLOCKS:
                raise ProtocolError(f"{where}there is no RAM block {block!r}")
            self.blocks[block] = BlockSummary(block)
        for each in (sender, self.blocks[block]):
            each.normal_pages += normal
            each.zero_pages += zero
        self._pages_in_round = True

    def end_round(self) -> None:
        """Count the round that ends, if pages were sent in it."""
        self.rounds += self._pages_in_round
        self._pages_in_round = False

    def _codec_name(self, method: int) -> str:
        name = self._recording.meta.compression if method == BY_NAME else None
        return name or registry.codecs().by_method(method) or f"method {method}"
