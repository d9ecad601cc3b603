"""Arrays of zarr, written and read with our codecs beside numcodecs' GZip, in one run.

    python benchmarks/zarr_codecs.py
    python benchmarks/zarr_codecs.py --chunks 1024 --only "qatzip 1" --rounds 9 --json figures.json

Two arrays: pages of this host's programs as bytes, and a field of float32 numbers, smooth with
noise in their last digits, as an instrument gives them. Each round writes and reads an array with
every codec in turn, to and from memory, in chunks of several sizes: by the clock, and by the CPU
time of the whole process, which says more where others work, too. A quotient is the median of the
rounds' quotients. GZip of numcodecs at level 1 is what zarr itself uses for gzip. *store* is zarr
without a compressor: its own work. At the end, one chunk without zarr, by CPU time.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import numcodecs
import numpy as np
import zarr
from codecs_core_zarr.numcodec import Qatzip as Numcodec
from codecs_core_zarr.zarr3 import Lz4, Qatzip, Zstd
from data import real_pages
from rich.console import Console
from rich.table import Table

KIB, MIB = 1 << 10, 1 << 20
KINDS = ("write", "read", "write CPU", "read CPU")
AGAINST = "GZip 1"
CODECS = {
    AGAINST: {"name": "gzip", "configuration": {"level": 1}},
    "qatzip 1": Qatzip(level=1, backend="software"),
    "zstd 1": Zstd(level=1),
    "zarr's zstd 1": {"name": "zstd", "configuration": {"level": 1, "checksum": False}},
    "lz4": Lz4(),
    "store": None,
}


def main() -> None:
    """Measure, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mib", type=int, default=64, help="size of each array")
    parser.add_argument(
        "--chunks", type=int, nargs="+", default=[256, 1024, 8192], help="sizes of chunks in KiB"
    )
    parser.add_argument("--only", nargs="+", default=list(CODECS), help="codecs beside GZip")
    parser.add_argument(
        "--write-empty-chunks", action="store_true", help="do not compare with the fill value"
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, help="write all figures here, too")
    options = parser.parse_args()
    codecs = {name: CODECS[name] for name in dict.fromkeys((AGAINST, *options.only))}
    arrays = {"programs, uint8": programs(options.mib), "field, float32": field(options.mib)}
    config = {"write_empty_chunks": options.write_empty_chunks}
    figures: dict[str, Any] = {}
    for name, data in arrays.items():
        for kib in options.chunks:
            size = kib * KIB // data.itemsize
            title = f"{name}, chunks of {kib} KiB"
            figures[title] = compare(data, size, codecs, config, options.rounds)
            show(title, figures[title])
    figures["bare"] = {
        name: bare(data[: 4096 * KIB // data.itemsize], 2 * options.rounds)
        for name, data in arrays.items()
    }
    for name, row in figures["bare"].items():
        said = ", ".join(f"{kind} × {q[0]:.2f} ({q[1]:.2f}-{q[2]:.2f})" for kind, q in row.items())
        print(f"qatzip beside numcodecs' {AGAINST}, 4 MiB, CPU time, {name}: {said}")
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


def programs(mib: int) -> np.ndarray[Any, Any]:
    """Pages of programs from all over this host."""
    pages = np.frombuffer(real_pages(8 * mib * MIB), "u1").reshape(-1, MIB)
    return pages[::8].reshape(-1)


def field(mib: int) -> np.ndarray[Any, Any]:
    """A smooth field with noise of two hundredths, told in hundredths, as instruments do."""
    count = mib * MIB // 4
    steps = np.arange(count, dtype="f4")
    noise = np.random.default_rng(1).normal(0, 0.02, count).astype("f4")
    return np.round(280 + 15 * np.sin(steps / 4000) + noise, 2)


def compare(
    data: np.ndarray[Any, Any],
    chunk: int,
    codecs: dict[str, Any],
    config: dict[str, Any],
    rounds: int,
) -> dict[str, Any]:
    """Every codec: its ratio, and seconds a GB with their quotients, for each of `KINDS`."""
    runs: dict[str, list[tuple[float, ...]]] = {name: [] for name in codecs}
    ratios = {}
    for _ in range(rounds):
        for name, codec in codecs.items():
            seconds, size = once(data, chunk, codec, config)
            runs[name].append(seconds)
            ratios[name] = data.nbytes / size
    return {
        name: {
            "ratio": ratios[name],
            "ratio kept": ratios[name] / ratios[AGAINST],
            **{
                kind: {
                    "s/GB": statistics.median(run[at] for run in mine),
                    "quotient": quotient([run[at] for run in runs[AGAINST]], [r[at] for r in mine]),
                }
                for at, kind in enumerate(KINDS)
            },
        }
        for name, mine in runs.items()
    }


def bare(chunk: np.ndarray[Any, Any], rounds: int) -> dict[str, list[float]]:
    """Our codec beside GZip, without zarr: quotients of CPU time for one chunk."""
    codecs = (Numcodec(level=1, backend="software"), numcodecs.GZip(1))
    encoded = [bytes(codec.encode(chunk)) for codec in codecs]
    runs: dict[str, list[list[float]]] = {"encode": [[], []], "decode": [[], []]}
    for _ in range(rounds):
        for at, codec in enumerate(codecs):
            for kind, given in (("encode", chunk), ("decode", encoded[at])):
                started = time.process_time()
                getattr(codec, kind)(given)
                runs[kind][at].append(time.process_time() - started)
    return {kind: quotient(theirs, ours) for kind, (ours, theirs) in runs.items()}


def once(
    data: np.ndarray[Any, Any], chunk: int, codec: Any, config: dict[str, Any]
) -> tuple[tuple[float, ...], int]:
    """Seconds a GB for each of `KINDS`, and the bytes stored."""
    store = zarr.storage.MemoryStore()
    array = zarr.create_array(
        store, shape=data.shape, chunks=(chunk,), dtype=data.dtype, compressors=codec, config=config
    )
    begin = time.perf_counter(), time.process_time()
    array[:] = data
    written = time.perf_counter(), time.process_time()
    back = array[:]
    done = time.perf_counter(), time.process_time()
    assert np.array_equal(back, data)
    spans = ((begin, written, 0), (written, done, 0), (begin, written, 1), (written, done, 1))
    size = sum(len(each) for key, each in store._store_dict.items() if key.startswith("c/"))
    return tuple((to[at] - from_[at]) / data.nbytes * 1e9 for from_, to, at in spans), size


def quotient(theirs: list[float], ours: list[float]) -> list[float]:
    """How many times the time of ours is theirs: the median of the rounds, least and greatest."""
    each = sorted(their / our for their, our in zip(theirs, ours, strict=True))
    return [statistics.median(each), each[0], each[-1]]


def show(title: str, rows: dict[str, Any]) -> None:
    """Print one table."""
    table = Table(title=f"{title}; × numcodecs' {AGAINST}")
    table.add_column("codec")
    timed = ("MB/s written", "×", "read", "×", "CPU s/GB written", "×", "read", "×")
    for column in ("ratio", "kept", *timed):
        table.add_column(column, justify="right", no_wrap=True)
    for codec, row in rows.items():
        cells = [codec, f"{row['ratio']:.2f}", f"{row['ratio kept']:.3f}"]
        for kind in KINDS:
            cost, (middle, least, most) = row[kind]["s/GB"], row[kind]["quotient"]
            shown = f"{cost:.2f}" if "CPU" in kind else f"{1000 / cost:.0f}"
            cells += [shown, f"{middle:.2f} ({least:.2f}-{most:.2f})"]
        table.add_row(*cells)
    Console(width=170).print(table)


if __name__ == "__main__":
    main()
