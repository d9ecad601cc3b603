"""Which library serves each zlib level best: reproduces the table in `codecs_core_zlib.levels`.

    python benchmarks/zlib_levels.py [FILE...]

Each FILE is one kind of data, and may end in `.zst`. Without any: this host's shared objects and
the guest memory of a recorded migration. Every candidate writes one continuous stream of 512 KiB
packets, each ended by a sync flush, as on the wire. For a level, a candidate is eligible whose
ratio is at least 0.97 of zlib's own on every kind of data; the fastest of them (geometric mean)
is best.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import random
import sysconfig
import time
import zlib
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

from codecs_core_zlib.levels import LEVELS, Choice
from rich.console import Console
from rich.table import Table

import codecs_core
from codecs_core.codec import DEFAULT_GEOMETRY
from codecs_core.wire.channel import ChannelParser

PACKET = DEFAULT_GEOMETRY.packet_size
SHARE = 0.97
STREAM = Path(__file__).parents[1] / "tests" / "data" / "streams" / "none-ch2"
CANDIDATES = [
    *(Choice("isal.isal_zlib", level, memory) for level in (0, 1, 2, 3) for memory in (3, 6, 9)),
    *(Choice("zlib_ng.zlib_ng", level) for level in range(10)),
]


@dataclasses.dataclass(frozen=True)
class Result:
    """The compression ratio, and the rate in bytes of pages per second."""

    ratio: float
    rate: float


def shared_objects(size: int) -> bytes:
    """The first MiB of shared objects of this host, picked at random, ``size`` bytes in all."""
    folders = (f"/usr/lib/{sysconfig.get_config_var('MULTIARCH')}", "/usr/lib64", "/usr/lib")
    folder = next(path for path in map(Path, folders) if any(path.glob("*.so.*")))
    paths = sorted(path for path in folder.glob("*.so.*") if not path.is_symlink())
    random.Random(0).shuffle(paths)
    data = bytearray()
    for path in paths:
        if len(data) < size:
            with path.open("rb") as file:
                data += file.read(1 << 20)
    return bytes(data[:size])


def guest_memory() -> bytes:
    """The normal pages of the recorded migration that compressed nothing."""
    pages = bytearray()
    for path in sorted(STREAM.glob("ch*.bin.zst")):
        parser = ChannelParser()
        for event in parser.feed(read(path)):
            if isinstance(event, memoryview):
                pages += event
    return bytes(pages)


def read(path: Path) -> bytes:
    """A file's bytes, uncompressed."""
    data = path.read_bytes()
    return codecs_core.decompress(data, codec="zstd") if path.suffix == ".zst" else data


def corpora(files: list[Path], size: int) -> Iterator[tuple[str, bytes]]:
    """The kinds of data to measure with, by name."""
    if files:
        yield from ((path.name, read(path)[:size]) for path in files)
    else:
        yield "shared objects", shared_objects(size)
        yield "guest memory", guest_memory()[:size]


def measure(choice: Choice, data: bytes) -> Result:
    """Compress ``data`` as one channel would; the best of three runs."""
    module = import_module(choice.module)
    view = memoryview(data)
    best = math.inf
    for _ in range(3):
        stream = module.compressobj(choice.level, wbits=15, memLevel=choice.mem_level)
        total = 0
        began = time.perf_counter()
        for at in range(0, len(view), PACKET):
            total += len(stream.compress(view[at : at + PACKET]))
            total += len(stream.flush(zlib.Z_SYNC_FLUSH))
        best = min(best, time.perf_counter() - began)
    return Result(len(data) / total, len(data) / best)


def label(choice: Choice) -> str:
    """A choice in a few characters."""
    memory = f" mem {choice.mem_level}" if choice.mem_level != 8 else ""
    return f"{choice.module.partition('.')[0]} {choice.level}{memory}"


def mean(values: list[float]) -> float:
    """The geometric mean."""
    return math.exp(sum(map(math.log, values)) / len(values))


def main() -> None:
    """Measure everything and print two tables."""
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("files", metavar="FILE", nargs="*", type=Path)
    arguments.add_argument("--size", type=int, default=24, metavar="MIB", help="of each kind")
    options = arguments.parse_args()
    kinds = dict(corpora(options.files, options.size << 20))

    measured = {
        choice: [measure(choice, data) for data in kinds.values()]
        for choice in dict.fromkeys([*CANDIDATES, *LEVELS])
    }
    title = ", ".join(f"{name} ({len(data) >> 20} MiB)" for name, data in kinds.items())
    table = Table(title=f"{title}: MB/s, ratio, share of zlib's ratio at the level")
    for heading in ("level", "zlib", "served by", "", "share", "speed-up", "fastest eligible"):
        table.add_column(heading, justify="right")
    for level, served in enumerate(LEVELS):
        own = [measure(Choice("zlib", level), data) for data in kinds.values()]
        shares = {
            choice: min(r.ratio / o.ratio for r, o in zip(results, own, strict=True))
            for choice, results in measured.items()
        }
        eligible = [choice for choice in measured if shares[choice] >= SHARE]
        fastest = max(eligible, key=lambda choice: mean([r.rate for r in measured[choice]]))
        results = measured[served]
        speed_up = mean([r.rate / o.rate for r, o in zip(results, own, strict=True)])
        table.add_row(
            str(level),
            "  ".join(f"{o.rate / 1e6:.0f} at {o.ratio:.2f}" for o in own),
            label(served),
            "  ".join(f"{r.rate / 1e6:.0f} at {r.ratio:.2f}" for r in results),
            f"{shares[served]:.3f}",
            f"{speed_up:.1f}",
            f"{label(fastest)}: {mean([r.rate for r in measured[fastest]]) / 1e6:.0f} "
            f"at {shares[fastest]:.3f}",
        )
    console = Console()
    console.print(table)
    every = Table(title="every candidate")
    for heading in ("library", *kinds):
        every.add_column(heading, justify="right")
    for choice, results in measured.items():
        every.add_row(
            label(choice), *(f"{r.rate / 1e6:.0f} MB/s at {r.ratio:.3f}" for r in results)
        )
    console.print(every)


if __name__ == "__main__":
    main()
