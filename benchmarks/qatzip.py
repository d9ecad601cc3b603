"""QATzip's software backend beside libqatzip's own fallback: the same packets, in one run.

    python benchmarks/qatzip.py                  # every level
    python benchmarks/qatzip.py --candidates     # what could serve a level

Packets are 512 KiB of this host's programs and shared objects, and of a recorded guest's memory.
libqatzip is called as QEMU calls it, one qzCompress a packet, in this process. Each round measures
both, one after the other; a ratio is the median of the rounds' ratios.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from codecs_core_qatzip.levels import Choice
from codecs_core_qatzip.library import LibrarySession, Settings
from codecs_core_qatzip.software import SoftwareDecoder, SoftwareEncoder, deflate
from data import normal_pages, real_pages, recorded
from rich.console import Console
from rich.table import Table

from codecs_core.codec import DEFAULT_GEOMETRY

PACKET = DEFAULT_GEOMETRY.packet_size
Packets = list[memoryview]


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--packets", type=int, default=12, help="packets of each kind of data")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, help="write all figures here, too")
    parser.add_argument("--candidates", action="store_true", help="measure ISA-L and libdeflate")
    options = parser.parse_args()
    kinds = {"shared objects": programs(options.packets), "guest memory": guest(options.packets)}
    if options.candidates:
        show_candidates(kinds)
        return
    figures = {kind: compare(packets, options.rounds) for kind, packets in kinds.items()}
    for kind, rows in figures.items():
        show(kind, rows)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


def programs(count: int) -> Packets:
    """Packets from all over the programs of this host."""
    pages = memoryview(real_pages(512 << 20))
    places = random.Random(1).sample(range(len(pages) // PACKET), count)
    return [pages[PACKET * place : PACKET * (place + 1)] for place in places]


def guest(count: int) -> Packets:
    """Packets of a guest's memory, without its zero pages."""
    joined = memoryview(normal_pages(recorded()))
    return [joined[at : at + PACKET] for at in range(0, len(joined) - PACKET, PACKET)][:count]


def compare(packets: Packets, rounds: int) -> list[dict[str, Any]]:
    """Every level: both sides' rates and ratios."""
    rows = []
    for level in range(1, 10):
        settings = Settings(level, sw_backup=True)
        with silent_stderr():
            theirs = LibrarySession(settings, DEFAULT_GEOMETRY, compress=True)
            reader = LibrarySession(settings, DEFAULT_GEOMETRY, compress=False)
        ours, decoder = SoftwareEncoder(level), SoftwareDecoder()
        packet = memoryview(bytearray(PACKET))
        payloads = [memoryview(bytes(ours.encode(each))) for each in packets]
        their_payloads = [memoryview(bytes(_quiet(theirs.compress, each)[0])) for each in packets]
        runs = []
        # libqatzip's fallback leaks a thread-specific key a call: fewer rounds where it is slow.
        unpack = partial(_into, decoder.decode_into, packet)
        their_unpack = partial(_into, reader.decompress, packet)
        for _ in range(rounds):
            with silent_stderr():
                runs.append(
                    {
                        "compress": rate(ours.encode, packets),
                        "their compress": rate(theirs.compress, packets),
                        "decompress": rate(unpack, payloads),
                        "their decompress": rate(their_unpack, payloads),
                    }
                )
        theirs.close()
        reader.close()
        size = sum(map(len, packets))
        ratio = size / sum(map(len, payloads))
        their_ratio = size / sum(map(len, their_payloads))
        rows.append(
            {
                "level": level,
                **{key: statistics.median(run[key] for run in runs) for key in runs[0]},
                "compress quotient": quotient(runs, "compress"),
                "decompress quotient": quotient(runs, "decompress"),
                "ratio": ratio,
                "their ratio": their_ratio,
                "ratio kept": ratio / their_ratio,
            }
        )
    return rows


def quotient(runs: list[dict[str, float]], what: str) -> list[float]:
    """The median of the rounds' quotients, and the least and the greatest."""
    each = sorted(run[what] / run[f"their {what}"] for run in runs)
    return [statistics.median(each), each[0], each[-1]]


def rate(work: Callable[[memoryview], object], packets: Packets) -> float:
    """Packets a second, as bytes of pages."""
    started = time.perf_counter()
    for each in packets:
        work(each)
    return len(packets) * PACKET / (time.perf_counter() - started)


def _into(work: Callable[..., object], packet: memoryview, payload: memoryview) -> None:
    work(payload, packet)


def _quiet(work: Callable[[memoryview], Any], packet: memoryview) -> Any:
    with silent_stderr():
        return work(packet)


@contextmanager
def silent_stderr() -> Iterator[None]:
    """Keep away the lines that libqatzip prints at every call without a device."""
    kept = os.dup(2)
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(null)


def show(kind: str, rows: list[dict[str, Any]]) -> None:
    """Print the comparison on one kind of data."""
    table = Table(title=f"{kind}: software backend beside libqatzip's fallback, MB/s")
    for column in (
        "level", "ratio", "kept", "compress", "libqatzip", "quotient", "decompress", "libqatzip",
        "quotient",
    ):  # fmt: skip
        table.add_column(column, justify="right")
    for row in rows:
        cells = [f"{row['level']}", f"{row['ratio']:.2f}", f"{row['ratio kept']:.3f}"]
        for what in ("compress", "decompress"):
            median, least, most = row[f"{what} quotient"]
            cells += [
                f"{row[what] / 1e6:.0f}",
                f"{row[f'their {what}'] / 1e6:.0f}",
                f"{median:.2f} ({least:.2f}-{most:.2f})",
            ]
        table.add_row(*cells)
    Console().print(table)


def show_candidates(kinds: dict[str, Packets]) -> None:
    """Print what each library does at each of its own levels."""
    choices = [Choice("isal", level) for level in range(4)]
    choices += [Choice("libdeflate", level) for level in range(1, 9)]
    for kind, packets in kinds.items():
        table = Table(title=kind)
        for column in ("library", "level", "ratio", "MB/s"):
            table.add_column(column, justify="right")
        for choice in choices:
            size = sum(len(deflate(each, choice)) for each in packets)
            speed = rate(partial(_deflate, choice), packets)
            ratio = len(packets) * PACKET / size
            table.add_row(choice.library, f"{choice.level}", f"{ratio:.3f}", f"{speed / 1e6:.0f}")
        Console().print(table)


def _deflate(choice: Choice, packet: memoryview) -> object:
    return deflate(packet, choice)


if __name__ == "__main__":
    main()
