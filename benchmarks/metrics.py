"""What watching costs: a transfer that is scraped every second beside one that is not, in turns.

    python benchmarks/metrics.py --rounds 9 --json figures.json

One process sends a block of memory to another over TCP on this host, 2 channels.
In every other run the sender serves its metrics, and a third process reads them once a second.
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
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any

from data import MIB, real_pages
from rich.console import Console
from rich.table import Table

from codecs_core import Receiver, Sender
from codecs_core.monitor.endpoint import Endpoint
from codecs_core.monitor.exposition import Exposition
from codecs_core.monitor.ledger import Ledger

CHANNELS = 2
CODECS = ("none", "zstd")
WANTED = 0.99
SCRAPER = """
import sys, time, urllib.request
while True:
    urllib.request.urlopen(sys.argv[1]).read()
    print(flush=True)
    time.sleep(float(sys.argv[2]))
"""


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mib", type=int, default=1024, help="MiB of pages (default 1024)")
    parser.add_argument("--rounds", type=int, default=9, help="rounds (default 9)")
    parser.add_argument("--seconds", type=float, default=4, help="seconds of a run, at least")
    parser.add_argument("--codec", action="append", help="only this codec; may be repeated")
    parser.add_argument("--json", type=Path, help="write all figures here, too")
    parser.add_argument("--receive", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.receive:
        receive(options.receive)
        return
    figures = []
    with real_pages(options.mib * MIB) as pages:
        each_scrape = scrape(pages)
        for codec in options.codec or CODECS:
            runs = []
            for number in range(options.rounds):
                # Who goes first finds the caches as the run before left them: take turns.
                order = ("with", "without") if number % 2 else ("without", "with")
                both = {each: run(codec, pages, options.seconds, each) for each in order}
                runs.append(
                    {each: rate for each, (rate, _) in both.items()}
                    | {f"cpu {each}": cpu for each, (_, cpu) in both.items()}
                )
            quotients = {
                what: summary(runs, f"{what}with", f"{what}without") for what in ("", "cpu ")
            }
            figures.append({"codec": codec, **quotients[""], "cpu": quotients["cpu "]})
    show(figures)
    print(f"a scrape takes {each_scrape * 1e3:.2f} ms of a CPU")
    if options.json:
        options.json.write_text(
            json.dumps({"scrape": each_scrape, "runs": figures}, indent=2) + "\n"
        )


def run(codec: str, pages: mmap.mmap, seconds: float, watched: str) -> tuple[float, float]:
    """Return the rate, in bytes a second, and this process' CPU seconds a GB."""
    with receiving(len(pages)) as address:
        with Sender(address, codec=codec, channels=CHANNELS) as sender, ExitStack() as stack:
            sender.add_block("pages", pages)
            sender.connect()
            if watched == "with":
                stack.enter_context(scraped(sender))
            cpu, started, sent = time.process_time(), time.perf_counter(), 0
            while time.perf_counter() - started < seconds:
                sender.send()
                sender.sync()
                sent += len(pages)
            passed, used = time.perf_counter() - started, time.process_time() - cpu
    return sent / passed, used / (sent / 1e9)


@contextmanager
def scraped(sender: Sender, pause: float = 1.0) -> Iterator[IO[bytes]]:
    """Serve a sender's metrics, and have them read every ``pause`` seconds; yield a line each."""
    ledger = Ledger("sender", "benchmark")
    ledger.begin("the other end", sender.progress)
    pages = {"/metrics": Exposition(ledger).render}
    with Endpoint("tcp:127.0.0.1:0", pages) as endpoint:
        place = endpoint.address.removeprefix("tcp:")
        scraper = subprocess.Popen(
            [sys.executable, "-c", SCRAPER, f"http://{place}/metrics", str(pause)],
            stdout=subprocess.PIPE,
        )
        try:
            # Its start is not what is measured.
            assert scraper.stdout is not None
            scraper.stdout.readline()
            yield scraper.stdout
            assert scraper.poll() is None, "the scraper has failed"
        finally:
            scraper.kill()
            scraper.communicate()


def scrape(pages: mmap.mmap, count: int = 200) -> float:
    """Return the CPU seconds that one scrape takes of this process, HTTP and all."""
    with receiving(len(pages)) as address:
        with Sender(address, channels=CHANNELS) as sender:
            sender.add_block("pages", pages)
            sender.connect()
            with scraped(sender, 0) as answers:
                before = time.process_time()
                for _ in range(count):
                    answers.readline()
                seconds = (time.process_time() - before) / count
    return seconds


@contextmanager
def receiving(size: int) -> Iterator[str]:
    """Start the other end, and yield its address."""
    command = [sys.executable, __file__, "--receive", str(size)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as receiver:
        assert receiver.stdout is not None
        yield receiver.stdout.readline().strip()
    assert receiver.returncode == 0


def receive(size: int) -> None:
    """Be the other end; print the address."""
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | mmap.MAP_POPULATE
    with Receiver("tcp:127.0.0.1:0") as receiver:
        receiver.add_block("pages", mmap.mmap(-1, size, flags))
        print(receiver.address, flush=True)
        receiver.receive()


def summary(runs: list[dict[str, float]], ours: str, theirs: str) -> dict[str, Any]:
    """Medians, and the median and spread of the quotients of neighbours."""
    quotients = sorted(run[ours] / run[theirs] for run in runs)
    return {
        "with": statistics.median(run[ours] for run in runs),
        "without": statistics.median(run[theirs] for run in runs),
        "quotient": statistics.median(quotients),
        "spread": [quotients[0], quotients[-1]],
    }


def show(figures: list[dict[str, Any]]) -> None:
    """Print what was measured, with what is wanted."""
    table = Table(title=f"{CHANNELS} channels, {os.cpu_count()} CPUs, MB/s, medians")
    for column in ("codec", "with", "without", "quotient", "spread", "CPU", "spread", "wanted"):
        table.add_column(column, no_wrap=True)
    for each in figures:
        table.add_row(
            each["codec"],
            f"{each['with'] / 1e6:.0f}",
            f"{each['without'] / 1e6:.0f}",
            f"{each['quotient']:.3f}",
            "{:.2f} to {:.2f}".format(*each["spread"]),
            f"{each['cpu']['quotient']:.3f}",
            "{:.2f} to {:.2f}".format(*each["cpu"]["spread"]),
            f"{WANTED:.2f}",
        )
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
