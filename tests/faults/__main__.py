"""Carry out fault plans: ``python -m tests.faults --plans 500 --seed 1``.

Prints how the plans ended, and every plan that failed with the line that repeats it.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter

from .campaign import carry_out, planned
from .plan import Kind


def main() -> int:
    """Return 0 where no plan failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--plans", type=int, default=100, help="how many (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of the first plan (%(default)s)")
    parser.add_argument("--jobs", type=int, default=8, help="plans at a time (%(default)s)")
    parser.add_argument("--codec", help="instead of each plan's own: auto, say")
    parser.add_argument("-v", "--verbose", action="store_true", help="print every plan")
    options = parser.parse_args()
    seeds = range(options.seed, options.seed + options.plans)
    ends: Counter[str] = Counter()
    struck: Counter[str] = Counter()
    failed = 0
    started = time.monotonic()
    plans = (planned(seed, options.codec) for seed in seeds)
    for verdict in carry_out(plans, options.jobs):
        ends[verdict.end] += 1
        struck.update(each.split()[0] for each in verdict.fired)
        if options.verbose or verdict.wrong:
            print(verdict, flush=True)
        if verdict.wrong:
            failed += 1
            again = f"python -m tests.faults --plans 1 --seed {verdict.plan.seed}"
            again += f" --codec {options.codec}" if options.codec else ""
            print(f"    again: {again}", flush=True)
    took = time.monotonic() - started
    print(f"{len(seeds)} plans, seeds {seeds[0]} to {seeds[-1]}, {took:.0f} s: {failed} failed")
    for end, count in ends.most_common():
        print(f"  {count:5} {end}")
    print("faults that struck: " + ", ".join(f"{struck[kind]} {kind}" for kind in Kind))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
