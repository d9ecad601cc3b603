"""What a second thread adds to the work of a channel, with the GIL and without.

    python benchmarks/threads.py
    python3.14t -X gil=0 benchmarks/threads.py

Each thread does to packet after packet what a channel does, but for the socket: scan, checksum,
encode, write the header, read it again. Needs nothing of the core but its kernel, so that it runs
where a session cannot yet: on interpreters without a GIL for which a dependency is missing.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import threading
import time
from pathlib import Path

from codecs_core.codec import Geometry
from codecs_core.memory import kernel
from codecs_core.registry import get_codec
from codecs_core.wire import checksum, packet

MEMORY = 32 << 20
PACKETS = (16 << 10, 128 << 10, 512 << 10)


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--codec", action="append", help="only this; may be repeated")
    parser.add_argument("--rounds", type=int, default=5, help="rounds (default 5)")
    parser.add_argument("--seconds", type=float, default=0.4, help="of one run (default 0.4)")
    options = parser.parse_args()
    has_gil = getattr(sys, "_is_gil_enabled", lambda: True)()
    print(f"Python {sys.version.split()[0]}, {'with the' if has_gil else 'without a'} GIL")
    for name in options.codec or ["none", "lz4", "zstd"]:
        for size in PACKETS:
            rates: dict[int, list[float]] = {1: [], 2: []}
            for _ in range(options.rounds):
                for threads, found in rates.items():
                    found.append(run(name, size, threads, options.seconds))
            gains = sorted(two / max(one, 1.0) for one, two in zip(rates[1], rates[2], strict=True))
            one, two = (statistics.median(found) for found in rates.values())
            print(
                f"{name:5} {size >> 10:4} KiB: {one:7.0f} packets/s in one thread, {two:7.0f} in "
                f"two: {statistics.median(gains):.2f} × ({gains[0]:.2f} to {gains[-1]:.2f})"
            )


def run(name: str, size: int, threads: int, seconds: float) -> float:
    """Return how many packets a second so many threads get done."""
    counts: list[int] = []
    give_up = time.perf_counter() + seconds
    running = [
        threading.Thread(target=lambda: counts.append(work(name, size, give_up)))
        for _ in range(threads)
    ]
    for each in running:
        each.start()
    for each in running:
        each.join()
    return sum(counts) / seconds


def work(name: str, size: int, give_up: float) -> int:
    """Do what a channel does to packets, and return how many there were."""
    geometry = Geometry(packet_size=size)
    pages = memoryview(_MEMORY)
    header = memoryview(bytearray(packet.header_size(geometry)))
    offsets, scratch = header[packet.FIXED_SIZE :], memoryview(bytearray(size))
    done = 0
    with get_codec(name).encoder(geometry) as encoder:
        while time.perf_counter() < give_up:
            at = done * size % MEMORY
            packet_pages = pages[at : at + size]
            first = at // geometry.page_size
            normal = kernel.scan(packet_pages, geometry.page_size, first, None, offsets, scratch)
            full = normal == geometry.pages_per_packet
            pages_sent = packet_pages if full else scratch[: normal * geometry.page_size]
            digest = checksum.of_pages(pages_sent)
            payload = encoder.encode(pages_sent)
            packet.pack_fixed(
                header,
                flags=0,
                pages_alloc=geometry.pages_per_packet,
                normal_pages=normal,
                next_packet_size=len(payload),
                packet_num=done,
                zero_pages=geometry.pages_per_packet - normal,
                block=packet.encode_block_name("pages"),
            )
            checksum.seal(header, digest)
            checksum.check_header(header)
            packet.PacketHeader.decode(header, geometry)
            done += 1
    return done


def _memory() -> bytes:
    """This interpreter's program, over and over."""
    program = Path(sys.executable).resolve().read_bytes()
    return (program * (MEMORY // len(program) + 1))[:MEMORY]


_MEMORY = _memory()

if __name__ == "__main__":
    main()
