"""The steps of a recording as lines: one for each packet, as text or as JSON."""

from __future__ import annotations

import json
from array import array
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from codecs_core.cli.output import printable, size
from codecs_core.gateway.replay import Packet
from codecs_core.wire.qemu import SyncPoint

if TYPE_CHECKING:
    from collections.abc import Iterable

    from codecs_core.gateway.explain import Explained

__all__ = ["PacketPrinter"]

_RUNS_SHOWN = 3
_COLUMNS = (
    ("ROUND", 5), ("CHANNEL", 7), ("PACKET", 7), ("FLAGS", 9), ("CODEC", 6), ("NORMAL", 6),
    ("ZERO", 5), ("DIRTY", 5), ("PAYLOAD", 9), ("MEMORY", 9), ("RATIO", 6),
)  # fmt: skip
_LEFT = {"FLAGS", "CODEC"}


class PacketPrinter:
    """Prints each step that is a packet, or pages on the main channel, as it comes."""

    def __init__(self, page_size: int, *, as_json: bool) -> None:
        self._page_size = page_size
        self._as_json = as_json
        self._round = 0
        if not as_json:
            print(_line([name for name, _ in _COLUMNS], "BLOCK AND OFFSETS"))

    def take(self, step: Explained) -> None:
        """Print one step, if it is to be shown."""
        if isinstance(step.step, Packet) or step.block is not None:
            facts = self._facts(step)
            print(json.dumps(facts) if self._as_json else self._text(facts))
            if step.block is not None:
                self._round = step.round
        elif isinstance(step.step, SyncPoint) and not self._as_json:
            ended = f"round {step.round} ends" if self._round == step.round else "no page was sent"
            print(f"----- SYNC: {ended} -----")

    def _facts(self, step: Explained) -> dict[str, Any]:
        packet = step.step if isinstance(step.step, Packet) else None
        split = 8 * step.normal_pages
        payload_bytes = len(step.payload)
        return {
            "round": step.round,
            "channel": None if packet is None else packet.channel,
            "packet_num": None if packet is None else packet.header.packet_num,
            "flags": None if packet is None else packet.header.flags,
            "sync": packet is not None and packet.header.sync,
            "codec": step.codec,
            "block": step.block,
            "normal_pages": step.normal_pages,
            "zero_pages": step.zero_pages,
            "dirty_pages": step.dirty_pages,
            "payload_bytes": payload_bytes,
            "memory_bytes": step.memory_bytes,
            "ratio": step.memory_bytes / payload_bytes if payload_bytes else None,
            "normal_runs": _runs(step.offsets[:split], self._page_size),
            "zero_runs": _runs(step.offsets[split:], self._page_size),
        }

    def _text(self, facts: dict[str, Any]) -> str:
        main, pages = facts["channel"] is None, facts["block"] is not None
        flags = "" if main else f"{facts['flags']:#04x}" + (" SYNC" if facts["sync"] else "")
        cells = [
            str(facts["round"]),
            "main" if main else str(facts["channel"]),
            "" if main else str(facts["packet_num"]),
            flags,
            printable(facts["codec"] or ""),
            *(
                str(facts[name]) if pages and facts[name] is not None else ""
                for name in ("normal_pages", "zero_pages", "dirty_pages")
            ),
            *(
                size(facts[name]) if facts["normal_pages"] else ""
                for name in ("payload_bytes", "memory_bytes")
            ),
            "" if facts["ratio"] is None else f"{facts['ratio']:.2f}",
        ]
        return _line(cells, self._place(facts) if pages else "")

    def _place(self, facts: dict[str, Any]) -> str:
        kinds = [self._ranges(facts["normal_runs"]), self._ranges(facts["zero_runs"])]
        if kinds[1]:
            kinds[1] = f"zero {kinds[1]}"
        return f"{printable(facts['block'])} {'; '.join(filter(None, kinds))}"

    def _ranges(self, runs: list[tuple[int, int]]) -> str:
        shown = [
            f"{first:#x}" + (f"-{first + pages * self._page_size - 1:#x}" if pages > 1 else "")
            for first, pages in runs[:_RUNS_SHOWN]
        ]
        if len(runs) > _RUNS_SHOWN:
            shown.append(f"and {len(runs) - _RUNS_SHOWN} more")
        return " ".join(shown)


def _line(cells: Iterable[str], last: str) -> str:
    padded = (
        cell.ljust(width) if name in _LEFT else cell.rjust(width)
        for (name, width), cell in zip(_COLUMNS, cells, strict=True)
    )
    return f"{' '.join(padded)}  {last}".rstrip()


def _runs(offsets: bytes, page_size: int) -> list[tuple[int, int]]:
    """The runs of adjacent pages, in their order: byte offset and number of pages of each."""
    places = array("Q", offsets)
    places.byteswap()
    if not places:
        return []
    starts = [0, *(i for i, (a, b) in enumerate(pairwise(places), 1) if b - a != page_size)]
    return [(places[a], b - a) for a, b in pairwise([*starts, len(places)])]
