"""What the window of a channel's zstd frame costs: its ring, its copies, its size.

    python benchmarks/zstd_windows.py

CPU time of one thread at level 1, the ways in turns: packet by packet as on a channel, all in one
call (no ring, no copies), each packet a frame of its own, and with smaller windows.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import zstandard
from data import MIB, SETS

PACKET = 512 << 10


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mib", type=int, default=64, help="MiB of each set (default 64)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds (default 5)")
    options = parser.parse_args()
    ways: dict[str, Callable[[memoryview], int]] = {
        "as on a channel": lambda pages: channel(pages, 0),
        "in one call": lambda pages: len(zstandard.ZstdCompressor(level=1).compress(pages)),
        "a frame a packet": frames,
        "window of 256 KiB": lambda pages: channel(pages, 18),
        "window of 128 KiB": lambda pages: channel(pages, 17),
    }
    print("| data | | s/GB | spread | ratio |\n|---|---|---|---|---|")
    for name in ("guest", "programs", "text"):
        pages = memoryview(b"".join(SETS[name](options.mib * MIB)))
        spent: dict[str, list[float]] = {way: [] for way in ways}
        sizes = {}
        for _ in range(options.rounds):
            for way, encode in ways.items():
                started = time.thread_time()
                sizes[way] = encode(pages)
                spent[way].append((time.thread_time() - started) / len(pages) * 1e9)
        for way, found in spent.items():
            print(
                f"| {name} | {way} | {statistics.median(found):.3f} | {min(found):.3f} to "
                f"{max(found):.3f} | {len(pages) / sizes[way]:.3f} |"
            )


def channel(pages: memoryview, window_log: int) -> int:
    """One frame, flushed behind each packet; 0: the level's own window. Returns its size."""
    parameters = zstandard.ZstdCompressionParameters.from_level(
        1, **({"window_log": window_log} if window_log else {})
    )
    frame = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    return sum(
        len(frame.compress(pages[at : at + PACKET]))
        + len(frame.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK))
        for at in range(0, len(pages), PACKET)
    )


def frames(pages: memoryview) -> int:
    """A frame for each packet. Returns their size."""
    compressor = zstandard.ZstdCompressor(level=1)
    return sum(
        len(compressor.compress(pages[at : at + PACKET])) for at in range(0, len(pages), PACKET)
    )


if __name__ == "__main__":
    main()
