"""The adaptive method beside every fixed one, on links of four rates.

    python benchmarks/auto.py                   # as root: it makes a network namespace

Two ends of a veth pair, one of them in a namespace of its own, with ``tc``'s token bucket filter
at 100 Mbit/s, 1 Gbit/s and 10 Gbit/s in between; and this host's loopback as it is. Pages of
programs and shared objects go from one process to another, by ``auto``, by each of its candidates
as a fixed method, and by a level above these, in turns. Both ends share this host's CPUs. The
quotient is that of ``auto``'s rate and the best fixed method's, of the same round; shown is the
median of the rounds.
"""

from __future__ import annotations

import argparse
import json
import mmap
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from advise import FAR_ADDRESS, NAMESPACE, namespace, shape
from data import MIB, real_pages
from rich.console import Console
from rich.table import Table

from codecs_core import Progress, Receiver, Sender, get_codec
from codecs_core.engine.methods import Adaptive, Choice, label

CHANNELS = 2
LINKS: dict[str, tuple[float | None, int]] = {
    "100M": (0.1, 64),
    "1G": (1.0, 512),
    "10G": (10.0, 1024),
    "loopback": (None, 1024),
}
"""Name → Gbit/s, and MiB that are sent."""
BEYOND = (get_codec("zstd", level=9),)
"""What ``auto`` leaves to who names it, for its memory."""
WANTED = 0.95


def main() -> int:
    """Measure, and print the tables; fails where ``auto`` is further behind than is wanted."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3, help="of transfers in turns (default 3)")
    parser.add_argument("--mib", type=int, help="MiB to send, instead of what suits each link")
    parser.add_argument("--link", action="append", choices=LINKS, help="only this; may be repeated")
    parser.add_argument("--quick", action="store_true", help="leave out what is hopeless")
    parser.add_argument("--json", type=Path, help="write all figures here, too")
    parser.add_argument("--receive", metavar="HOST", help=argparse.SUPPRESS)
    parser.add_argument("--size", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.receive:
        receive(options.receive, options.size)
        return 0
    if os.geteuid():
        parser.error("it takes root to make a network namespace")
    adaptive = Adaptive.installed()
    chosen: list[Choice] = [adaptive, *adaptive.methods.values(), *BEYOND]
    found: dict[str, Any] = {}
    largest = options.mib or max(mib for _, mib in LINKS.values())
    with real_pages(largest * MIB) as pages, namespace():
        for name in options.link or LINKS:
            gbit, mib = LINKS[name]
            found[name] = measure(chosen, pages, gbit, options.mib or mib, options)
            show(name, found[name])
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n")
    worst = min(each["quotient"] for each in found.values())
    print(f"worst: {worst:.2f} (wanted: at least {WANTED:.2f})")
    return int(worst < WANTED)


def measure(
    chosen: list[Choice], pages: mmap.mmap, gbit: float | None, mib: int, options: Any
) -> dict[str, Any]:
    """Send by each in turns; a fixed method that takes twice as long as the best is sent once."""
    if gbit is not None:
        shape(gbit)
    runs: dict[str, list[float]] = {name_of(each): [] for each in chosen}
    told: Progress | None = None
    for number in range(options.rounds):
        # Who goes first finds the caches as another link left them: take turns.
        first = number % len(chosen)
        for each in (*chosen[first:], *chosen[:first]):
            name = name_of(each)
            best = min((min(times) for times in runs.values() if times), default=0.0)
            if (
                number
                and each is not chosen[0]
                and min(runs[name]) > (1.3 if options.quick else 2) * best
            ):
                continue
            seconds, done = transfer(each, pages, mib * MIB, shaped=gbit is not None)
            runs[name].append(seconds)
            told = done if each.name == "auto" else told
    assert told is not None
    fixed = {name: times for name, times in runs.items() if name != "auto"}
    medians = {name: statistics.median(times) for name, times in fixed.items()}
    best_name = min(medians, key=lambda name: medians[name])
    quotients = sorted(
        theirs / ours for theirs, ours in zip(fixed[best_name], runs["auto"], strict=True)
    )
    return {
        "gbit": gbit, "mib": mib, "seconds": runs, "best": best_name,
        "quotient": statistics.median(quotients), "spread": [quotients[0], quotients[-1]],
        "methods": told.methods, "reasons": [each.reason for each in told.channels],
        "ratio": told.ratio,
    }  # fmt: skip


def name_of(chosen: Choice) -> str:
    """How a method is called in the table."""
    return "auto" if isinstance(chosen, Adaptive) else label(chosen)


def transfer(
    chosen: Choice, pages: mmap.mmap, size: int, *, shaped: bool
) -> tuple[float, Progress]:
    """Send, and return the seconds until all had arrived."""
    with (
        peer(size, shaped=shaped) as address,
        memoryview(pages)[:size] as part,
        Sender(address, codec=chosen, channels=CHANNELS) as sender,
    ):
        sender.add_block("pages", part)
        sender.connect()
        started = time.perf_counter()
        sender.send()
        done = sender.finish()
        return time.perf_counter() - started, done


@contextmanager
def peer(size: int, *, shaped: bool) -> Iterator[str]:
    """Start the other end, in the namespace where the link is shaped, and yield its address."""
    command = ["ip", "netns", "exec", NAMESPACE] if shaped else []
    command += [sys.executable, __file__, "--size", str(size)]
    command += ["--receive", FAR_ADDRESS if shaped else "127.0.0.1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
    assert process.returncode == 0


def receive(host: str, size: int) -> None:
    """Be the other end; print the address."""
    with Receiver(f"tcp:{host}:0", insecure=True) as receiver:
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | mmap.MAP_POPULATE
        receiver.add_block("pages", mmap.mmap(-1, size, flags))
        print(receiver.address, flush=True)
        receiver.receive()


def show(name: str, found: dict[str, Any]) -> None:
    """Print one link's table."""
    low, high = found["spread"]
    table = Table(title=f"{name}: {found['mib']} MiB, {CHANNELS} channels")
    for column in ("method", "MB/s", "seconds", "spread"):
        table.add_column(column, no_wrap=True)
    for method, times in sorted(found["seconds"].items(), key=lambda each: min(each[1])):
        middle = statistics.median(times)
        table.add_row(
            method,
            f"{found['mib'] * MIB / middle / 1e6:.0f}",
            f"{middle:.3f}",
            f"{min(times):.3f} to {max(times):.3f}",
        )
    console = Console(width=110)
    console.print(table)
    shares = ", ".join(f"{each} {count}" for each, count in found["methods"].items())
    console.print(f"auto beside {found['best']}: {found['quotient']:.2f} ({low:.2f} to {high:.2f})")
    console.print(f"  packets: {shares}")
    for reason in dict.fromkeys(found["reasons"]):
        console.print(f"  {reason}")


if __name__ == "__main__":
    sys.exit(main())
