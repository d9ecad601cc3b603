"""Everybody beside the engine, in one run: ``python -m benchmarks.compare``."""

from __future__ import annotations

import argparse
import json
import signal
import sys
from pathlib import Path

from benchmarks.compare import page, plots
from benchmarks.compare.groups import select
from benchmarks.compare.plan import plan
from benchmarks.compare.runner import Settings, measure


def main() -> int:
    """Measure, write what is asked for, and print the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compare", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="about 3 minutes instead of 25")
    parser.add_argument("--mib", type=int, help="MiB that a row moves (512; quick: 128)")
    parser.add_argument("--rounds", type=int, help="rounds, in turns (default 5)")
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="ROW",
        help="a SECTION, SECTION/GROUP or SECTION/GROUP/ROW, or a pattern (*/QEMU); repeatable",
    )
    parser.add_argument("--list", action="store_true", help="say which rows there are, and end")
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="write all figures, round by round"
    )
    parser.add_argument(
        "--from", dest="given", type=Path, metavar="FILE", help="show such a file; measure nothing"
    )
    parser.add_argument(
        "--page", type=Path, metavar="FILE", help="fill the places of this page, and draw beside it"
    )
    parser.add_argument("--plots", type=Path, metavar="DIR", help="draw here instead")
    parser.add_argument(
        "--place", type=Path, metavar="DIR", help="where the data is (default /dev/shm)"
    )
    options = parser.parse_args()
    groups = select(plan(quick=options.quick), options.only)
    if options.list:
        for group in groups:
            for row in group.rows:
                print(f"{group.section}/{group.name}/{row.name}")
        return 0
    if not groups:
        parser.error(f"no row is called {' or '.join(options.only)}; --list names them all")
    for name in ("mib", "rounds"):
        if (number := getattr(options, name)) is not None and number < 1:
            parser.error(f"--{name} {number}: give 1 or more")
    folder = options.plots or (options.page and options.page.parent)
    # Not after 25 minutes.
    for file in filter(None, (options.given, options.page)):
        if not file.is_file():
            parser.error(f"{file} is no file")
    for place in filter(None, (folder, options.place, options.json and options.json.parent)):
        if not place.is_dir():
            parser.error(f"{place} is no directory")
    if options.given:
        figures = json.loads(options.given.read_text())
    else:
        settings = Settings(
            options.mib or (128 if options.quick else 512),
            options.rounds or 5,
            options.place,
        )
        figures = measure(
            groups, settings, options.json, lambda line: print(line, file=sys.stderr, flush=True)
        )
    drawn = plots.draw_all(figures, folder) if folder else {}
    print(page.text(figures))
    if options.page:
        left = page.write(options.page, figures, drawn)
        if left:
            print(f"{options.page} has no place for: {', '.join(left)}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    # Being ended is being interrupted: processes, namespaces and files go in either case.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
