"""What integrity costs: the engine with it beside the engine without, in turns, in one run.

    python benchmarks/integrity.py --rounds 9 --json figures.json

One process sends a block of memory to another over TCP on this host, 2 channels, as in engine.py.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

from engine import CHANNELS, MIB, engine, real_pages, summary
from rich.console import Console
from rich.table import Table

ROWS: tuple[tuple[str, str, dict[str, Any], dict[str, Any], float], ...] = (
    ("checksums", "none", {"checksum": True}, {"checksum": False}, 0.85),
    ("checksums", "zstd", {"checksum": True}, {"checksum": False}, 0.97),
    ("verify full", "none", {"verify": "full"}, {}, 0.0),
    ("verify full", "zstd", {"verify": "full"}, {}, 0.0),
    ("retries", "none", {"retry_for": 30}, {}, 0.0),
    ("retries", "zstd", {"retry_for": 30}, {}, 0.0),
)
"""What, with which codec, options with it and without, and the quotient that is wanted."""


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mib", type=int, default=1024, help="MiB of pages (default 1024)")
    parser.add_argument("--rounds", type=int, default=9, help="rounds (default 9)")
    parser.add_argument("--only", help="only what begins so")
    parser.add_argument("--json", type=Path, help="write all figures here, too")
    options = parser.parse_args()
    rows = [each for each in ROWS if each[0].startswith(options.only or "")]
    runs: list[list[dict[str, float]]] = [[] for _ in rows]
    with real_pages(options.mib * MIB) as pages:
        for number in range(options.rounds):
            for row, (_, codec, given, left, _) in zip(runs, rows, strict=True):
                # Who goes first finds the caches as the row before left them: take turns.
                pair = {"with": given, "without": left}
                order = list(pair) if number % 2 else list(reversed(pair))
                row.append({each: engine(codec, pages, **pair[each])[0] for each in order})
    figures = [
        {"what": what, "codec": codec, "wanted": wanted, **summary(row, "with", "without")}
        for (what, codec, _, _, wanted), row in zip(rows, runs, strict=True)
    ]
    show(figures)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


def show(figures: list[dict[str, Any]]) -> None:
    """Print what was measured, with what is wanted."""
    table = Table(title=f"{CHANNELS} channels, {os.cpu_count()} CPUs, MB/s, medians")
    for column in ("", "codec", "with", "without", "quotient", "spread", "wanted"):
        table.add_column(column, no_wrap=True)
    for each in figures:
        low, high = each["spread"]
        table.add_row(
            each["what"],
            each["codec"],
            f"{each['with'] / 1e6:.0f}",
            f"{each['without'] / 1e6:.0f}",
            f"{each['quotient']:.3f}",
            f"{low:.2f} to {high:.2f}",
            f"{each['wanted']:.2f}" if each["wanted"] else "",
        )
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
