"""What a packet costs at either end: time that holds the GIL, and system calls.

    python benchmarks/hotpath.py

A sender and a receiver, each a process, 2 channels, TCP on this host. Every call that releases the
GIL (the kernel's, the checksum's, the codec's, the socket's) is wrapped to count the CPU time that
its thread spends there. What remains of the channel threads' CPU time is Python's, and holds the
GIL; the wrappers' own part of it, measured on calls that do nothing, is taken off. System calls
are counted by ``strace -f -c``, in a run of their own, as the difference between a long and a short
transfer.
"""

from __future__ import annotations

import argparse
import json
import mmap
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from data import MIB, real_pages
from rich.console import Console
from rich.table import Table

from codecs_core import Geometry, Receiver, Sender, codecs, get_codec
from codecs_core.codec import Codec
from codecs_core.engine.channel import ReceivingChannel, SendingChannel
from codecs_core.memory import kernel
from codecs_core.registry import State
from codecs_core.wire import checksum

CHANNELS = 2
PACKETS = (128 << 10, 512 << 10, 2 << 20)
WANTED = 60.0
"""Microseconds of the GIL that a packet of 512 KiB may take at either end."""
LOOP = "loop"


def main() -> int:
    """Measure, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mib", type=int, default=512, help="MiB of pages (default 512)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds (default 5)")
    parser.add_argument("--codec", action="append", help="only this codec; may be repeated")
    parser.add_argument("--json", type=Path, help="write all figures here, too")
    parser.add_argument("--end", choices=("sender", "receiver"), help=argparse.SUPPRESS)
    parser.add_argument("--packet", type=int, default=512 << 10, help=argparse.SUPPRESS)
    parser.add_argument("--address", help=argparse.SUPPRESS)
    parser.add_argument("--retry-for", type=float, default=0.0, help=argparse.SUPPRESS)
    parser.add_argument("--bare", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.end:
        be_an_end(options)
        return 0
    names = options.codec or [name for name, info in codecs().items() if info.state is State.LOADED]
    rows = []
    for name in names:
        for size in PACKETS if name == "none" else PACKETS[1:2]:
            runs = [transfer(name, size, options.mib) for _ in range(options.rounds)]
            calls = system_calls(name, size) if shutil.which("strace") else {}
            rows.append(
                {"codec": name, "packet": size}
                | {end: medians([run[end] for run in runs]) for end in ("sender", "receiver")}
                | {"system_calls": calls}
            )
    show(rows)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2) + "\n")
    return 0


class Outside:
    """Counts the CPU time of threads in wrapped calls, by kind, and the calls."""

    def __init__(self) -> None:
        self._tallies: list[tuple[Counter[str], Counter[str]]] = []
        self._here = threading.local()

    def wrap(self, owner: Any, name: str, kind: str) -> None:
        """Have every call of a function or method counted."""
        call, here, clock = getattr(owner, name), self._here, time.thread_time_ns

        def counted(*arguments: Any, **keywords: Any) -> Any:
            started = clock()
            try:
                return call(*arguments, **keywords)
            finally:
                spent = clock() - started
                tally = getattr(here, "tally", None)
                if tally is None:
                    tally = here.tally = (Counter(), Counter())
                    self._tallies.append(tally)
                tally[0][kind] += spent
                tally[1][kind] += 1

        setattr(owner, name, counted)

    def total(self) -> tuple[Counter[str], Counter[str]]:
        """Nanoseconds and calls of all threads."""
        spent, calls = Counter[str](), Counter[str]()
        for mine, count in self._tallies:
            spent.update(mine)
            calls.update(count)
        return spent, calls


def wrapper_cost() -> float:
    """Nanoseconds that a wrapper adds outside of what it counts."""

    class Empty:
        def call(self, value: int) -> None:
            pass

    outside = Outside()
    outside.wrap(Empty, "call", "empty")
    empty = Empty()
    before = time.thread_time_ns()
    for _ in range(50_000):
        empty.call(1)
    elapsed = time.thread_time_ns() - before
    spent, calls = outside.total()
    return (elapsed - spent["empty"]) / calls["empty"]


def instrument(codec: Codec, geometry: Geometry) -> Outside:
    """Wrap, in this process, the channels' loops and what releases the GIL in them."""
    outside = Outside()
    outside.wrap(SendingChannel, "send_round", LOOP)
    outside.wrap(ReceivingChannel, "run", LOOP)
    for name in ("scan", "gather", "store", "check", "contiguous"):
        outside.wrap(kernel, name, "kernel")
    outside.wrap(checksum, "xxh3_64_intdigest", "checksum")
    outside.wrap(socket.socket, "sendmsg", "socket")
    outside.wrap(socket.socket, "recv_into", "socket")
    with codec.encoder(geometry) as encoder, codec.decoder(geometry) as decoder:
        outside.wrap(type(encoder), "encode", "codec")
        outside.wrap(type(decoder), "decode_into", "codec")
    return outside


def be_an_end(options: argparse.Namespace) -> None:
    """Send or receive, and print what a packet took, in microseconds of CPU time."""
    name, size = options.codec[0], options.mib * MIB
    codec, geometry = get_codec(name), Geometry(packet_size=options.packet)
    outside = Outside() if options.bare else instrument(codec, geometry)
    cost = wrapper_cost()
    if options.end == "sender":
        with (
            # Under strace, reading many files would take minutes.
            (same_pages if options.bare else real_pages)(size) as pages,
            Sender(
                options.address, codec=codec, channels=CHANNELS, geometry=geometry,
                retry_for=options.retry_for,
            ) as sender,
        ):  # fmt: skip
            sender.add_block("pages", pages)
            sender.send()
            progress = sender.finish()
    else:
        with Receiver("tcp:127.0.0.1:0") as receiver:
            flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | mmap.MAP_POPULATE
            receiver.add_block("pages", mmap.mmap(-1, size, flags))
            print(receiver.address, flush=True)
            progress = receiver.receive()
    packets = sum(each.packets for each in progress.channels)
    spent, calls = outside.total()
    loop = spent.pop(LOOP, 0)
    inside = sum(count for kind, count in calls.items() if kind != LOOP)
    found = {kind: nanoseconds / 1e3 / packets for kind, nanoseconds in spent.items()}
    found["python"] = (loop - sum(spent.values()) - inside * cost) / 1e3 / packets
    print(json.dumps(found | {"calls": inside / packets}), flush=True)


@contextmanager
def same_pages(size: int) -> Iterator[mmap.mmap]:
    """Give ``size`` bytes of one program, over and over."""
    program = Path(sys.executable).resolve().read_bytes()
    with mmap.mmap(-1, size) as pages:
        for at in range(0, size, len(program)):
            pages[at : at + len(program)] = program[: size - at]
        yield pages


def command(end: str, name: str, packet: int, mib: int, *more: str) -> list[str]:
    """What starts one end."""
    return [
        sys.executable, __file__, "--end", end, "--codec", name, "--packet", str(packet),
        "--mib", str(mib), *more,
    ]  # fmt: skip


def transfer(name: str, packet: int, mib: int) -> dict[str, dict[str, float]]:
    """Run both ends, and return what each has printed."""
    with subprocess.Popen(
        command("receiver", name, packet, mib), stdout=subprocess.PIPE, text=True
    ) as receiver:
        assert receiver.stdout is not None
        address = receiver.stdout.readline().strip()
        sender = subprocess.run(
            command("sender", name, packet, mib, "--address", address),
            stdout=subprocess.PIPE, text=True, check=True,
        )  # fmt: skip
        return {"sender": json.loads(sender.stdout), "receiver": json.loads(receiver.stdout.read())}


def system_calls(name: str, packet: int) -> dict[str, dict[str, float]]:
    """Count the system calls of a packet, at both ends."""
    short, long = _counted(name, packet, 64), _counted(name, packet, 192)
    packets = (192 - 64) * MIB / packet
    return {
        end: {
            call: (count - short[end][call]) / packets
            for call, count in long[end].most_common()
            if (count - short[end][call]) / packets >= 0.05
        }
        for end in ("sender", "receiver")
    }


def _counted(name: str, packet: int, mib: int) -> dict[str, Counter[str]]:
    with tempfile.TemporaryDirectory() as folder:
        traces = {end: Path(folder, end) for end in ("sender", "receiver")}
        trace = {end: ["strace", "-f", "-c", "-o", str(path)] for end, path in traces.items()}
        with subprocess.Popen(
            [*trace["receiver"], *command("receiver", name, packet, mib, "--bare")],
            stdout=subprocess.PIPE,
            text=True,
        ) as receiver:
            assert receiver.stdout is not None
            address = receiver.stdout.readline().strip()
            sender = command("sender", name, packet, mib, "--bare", "--address", address)
            subprocess.run([*trace["sender"], *sender], stdout=subprocess.DEVNULL, check=True)
            receiver.stdout.read()
        found = {}
        for end, path in traces.items():
            rows = (line.split() for line in path.read_text().splitlines()[2:-2])
            found[end] = Counter({row[-1]: int(row[3]) for row in rows})
        return found


def medians(runs: list[dict[str, float]]) -> dict[str, float]:
    """The median of every figure."""
    return {key: statistics.median(run[key] for run in runs) for key in runs[0]}


def show(rows: list[dict[str, Any]]) -> None:
    """Print the tables."""
    console = Console(width=110)
    kinds = ("codec", "kernel", "checksum", "socket", "python")
    table = Table(title="µs of CPU time a packet, by what it is spent in")
    for column in ("codec", "packet", "end", *kinds, "wanted of python"):
        table.add_column(column, justify="right")
    for row in rows:
        for end in ("sender", "receiver"):
            table.add_row(
                row["codec"], f"{row['packet'] >> 10} KiB", end,
                *(f"{row[end].get(kind, 0):.0f}" for kind in kinds), f"{WANTED:.0f}",
            )  # fmt: skip
    console.print(table)
    table = Table(title="system calls a packet")
    for column in ("codec", "packet", "end", "calls"):
        table.add_column(column, no_wrap=True)
    for row in rows:
        for end, calls in row["system_calls"].items():
            listed = ", ".join(f"{call} {count:.2f}" for call, count in calls.items())
            table.add_row(row["codec"], f"{row['packet'] >> 10} KiB", end, listed)
    console.print(table)


if __name__ == "__main__":
    sys.exit(main())
