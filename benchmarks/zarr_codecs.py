"""Arrays of zarr, written and read with our codecs beside numcodecs' GZip, in one run.

    python benchmarks/zarr_codecs.py
    python benchmarks/zarr_codecs.py --rounds 9 --json figures.json

Two arrays: pages of this host's programs as bytes, and a field of float32 numbers, smooth with
noise in their last digits, as an instrument gives them. Each round writes and reads an array with
every codec in turn, to and from memory; a quotient is the median of the rounds' quotients. GZip of
numcodecs at level 1 is what zarr itself uses for gzip. *store* is zarr without a compressor: its
own overhead. At the end, one chunk without zarr, by CPU time.
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

MIB = 1 << 20
AGAINST = "GZip 1"
CODECS = {
    AGAINST: {"name": "gzip", "configuration": {"level": 1}},
    "qatzip 1, software": Qatzip(level=1, backend="software"),
    "zstd 1": Zstd(level=1),
    "zarr's zstd 1": {"name": "zstd", "configuration": {"level": 1, "checksum": False}},
    "lz4": Lz4(),
    "store": None,
}


def main() -> None:
    """Measure, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mib", type=int, default=64, help="size of each array")
    parser.add_argument("--chunk", type=int, default=4, help="size of a chunk in MiB")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, help="write all figures here, too")
    options = parser.parse_args()
    arrays = {"programs, uint8": programs(options.mib), "field, float32": field(options.mib)}
    figures = {
        name: compare(data, options.chunk * MIB // data.itemsize, options.rounds)
        for name, data in arrays.items()
    }
    for name, rows in figures.items():
        show(name, rows)
    figures["bare"] = {
        name: bare(data[: options.chunk * MIB // data.itemsize], 2 * options.rounds)
        for name, data in arrays.items()
    }
    for name, row in figures["bare"].items():
        said = ", ".join(f"{kind} × {q[0]:.2f} ({q[1]:.2f}-{q[2]:.2f})" for kind, q in row.items())
        print(f"qatzip beside numcodecs' {AGAINST}, one chunk, CPU time, {name}: {said}")
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


def compare(data: np.ndarray[Any, Any], chunk: int, rounds: int) -> dict[str, Any]:
    """Every codec: rates, ratio, and quotients; *both* is writing, then reading."""
    runs: dict[str, list[tuple[float, float, float]]] = {name: [] for name in CODECS}
    costs: dict[str, list[float]] = {name: [] for name in CODECS}
    ratios = {}
    for _ in range(rounds):
        for name, codec in CODECS.items():
            wrote, read, cost, size = once(data, chunk, codec)
            costs[name].append(cost)
            runs[name].append((wrote, read, 1 / (1 / wrote + 1 / read)))
            ratios[name] = data.nbytes / size
    return {
        name: {
            "ratio": ratios[name],
            "ratio kept": ratios[name] / ratios[AGAINST],
            "CPU s/GB": {
                "median": statistics.median(costs[name]),
                "quotient": quotient(costs[AGAINST], costs[name]),
            },
            **{
                kind: {
                    "MB/s": statistics.median(run[at] for run in mine) / 1e6,
                    "quotient": quotient([run[at] for run in mine], [r[at] for r in runs[AGAINST]]),
                }
                for at, kind in enumerate(("write", "read", "both"))
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


def once(data: np.ndarray[Any, Any], chunk: int, codec: Any) -> tuple[float, float, float, int]:
    """Bytes a second to write and to read, CPU seconds a GB for both, and the bytes stored."""
    store = zarr.storage.MemoryStore()
    array = zarr.create_array(
        store, shape=data.shape, chunks=(chunk,), dtype=data.dtype, compressors=codec
    )
    spent, started = time.process_time(), time.perf_counter()
    array[:] = data
    written = time.perf_counter()
    back = array[:]
    done = time.perf_counter()
    cost = (time.process_time() - spent) / data.nbytes * 1e9
    assert np.array_equal(back, data)
    size = sum(len(each) for key, each in store._store_dict.items() if key.startswith("c/"))
    return data.nbytes / (written - started), data.nbytes / (done - written), cost, size


def quotient(ours: list[float], theirs: list[float]) -> list[float]:
    """The median of the rounds' quotients, and the least and the greatest."""
    each = sorted(our / their for our, their in zip(ours, theirs, strict=True))
    return [statistics.median(each), each[0], each[-1]]


def show(name: str, rows: dict[str, Any]) -> None:
    """Print one array's table."""
    table = Table(title=f"{name}; MB of array a second, quotients with numcodecs' {AGAINST}")
    columns = ("codec", "ratio", "kept", "write", "×", "read", "×", "both", "×", "CPU s/GB", "×")
    for column in columns:
        table.add_column(column, justify="left" if column == "codec" else "right", no_wrap=True)
    for codec, row in rows.items():
        cells = [codec, f"{row['ratio']:.2f}", f"{row['ratio kept']:.3f}"]
        for kind in ("write", "read", "both"):
            middle, least, most = row[kind]["quotient"]
            cells += [f"{row[kind]['MB/s']:.0f}", f"{middle:.2f} ({least:.2f}-{most:.2f})"]
        middle, least, most = row["CPU s/GB"]["quotient"]
        cells += [f"{row['CPU s/GB']['median']:.1f}", f"{middle:.2f} ({least:.2f}-{most:.2f})"]
        table.add_row(*cells)
    Console(width=170).print(table)


if __name__ == "__main__":
    main()
