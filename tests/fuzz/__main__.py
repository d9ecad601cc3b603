"""``python -m tests.fuzz TARGET``: run fuzz targets for some time, or on given inputs."""

from __future__ import annotations

import argparse
import hashlib
import importlib
import os
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

from tests.fuzz.explore import distill, explore, instrumented
from tests.fuzz.run import Defect, fuzz, minimised, replay
from tests.fuzz.target import TARGETS, Target

FINDINGS = Path("build/fuzz")
"""Where inputs on which a target fails are left, below the current directory."""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("target", help="a target's name, the beginning of several, or 'all'")
    parser.add_argument("inputs", nargs="*", type=Path, help="run on these files alone")
    parser.add_argument("--executions", type=int, default=10**9, help="of each target")
    parser.add_argument("--seconds", type=float, default=10.0, help="for all targets together")
    parser.add_argument("--seed", type=int, default=0, help="other inputs, as repeatable")
    parser.add_argument("--atheris", action="store_true", help="guided by coverage; one target")
    parser.add_argument("--keep", action="store_true", help="add inputs of new coverage to corpus/")
    options = parser.parse_args(arguments)
    with instrumented(options.atheris):
        importlib.import_module("tests.fuzz.targets")
    chosen = [
        each
        for name, each in sorted(TARGETS.items())
        if options.target == "all" or name.startswith(options.target)
    ]
    if not chosen:
        parser.error(f"no target is called {options.target!r}; there are {', '.join(TARGETS)}")
    if len(chosen) > 1 and (options.inputs or options.atheris or options.keep):
        parser.error(f"this takes one target, not {', '.join(each.name for each in chosen)}")
    try:
        if options.keep:
            return distill(chosen[0], options.inputs or [FINDINGS / chosen[0].name])
        if options.inputs:
            replay(chosen[0], [each.read_bytes() for each in options.inputs])
            return 0
        if options.atheris:
            return explore(chosen[0], FINDINGS, options.seconds)
        return _fuzz(chosen, options)
    except Defect as defect:
        traceback.print_exception(defect.__cause__)
        _leave(defect)
        return 1


def _fuzz(chosen: list[Target], options: argparse.Namespace) -> int:
    """Share the time out among the targets; what one leaves, the next ones have."""
    total = 0
    start = time.monotonic()
    for number, each in enumerate(chosen):
        left = options.seconds - (time.monotonic() - start)
        tally = fuzz(
            each,
            executions=options.executions,
            seconds=max(0.0, left / (len(chosen) - number)),
            seed=options.seed,
        )
        total += tally.executions
        print(
            f"{each.name:20} {tally.executions:>10,} executions {tally.seconds:8.1f} s "
            f"{100 * tally.accepted / max(1, tally.executions):6.1f} % accepted",
            flush=True,
        )
    print(f"{'all':20} {total:>10,} executions {time.monotonic() - start:8.1f} s, none failed")
    return 0


def _leave(defect: Defect) -> None:
    """Write the input down, small, and say how to run it again."""
    data = minimised(defect.target, defect.data)
    directory = FINDINGS / "failures" / defect.target.name
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / hashlib.sha256(data).hexdigest()[:12]
    path.write_bytes(data)
    print(f"{defect.target.name} fails; repeat: python -m tests.fuzz {defect.target.name} {path}")


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    os._exit(status) if "atheris" in sys.modules else sys.exit(status)
