"""What ``multifd advise --measure`` predicts, beside real transfers over shaped links.

    python benchmarks/advise.py                 # as root: it makes a network namespace

Two ends of a veth pair, one of them in a namespace of its own, with ``tc``'s token bucket filter
at 100 Mbit/s, 1 Gbit/s and 10 Gbit/s in between. On each link the bandwidth is measured as ``--to``
does, each codec as ``--measure --one-host`` does, with the pages that are sent as the sample. Then
these are really sent, from a process here to one there, and the times are compared. Both share this
host's CPUs. A second table does the same for migrations: pages are dirtied at a steady rate while
each round is sent, until the rest fits into the downtime limit.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import mmap
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from data import MIB, real_pages
from rich.console import Console
from rich.table import Table

from codecs_core import Receiver, Sender, StreamSink, codecs, get_codec
from codecs_core.cli.plotting import save_plot
from codecs_core.codec import Codec
from codecs_core.forecast import Measured, Plan, predict
from codecs_core.forecast.link import bandwidth_to, engine_costs
from codecs_core.forecast.measure import measure
from codecs_core.forecast.plot import draw
from codecs_core.forecast.sample import Sample, of_file
from codecs_core.registry import State

NAMESPACE, NEAR, FAR = "codecs-core-advise", "cc-near", "cc-far"
NEAR_ADDRESS, FAR_ADDRESS = "10.213.7.1", "10.213.7.2"
CHANNELS = 2
LINKS = {0.1: 64, 1.0: 512, 10.0: 1024}
"""Gbit/s → MiB that are sent."""
LIVE = {"gbit": 1.0, "dirty_rate": 40e6, "downtime_limit": 0.1}
WANTED = 0.2
PAGE = 4096


def main() -> int:
    """Measure, and print the tables; fails where a prediction is further off than is wanted."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3, help="transfers of each kind (default 3)")
    parser.add_argument("--json", type=Path, help="write all figures here, too")
    parser.add_argument("--plot", type=Path, help="draw predictions and measurements (.svg, .png)")
    parser.add_argument("--peer", choices=("memory", "noise"), help=argparse.SUPPRESS)
    parser.add_argument("--size", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peer:
        receive(options.peer, options.size)
        return 0
    if os.geteuid():
        parser.error("it takes root to make a network namespace")
    chosen = [get_codec(name) for name, info in codecs().items() if info.state is State.LOADED]
    chosen.append(get_codec("zstd", level=9))
    rows: list[dict[str, Any]] = []
    cpus = len(os.sched_getaffinity(0))
    engine = engine_costs(channels=CHANNELS)
    with real_pages(max(LINKS.values()) * MIB) as pages, namespace():
        for gbit, mib in LINKS.items():
            sample = sampled(pages, mib)
            plan = Plan(
                memory=mib * MIB, channels=CHANNELS, cpus=cpus, peer_cpus=None, zero=sample.zero,
                engine=engine,
            )  # fmt: skip
            live = dataclasses.replace(
                plan, dirty_rate=LIVE["dirty_rate"], downtime_limit=LIVE["downtime_limit"]
            )
            shape(gbit)
            bandwidth = link_bandwidth()
            found = []
            for codec in chosen:
                # Just before it is used: what else the machine does changes within minutes.
                each = measure(codec, sample, channels=CHANNELS, cpus=cpus, one_host=True)
                found.append(each)
                runs = [transfer(codec, pages, plan) for _ in range(options.rounds)]
                rows.append(row(codec, each, plan, gbit, bandwidth, runs))
                if gbit == LIVE["gbit"]:
                    runs = [migrate(codec, pages, live) for _ in range(options.rounds)]
                    rows.append(row(codec, each, live, gbit, bandwidth, runs) | {"live": True})
    show(rows)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2) + "\n")
    if options.plot:
        lines = [
            dataclasses.replace(each, codec=label(codec))
            for each, codec in zip(found, chosen, strict=True)
        ]
        title = f"{mib} MiB of programs, {CHANNELS} channels, both ends on {cpus} CPUs"
        save_plot(draw(lines, plan, title=title), options.plot)
    worst = max(abs(each["error"]) for each in rows)
    print(f"worst: {worst:.0%} (wanted: at most {WANTED:.0%})")
    return int(worst > WANTED)


def sampled(pages: mmap.mmap, mib: int) -> Sample:
    """Take a sample of what is sent, as ``--sample`` does."""
    with tempfile.NamedTemporaryFile() as file, memoryview(pages)[: mib * MIB] as part:
        file.write(part)
        file.flush()
        return of_file(file.name)


def label(codec: Codec) -> str:
    """The codec, with its level where that is not its default."""
    level = getattr(codec, "level", None)
    return codec.name if level in (None, 0, 1) else f"{codec.name}, level {level}"


def row(
    codec: Codec,
    measured: Measured,
    plan: Plan,
    gbit: float,
    bandwidth: float,
    runs: list[tuple[float, int]],
) -> dict[str, Any]:
    """Compare a prediction with the median of some transfers."""
    predicted = predict(measured, plan, bandwidth)
    assert predicted.seconds is not None
    times = [seconds for seconds, _ in runs]
    real = statistics.median(times)
    return {
        "codec": label(codec), "gbit": gbit, "bandwidth": bandwidth, "limit": predicted.limit,
        "ratio": measured.ratio, "rate": predicted.rate, "rounds": predicted.rounds,
        "real_rounds": [rounds for _, rounds in runs], "predicted": predicted.seconds,
        "real": real, "spread": [min(times), max(times)],
        "error": predicted.seconds / real - 1, "live": False,
    }  # fmt: skip


@contextmanager
def namespace() -> Iterator[None]:
    """Make the namespace and the veth pair; both are gone afterwards."""
    run(f"ip netns add {NAMESPACE}")
    try:
        run(f"ip link add {NEAR} type veth peer name {FAR} netns {NAMESPACE}")
        run(f"ip addr add {NEAR_ADDRESS}/30 dev {NEAR}")
        run(f"ip link set {NEAR} up")
        run(f"ip -n {NAMESPACE} addr add {FAR_ADDRESS}/30 dev {FAR}")
        run(f"ip -n {NAMESPACE} link set {FAR} up")
        run(f"ip -n {NAMESPACE} link set lo up")
        yield
    finally:
        with suppress(subprocess.CalledProcessError):
            run(f"ip link del {NEAR}")
        run(f"ip netns del {NAMESPACE}")


def shape(gbit: float) -> None:
    """Let the link carry so much; the bucket holds what passes in 5 ms, and a whole GSO packet."""
    burst = max(128 << 10, int(gbit * 1e9 / 8 * 0.005))
    run(
        f"tc qdisc replace dev {NEAR} root tbf rate {gbit * 1000:.0f}mbit burst {burst} "
        "latency 50ms"
    )


def run(command: str) -> None:
    """Run a command."""
    subprocess.run(command.split(), check=True)


@contextmanager
def peer(kind: str, size: int = 0) -> Iterator[str]:
    """Start the other end in the namespace, and yield its address."""
    command = ["ip", "netns", "exec", NAMESPACE, sys.executable, __file__]
    command += ["--peer", kind, "--size", str(size)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
    assert process.returncode == 0


def receive(kind: str, size: int) -> None:
    """Be the other end; print the address."""
    with (
        open(os.devnull, "wb", buffering=0) as sink,
        Receiver(
            f"tcp:{FAR_ADDRESS}:0",
            open_block=lambda name, size, page_size: StreamSink(
                name, sink.fileno(), size, page_size
            ),
            insecure=True,
        ) as receiver,
    ):
        if kind == "memory":
            flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | mmap.MAP_POPULATE
            receiver.add_block("pages", mmap.mmap(-1, size, flags))
        print(receiver.address, flush=True)
        receiver.receive()


def link_bandwidth() -> float:
    """What the link carries, measured as ``--to`` does."""
    with peer("noise") as address:
        return bandwidth_to(address, channels=CHANNELS)


def transfer(codec: Codec, pages: mmap.mmap, plan: Plan) -> tuple[float, int]:
    """Send the plan's memory; return the seconds until all had arrived, and 1 round."""
    with sending(codec, pages, plan) as sender:
        started = time.perf_counter()
        sender.send()
        sender.finish()
        return time.perf_counter() - started, 1


@contextmanager
def sending(codec: Codec, pages: mmap.mmap, plan: Plan) -> Iterator[Sender]:
    """Connect a sender of the plan's memory to a receiver on the other side of the link."""
    with (
        peer("memory", plan.memory) as address,
        memoryview(pages)[: plan.memory] as part,
        Sender(address, codec=codec, channels=CHANNELS) as sender,
    ):
        sender.add_block("pages", part)
        sender.connect()
        yield sender


def migrate(codec: Codec, pages: mmap.mmap, plan: Plan) -> tuple[float, int]:
    """Send all pages, then as many as were dirtied meanwhile, until the rest fits.

    Returns the seconds, and the rounds before the last.
    """
    count = plan.memory // PAGE
    chance = random.Random(1)
    with sending(codec, pages, plan) as sender:
        started = before = time.perf_counter()
        sender.send()
        sender.sync()
        rounds, sent, last = 1, plan.memory, False
        while not last:
            now = time.perf_counter()
            elapsed, before = now - before, now
            dirty = min(count, int(elapsed * plan.dirty_rate) // PAGE)
            last = dirty * PAGE * elapsed / sent <= plan.downtime_limit
            sender.send_pages("pages", sorted(chance.sample(range(count), dirty)))
            sender.sync()
            rounds, sent = rounds + (not last), dirty * PAGE
        sender.finish()
        return time.perf_counter() - started, rounds


def show(rows: list[dict[str, Any]]) -> None:
    """Print the tables."""
    console = Console(width=110)
    for live in (False, True):
        title = (
            f"migrations, pages dirtied at {LIVE['dirty_rate'] / 1e6:.0f} MB/s"
            if live
            else f"transfers, {CHANNELS} channels, both ends on this host"
        )
        table = Table(title=title)
        for column in ("link", "codec", "limit", "predicted s", "real s", "spread", "error"):
            table.add_column(column, no_wrap=True)
        for each in rows:
            if each["live"] is not live:
                continue
            low, high = each["spread"]
            table.add_row(
                f"{each['gbit']:g} Gbit/s ({each['bandwidth'] * 8 / 1e9:.3g})",
                each["codec"],
                each["limit"],
                f"{each['predicted']:.2f}",
                f"{each['real']:.2f}",
                f"{low:.2f} to {high:.2f}",
                f"{each['error']:+.0%}",
            )
        console.print(table)


if __name__ == "__main__":
    sys.exit(main())
