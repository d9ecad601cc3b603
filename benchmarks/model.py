"""The cost model, fitted to measurements: how well it predicts the others, and larger hosts.

    python -m benchmarks.compare --json compare.json
    python benchmarks/hotpath.py --json hotpath.json
    python -m benchmarks.model compare.json hotpath.json

Only the CPU seconds of both ends at 2 channels over the loopback are fitted. From them follow
other numbers of channels and links of a rate, beside what was measured there; and then hosts with
more cores and faster links, where the time for which packets hold the GIL is a limit as well.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from codecs_core.forecast.model import Engine, Measured, Plan, predict

DATA = "guest"
ROW = "multifd"
FREE = 1e15
CORES = (16, 64, 192)
GBITS = (25, 100, 400)
PACKETS = (512 << 10, 2 << 20)
PAYLOAD = 0.957
"""The share of a link's rate that is left for TCP's payload."""
Json = dict[str, Any]


@dataclass(frozen=True)
class Fit:
    """What one set of data takes: CPU seconds a byte of pages by codec, and of moving alone."""

    codecs: dict[str, Measured]
    engine: Engine
    cpus: int

    @classmethod
    def of(cls, results: Json) -> Fit:
        """Fit to the rows of the main section."""
        found = {
            group["name"]: [run for run in _runs(group, ROW) if run]
            for group in results["groups"]
            if group["section"] == DATA
        }
        moving = statistics.mean(_cpu(found["none"], end) for end in ("near", "far"))
        codecs = {}
        for name, runs in found.items():
            ratio = statistics.median(run["size"] / run["wire"] for run in runs)
            encode, decode = (
                max(1 / FREE, _cpu(runs, end) - moving / ratio) for end in ("near", "far")
            )
            if name == "none":
                encode = decode = 1 / FREE
            codecs[name] = Measured(name, 1 / encode, 1 / decode, encode, decode, ratio)
        return cls(codecs, Engine(moving), results["machine"]["cpus"])

    def rate(self, codec: str, channels: int, bandwidth: float) -> float:
        """Bytes of pages a second, both ends on the host that was measured."""
        plan = Plan(1, channels, self.cpus, peer_cpus=None, engine=self.engine)
        return predict(self.codecs[codec], plan, bandwidth).rate

    def far_apart(
        self, codec: str, cores: int, bandwidth: float, interpreter: float
    ) -> tuple[float, str]:
        """The rate between hosts with so many cores each, as many channels, and what limits it."""
        plan = Plan(1, cores, cores, peer_cpus=cores, engine=self.engine)
        found = predict(self.codecs[codec], plan, bandwidth)
        return min((found.rate, found.limit), (interpreter, "GIL"))


def main() -> int:
    """Fit, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", type=Path)
    parser.add_argument("hotpath", type=Path)
    options = parser.parse_args()
    results = json.loads(options.results.read_text())
    fit = Fit.of(results)
    console = Console(width=110)
    console.print(fitted(fit))
    console.print(beside(fit, results))
    held: dict[int, float] = {}
    for row in json.loads(options.hotpath.read_text()):
        # Whatever the codec is: the slower end, and the codec that leaves the coldest caches.
        longest = max(row[end]["python"] for end in ("sender", "receiver")) / 1e6
        held[row["packet"]] = max(longest, held.get(row["packet"], 0.0))
    console.print(larger(fit, held))
    return 0


def fitted(fit: Fit) -> Table:
    """What was fitted."""
    table = _table("CPU seconds a GB", "codec", "encode", "decode", "moving, each end", "ratio")
    for name, each in fit.codecs.items():
        moving = fit.engine.wire_cpu / each.ratio
        table.add_row(
            name,
            *(f"{value * 1e9:.2f}" for value in (each.encode_cpu, each.decode_cpu, moving)),
            f"{each.ratio:.2f}",
        )
    return table


def beside(fit: Fit, results: Json) -> Table:
    """Predictions beside measurements that they were not fitted to."""
    table = _table("MB/s, predicted beside measured", "", "predicted", "measured", "error")
    for name, predicted, measured in _others(fit, results):
        error = predicted / measured - 1
        table.add_row(name, f"{predicted / 1e6:.0f}", f"{measured / 1e6:.0f}", f"{error:+.0%}")
    return table


def _others(fit: Fit, results: Json) -> Iterator[tuple[str, float, float]]:
    carried: dict[str, float] = {}
    for group in results["groups"]:
        if group["section"] == "channels":
            codec = group["name"]
            for row in group["rows"]:
                if row["series"].startswith(ROW) and any(row["runs"]):
                    channels = int(row["x"])
                    name = f"{codec}, {channels} channels"
                    yield name, fit.rate(codec, channels, FREE), _rate(row["runs"])
        elif group["section"] == "links":
            link, codec = group["name"].split(", ")
            measured = _rate(_runs(group, ROW))
            if codec == "none":
                # What the link carries shows in this row, and is what the others are given.
                carried[link] = measured
            else:
                yield f"{codec}, {link}", fit.rate(codec, 2, carried[link]), measured


def larger(fit: Fit, held: dict[int, float]) -> Table:
    """Hosts of more cores, by what limits them."""
    columns = [f"{gbit} Gbit/s" for gbit in GBITS]
    title = "GB/s of pages between two hosts, one process each, as many channels as cores"
    table = _table(title, "cores", "codec", "packet KiB", *columns)
    for cores in CORES:
        for codec in ("none", "lz4", "zstd"):
            for packet in PACKETS:
                found = [
                    fit.far_apart(codec, cores, gbit * 1e9 / 8 * PAYLOAD, packet / held[packet])
                    for gbit in GBITS
                ]
                cells = (f"{rate / 1e9:.1f} ({limit})" for rate, limit in found)
                table.add_row(str(cores), codec, str(packet >> 10), *cells)
    return table


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title)
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    return table


def _runs(group: Json, name: str) -> list[Json]:
    (row,) = (each for each in group["rows"] if each["name"] == name)
    return list(row["runs"])


def _rate(runs: list[Json]) -> float:
    return statistics.median(run["size"] / run["seconds"] for run in runs if run)


def _cpu(runs: list[Json], end: str) -> float:
    return statistics.median(run[end]["cpu"] / run["size"] for run in runs)


if __name__ == "__main__":
    sys.exit(main())
