"""Explains a recording step by step: what each step means where it stands.

A packet alone tells neither its round nor whether its pages had been sent before. Both are told
here, in the order of the replay, for whoever counts, prints or draws. No page is decoded.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from dataclasses import dataclass

from codecs_core import registry
from codecs_core.errors import ProtocolError
from codecs_core.gateway.recording import Recording
from codecs_core.gateway.replay import Packet, Step, replay
from codecs_core.memory import kernel
from codecs_core.memory.block import Block
from codecs_core.wire import qemu
from codecs_core.wire.packet import BY_NAME

__all__ = ["Explained", "explain"]

_NOTHING = memoryview(b"")


@dataclass(frozen=True, slots=True)
class Explained:
    """One step of a replay, and what only the steps before it tell.

    ``round`` counts, from 1, the stretches between two syncs in which pages were sent; what stands
    in a stretch without pages has the number of the round to come. Where the step sends pages,
    ``block`` is theirs, ``offsets`` are packed as in a packet, the normal pages first, and
    ``payload`` is what the normal pages took, valid until the next step is asked for. Dirty pages
    had been sent before; ``None`` where that is not known. ``codec`` is a packet's: its name,
    ``method N`` where none is installed.
    """

    step: Step
    round: int
    block: str | None = None
    offsets: bytes = b""
    normal_pages: int = 0
    zero_pages: int = 0
    dirty_normal_pages: int | None = None
    dirty_zero_pages: int | None = None
    payload: memoryview = _NOTHING
    memory_bytes: int = 0
    codec: str | None = None

    @property
    def dirty_pages(self) -> int | None:
        """All dirty pages, normal and zero."""
        if self.dirty_normal_pages is None or self.dirty_zero_pages is None:
            return None
        return self.dirty_normal_pages + self.dirty_zero_pages


def explain(recording: Recording) -> Iterator[Explained]:
    """Yield every step of `replay`, explained.

    Dirty pages are told where nothing can have been sent that is not seen: in a directory with the
    main channel and all others. That takes 1 bit a page of the RAM blocks, of at most
    `qemu.MAX_PAGES` pages in all. Raises what `replay` raises, and `ProtocolError` for a page of
    no known block.
    """
    blocks = _Blocks(recording)
    page_size = recording.geometry.page_size
    number, sent = 1, False
    for step in replay(recording):
        match step:
            case Packet() if step.header.offsets:
                header = step.header
                normal, zero = header.normal_pages, header.zero_pages
                with recording.channels[step.channel].naming():
                    dirty = blocks.take(header.block, header.offsets, normal, header.packet_num)
                codec = _codec_name(recording, header.method)
                yield Explained(
                    step, number, header.block, header.offsets, normal, zero, dirty[0], dirty[1],
                    step.payload, normal * page_size, codec,
                )  # fmt: skip
                sent = True
            case qemu.ZeroPages():
                dirty = blocks.take(step.block, step.offsets, 0)
                zero = len(step.offsets) // 8
                yield Explained(step, number, step.block, step.offsets, 0, zero, dirty[0], dirty[1])
                sent = True
            case qemu.Page():
                offsets, page = step.offset.to_bytes(8), memoryview(step.data)
                dirty = blocks.take(step.block, offsets, 1)
                yield Explained(
                    step, number, step.block, offsets, 1, 0, dirty[0], dirty[1], page, len(page)
                )
                sent = True
            case _:
                yield Explained(step, number)
                if isinstance(step, qemu.SyncPoint):
                    number += sent
                    sent = False


class _Blocks:
    """The RAM blocks, and which of their pages were sent before."""

    def __init__(self, recording: Recording) -> None:
        page_size = recording.geometry.page_size
        self._page_size = page_size
        self._closed = recording.main is not None
        self._blocks = {
            name: Block(name, block.size, page_size) for name, block in recording.blocks.items()
        }
        self._sent: dict[str, memoryview] = {}
        pages = sum(each.pages for each in self._blocks.values())
        if (
            recording.main is not None
            and recording.path.is_dir()
            and not recording.missing_channels
            and 0 < pages <= qemu.MAX_PAGES
        ):
            # Anonymous memory takes none before it is written to.
            size = pages // 8 + len(self._blocks)
            rest = memoryview(mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))
            for name, block in self._blocks.items():
                size = -(-block.pages // 8)
                self._sent[name], rest = rest[:size], rest[size:]

    def take(
        self, name: str, offsets: bytes, normal: int, packet_num: int | None = None
    ) -> tuple[int, int] | tuple[None, None]:
        """Take note of pages; return how many normal and zero ones had been sent before.

        The main channel's offsets (``packet_num`` is None) its parser has checked.
        """
        block = self._blocks.get(name)
        if block is None:
            if self._closed or len(self._blocks) == qemu.MAX_BLOCKS:
                raise ProtocolError(f"packet {packet_num}: there is no RAM block {name!r}")
            block = self._blocks[name] = Block(name, None, self._page_size)
        if packet_num is not None:
            block.check(offsets, packet_num)
        if not self._sent:
            return None, None
        bitmap, pages = self._sent[name], memoryview(offsets)
        split = 8 * normal
        return (
            normal - kernel.mark(bitmap, pages[:split], self._page_size),
            (len(pages) - split) // 8 - kernel.mark(bitmap, pages[split:], self._page_size),
        )


def _codec_name(recording: Recording, method: int) -> str:
    name = recording.meta.compression if method == BY_NAME else None
    return name or registry.codecs().by_method(method) or f"method {method}"
