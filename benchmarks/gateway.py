"""Migrations over a shaped link: QEMU's own multifd, and the relays with each codec.

Run as root: ``python benchmarks/gateway.py``. Two network namespaces stand for two hosts; a veth
pair between them is their link, shaped by ``tc``. Each migration starts two fresh QEMUs with a
mostly idle guest, under emulation, whose memory holds programs and shared objects. QEMU's own
methods go straight over the link, at their default levels; with the gateway, QEMU sends raw pages
to its relay through a unix socket. Methods take turns, so that they share what else the machine
does.

*Time* and *downtime* are the source QEMU's own figures, *link* what the interface counted both
ways, *CPU* what both QEMUs and both relays used from the beginning of the migration to its end,
*peak* the most memory that a relay ever had. *Bare* is without checksums, and without what it takes
to make lost connections again. At 100 Mbit/s a single round is enough: the link alone decides, to a
few thousandths.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from data import real_pages
from links import ADDRESS, DESTINATION, LINKS, SOURCE, link_bytes, namespaces, run, shape
from migration import QEMU, prepare
from processes import cpu_seconds, peak
from qemu.qmp.legacy import QEMUMonitorProtocol
from rich.console import Console
from rich.table import Table

HERE = Path(__file__).parent
MULTIFD = str(Path(sys.executable).with_name("multifd"))
PORT = 4444
SIDES = ("egress", "ingress")
CHANNELS = 2
PACKET = 512 * 1024
MIB = 1 << 20
METHODS = {
    "QEMU none": ("qemu", "none", {}),
    "QEMU zlib": ("qemu", "zlib", {}),
    "QEMU zstd": ("qemu", "zstd", {}),
    "gateway none": ("gateway", "none", {}),
    "gateway none, bare": ("gateway", "none", {"bare": True}),
    "gateway lz4": ("gateway", "lz4", {}),
    "gateway zstd": ("gateway", "zstd", {}),
    "gateway zstd 6": ("gateway", "zstd", {"level": 6}),
    "gateway zstd 9": ("gateway", "zstd", {"level": 9}),
    "gateway zlib": ("gateway", "zlib", {}),
    "gateway qatzip": ("gateway", "qatzip", {}),
    "gateway qpl": ("gateway", "qpl", {}),
}


def main() -> int:
    """Measure, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mib", type=int, default=1024, help="MiB of programs in the guest")
    parser.add_argument("--rounds", type=int, default=3, help="rounds but at 100M (default 3)")
    parser.add_argument("--link", action="append", choices=LINKS, help="only this; repeatable")
    parser.add_argument("--method", action="append", choices=METHODS, help="only this; repeatable")
    parser.add_argument("--json", type=Path, help="write all figures here, too")
    parser.add_argument("--plot", type=Path, help="draw time against link rate: FILE.png, .svg")
    options = parser.parse_args()
    for tool in (QEMU, "ip", "tc", "as", "ld"):
        if shutil.which(tool) is None:
            raise SystemExit(f"{tool} is missing")
    links, methods = options.link or list(LINKS), options.method or list(METHODS)
    figures: dict[str, Any] = {"mib": options.mib, "channels": CHANNELS, "cpus": os.cpu_count()}
    figures["runs"] = {link: {method: [] for method in methods} for link in links}
    with tempfile.TemporaryDirectory() as name, namespaces():
        place = Path(name)
        make_guest(place, options.mib)
        for link in links:
            shape(link)
            for _ in range(1 if link == "100M" else options.rounds):
                for method in methods:
                    run = Migration(place, options.mib).run(method)
                    figures["runs"][link][method].append(run)
                    print(link, method, json.dumps(run), file=sys.stderr, flush=True)
                    if options.json:
                        options.json.write_text(json.dumps(figures, indent=2) + "\n")
    show(figures)
    if options.plot:
        draw(figures, options.plot)
    return 0


def make_guest(place: Path, mib: int) -> None:
    """Assemble the boot sector, and write what the guest's memory shall hold."""
    run("as", "--32", "-o", str(place / "guest.o"), str(HERE / "guest.S"))
    link = ("ld", "-m", "elf_i386", "-Ttext=0x7c00", "--oformat=binary", "-e", "_start")
    run(*link, "-o", str(place / "guest.bin"), str(place / "guest.o"))
    with real_pages(mib * MIB) as pages, (place / "memory").open("wb") as file:
        file.write(pages)


class Migration:
    """Two QEMUs, relays where they are wanted, and one migration."""

    def __init__(self, place: Path, mib: int) -> None:
        self.place = place
        self.mib = mib
        self.processes: dict[str, subprocess.Popen[str]] = {}

    def run(self, method: str) -> dict[str, float]:
        """Migrate, and return the figures."""
        kind, codec, parameters = METHODS[method]
        with ExitStack() as stack:
            stack.callback(self.kill)
            destination = self.qemu(
                stack, "destination", DESTINATION, "-incoming", "defer", "-mem-prealloc"
            )
            loader = f"loader,file={self.place / 'memory'},addr=0x1000000,force-raw=on"
            source = self.qemu(stack, "source", SOURCE, "-device", loader)
            for each in (source, destination):
                prepare(each, codec if kind == "qemu" else "none", CHANNELS)
            uri = f"tcp:{ADDRESS}:{PORT}"
            if kind == "qemu":
                destination.cmd("migrate-incoming", uri=uri)
            else:
                onward, start = f"unix:{self.place}/in", f"unix:{self.place}/out"
                destination.cmd("migrate-incoming", uri=onward)
            if kind == "gateway":
                self.relay(
                    "ingress", DESTINATION, "--listen", uri, "--connect", onward, "--insecure"
                )
                options = [f"--multifd-{codec}-{name}={v}" for name, v in parameters.items()]
                if parameters.get("bare"):
                    options = ["--no-checksum", "--retry-for", "0"]
                self.relay(
                    "egress", SOURCE, "--listen", start, "--connect", uri,
                    "--multifd-compression", codec, *options,
                )  # fmt: skip
                uri = start
            wait_for_ticks(source)
            cpu, link = self.cpu(), link_bytes()
            source.cmd("migrate", uri=uri)
            while (info := source.cmd("query-migrate"))["status"] not in ("completed", "failed"):
                time.sleep(0.1)
            used = {name: after - cpu[name] for name, after in self.cpu().items()}
            peaks = {
                f"peak_{side}": peak(self.processes[side].pid)
                for side in SIDES
                if kind == "gateway"
            }
            if info["status"] == "failed":
                raise SystemExit(f"{method}: {info.get('error-desc')}")
            wait_for_ticks(destination)
            return {
                "seconds": info["total-time"] / 1000,
                "downtime": info["downtime"] / 1000,
                "link_bytes": link_bytes() - link,
                "memory_bytes": self.mib * MIB,
                **{f"cpu_{name}": seconds for name, seconds in used.items()},
                "cpu": sum(used.values()),
                **peaks,
            }

    def qemu(self, stack: ExitStack, name: str, host: str, *arguments: str) -> QEMUMonitorProtocol:
        """Start a QEMU on a host, and return its monitor."""
        path = str(self.place / f"{name}.qmp")
        monitor = QEMUMonitorProtocol(path, server=True)
        stack.callback(monitor.close)
        self.start(
            name, host, QEMU, "-machine", "pc,accel=tcg",
            "-m", f"{self.mib + 64}M", "-display", "none", "-nodefaults", "-no-user-config",
            "-drive", f"file={self.place}/guest.bin,format=raw,if=floppy,readonly=on",
            "-boot", "a", "-qmp", f"unix:{path}", *arguments,
        )  # fmt: skip
        monitor.accept(timeout=60)
        return monitor

    def relay(self, side: str, host: str, *arguments: str) -> None:
        """Start a relay on a host, and wait until it listens."""
        process = self.start(side, host, MULTIFD, "relay", side, *arguments)
        assert process.stderr is not None
        line = process.stderr.readline()
        if not line.startswith("listening"):
            raise SystemExit(line)

    def start(self, name: str, host: str, *command: str) -> subprocess.Popen[str]:
        """Run a command on a host; ip-netns becomes that command."""
        self.processes[name] = subprocess.Popen(
            ["ip", "netns", "exec", host, *command],
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE if name in SIDES else subprocess.DEVNULL,
            text=True,
        )
        return self.processes[name]

    def cpu(self) -> dict[str, float]:
        """What each process has used so far, in seconds."""
        return {name: cpu_seconds(process.pid) for name, process in self.processes.items()}

    def kill(self) -> None:
        """End everything."""
        for process in self.processes.values():
            process.kill()
            process.communicate()


def wait_for_ticks(monitor: QEMUMonitorProtocol) -> None:
    """Wait until the guest is at work."""

    def count() -> int:
        line = monitor.cmd("human-monitor-command", **{"command-line": "xp /1wx 0x500"})
        return int(str(line).split(":")[1], 16)

    first, give_up = count(), time.monotonic() + 30
    while count() < first + 3:
        if time.monotonic() > give_up:
            raise SystemExit("the guest does not run")
        time.sleep(0.05)


def median(runs: list[dict[str, float]], name: str) -> float:
    """The median of a figure, 0 where there is none."""
    return statistics.median(each.get(name, 0.0) for each in runs) if runs else 0.0


def show(figures: dict[str, Any]) -> None:
    """Print a table for each link."""
    for link, methods in figures["runs"].items():
        table = Table(title=f"link {link}", box=None)
        for column in (
            "method", "time s", "spread", "x none", "downtime ms", "link MB", "CPU s",
            "egress s/GB", "ingress s/GB", "peak MB",
        ):  # fmt: skip
            table.add_column(column, justify="left" if column == "method" else "right")
        plain = median(methods.get("QEMU none", []), "seconds")
        for method, runs in methods.items():
            times = [each["seconds"] for each in runs]
            seconds, size = statistics.median(times), runs[0]["memory_bytes"] / 1e9
            relays = [median(runs, f"cpu_{side}") / size for side in SIDES]
            peak = max(median(runs, f"peak_{side}") for side in SIDES) / 1e6
            table.add_row(
                method,
                f"{seconds:.2f}",
                f"{min(times):.2f} to {max(times):.2f}",
                f"{plain / seconds:.2f}" if plain else "",
                f"{median(runs, 'downtime') * 1000:.0f}",
                f"{median(runs, 'link_bytes') / 1e6:.0f}",
                f"{median(runs, 'cpu'):.2f}",
                *(f"{each:.2f}" if each else "" for each in relays),
                f"{peak:.0f}" if peak else "",
            )
        Console(width=120).print(table)


def draw(figures: dict[str, Any], path: Path) -> None:
    """Draw the migration's time for each link and method."""
    from matplotlib.figure import Figure

    links = list(figures["runs"])
    figure = Figure(figsize=(10, 1.2 + 2.4 * len(links)), layout="constrained")
    for axes, link in zip(figure.subplots(len(links), squeeze=False)[:, 0], links, strict=True):
        methods = figures["runs"][link]
        times = [median(runs, "seconds") for runs in methods.values()]
        colours = ["#0072b2" if each.startswith("gateway") else "#999999" for each in methods]
        bars = axes.barh(list(methods), times, color=colours)
        axes.bar_label(bars, [f"{each:.1f} s" for each in times], padding=3)
        axes.invert_yaxis()
        axes.set_title(f"link {link}", loc="left")
        axes.set_xlim(0, max(times) * 1.12)
    axes.set_xlabel(f"seconds to migrate a guest with {figures['mib']} MiB of programs")
    figure.savefig(path)


if __name__ == "__main__":
    sys.exit(main())
