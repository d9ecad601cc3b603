"""What trust costs: the engine under TLS beside the engine in the clear.

Run ``make bench``, or ``python -m benchmarks.trust``. Both are measured as `benchmarks.engine`
measures: one process sends a block of memory to another over TCP on this host, 2 channels, the
same codec. The rounds are interleaved, and the quotient is the median of the rounds' quotients.
"""

from __future__ import annotations

import argparse
import json
import os
import ssl
import sys
import tempfile
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.engine import CHANNELS, MIB, engine, real_pages, summary
from codecs_core import TlsCredentials
from codecs_core.testing.authority import issue, make_authority

WANTED = {"none": 0.4, "zstd": 0.85}
"""The quotients that are promised, by codec."""


def main() -> int:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mib", type=int, default=1024, help="MiB of pages (default 1024)")
    parser.add_argument("--rounds", type=int, default=9, help="rounds (default 9)")
    parser.add_argument("--json", type=Path, help="write all figures here, too")
    parser.add_argument("--codec", action="append", help="only this codec; may be repeated")
    options = parser.parse_args()
    found = {}
    with tempfile.TemporaryDirectory() as place:
        make_authority(Path(place))
        issue(Path(place), "server", ["127.0.0.1"])
        issue(Path(place), "client", ["sender"])
        for name in options.codec or WANTED:
            found[name] = measure(name, options.mib * MIB, options.rounds, place)
    show(found)
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n")
    return 0


def measure(name: str, size: int, rounds: int, place: str) -> dict[str, Any]:
    """One codec, both ways, in turns."""
    runs = []
    credentials = TlsCredentials(place)
    with real_pages(size) as pages:
        for _ in range(rounds):
            clear, _, clear_cpu = engine(name, pages)
            tls, _, tls_cpu = engine(name, pages, "--tls", place, tls=credentials)
            runs.append({"clear": clear, "tls": tls, "clear_cpu": clear_cpu, "tls_cpu": tls_cpu})
    return summary(runs, "tls", "clear")


def show(found: dict[str, dict[str, Any]]) -> None:
    """Print what was measured, with what is wanted."""
    table = Table(
        title=f"{CHANNELS} channels, {os.cpu_count()} CPUs, {ssl.OPENSSL_VERSION}, MB/s, medians"
    )
    for column in ("codec", "TLS", "clear", "quotient", "spread", "wanted", "CPU s/GB"):
        table.add_column(column, no_wrap=True)
    for name, each in found.items():
        low, high = each["spread"]
        table.add_row(
            name,
            f"{each['tls'] / 1e6:.0f}",
            f"{each['clear'] / 1e6:.0f}",
            f"{each['quotient']:.2f}",
            f"{low:.2f} to {high:.2f}",
            f"{WANTED[name]:.2f}" if name in WANTED else "",
            f"{each['tls_cpu']:.2f} (clear: {each['clear_cpu']:.2f})",
        )
    Console(width=120).print(table)


if __name__ == "__main__":
    sys.exit(main())
