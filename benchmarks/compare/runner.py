"""Runs a plan: rounds in turns, every result written down at once."""

from __future__ import annotations

import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from benchmarks import data
from benchmarks.compare.groups import Group, Row
from benchmarks.compare.link import Links, open_links
from benchmarks.compare.run import Missing, Scene
from benchmarks.links import ADDRESS
from benchmarks.migration import QEMU
from codecs_core.transport.authority import issue, make_authority

MIB = 1 << 20
SHARED_MEMORY = Path("/dev/shm")
ATTEMPTS = 2
"""How often a row may fail before it is left out."""


@dataclass(frozen=True)
class Settings:
    """How much each row moves, how often, and where its files are."""

    mib: int
    rounds: int
    place: Path | None = None

    def mib_of(self, group: Group) -> int:
        """How much each row of a group moves."""
        return group.mib or self.mib * group.times


@dataclass(frozen=True)
class Outcome:
    """A run, or why there is none; `final`: nor will there be."""

    run: dict[str, Any] | None = None
    why: str = ""
    final: bool = False


class Results:
    """What has been measured, as it is written to the results file."""

    def __init__(self, groups: list[Group], settings: Settings) -> None:
        self.figures: dict[str, Any] = {
            "machine": machine(),
            "settings": {"mib": settings.mib, "rounds": settings.rounds},
            "groups": [
                {
                    "section": group.section,
                    "name": group.name,
                    "data": group.data,
                    "link": group.link,
                    "mib": settings.mib_of(group),
                    "rows": [
                        {"name": row.name, "series": row.series, "x": row.x, "runs": [], "why": ""}
                        for row in group.rows
                    ],
                    "promises": [asdict(each) for each in group.promises],
                }
                for group in groups
            ],
        }

    def add(self, group: int, row: int, run: dict[str, Any] | None, why: str = "") -> None:
        """Add a run, or why there is none."""
        found = self.figures["groups"][group]["rows"][row]
        found["runs"].append(run)
        found["why"] = why or found["why"]

    def write(self, path: Path | None) -> None:
        """Write all of it; the file is whole at any time."""
        if path is None:
            return
        partial = path.with_name(f"{path.name}.partial")
        partial.write_text(json.dumps(self.figures, indent=1) + "\n")
        partial.replace(path)


def measure(
    groups: list[Group], settings: Settings, path: Path | None, say: Callable[[str], None]
) -> dict[str, Any]:
    """Run all rounds; return the figures, which also stand in the file at ``path``."""
    results = Results(groups, settings)
    started = time.monotonic()
    folder = settings.place or (SHARED_MEMORY if SHARED_MEMORY.is_dir() else None)
    with (
        tempfile.TemporaryDirectory(prefix="multifd-compare-", dir=folder) as name,
        open_links() as links,
    ):
        stage = _Stage(Path(name), links, settings)
        take_turns(groups, settings.rounds, stage.run, results, path, say)
    results.figures["start"] = start()
    results.figures["seconds"] = time.monotonic() - started
    results.write(path)
    return results.figures


def take_turns(
    groups: list[Group],
    rounds: int,
    run: Callable[[Group, Row], Outcome],
    results: Results,
    path: Path | None,
    say: Callable[[str], None],
) -> None:
    """Run every group in every round; write the results file after each round."""
    failures: Counter[tuple[int, int]] = Counter()
    started = time.monotonic()
    for number in range(rounds):
        for at, group in enumerate(groups):
            if number >= (group.rounds or rounds):
                continue
            # Who goes first finds the caches as another group left them: take turns.
            first = number % len(group.rows)
            for where in (*range(first, len(group.rows)), *range(first)):
                row = group.rows[where]
                if failures[at, where] >= ATTEMPTS:
                    results.add(at, where, None)
                    continue
                found = run(group, row)
                if found.why:
                    failures[at, where] += ATTEMPTS if found.final else 1
                results.add(at, where, found.run, found.why)
                shown = found.why
                if found.run is not None:
                    shown = f"{found.run['size'] / found.run['seconds'] / 1e6:.0f} MB/s"
                clock = f"{time.monotonic() - started:5.0f} s {number + 1}/{rounds}"
                say(f"{clock} {group.section}/{group.name}/{row.name}: {shown}")
        results.write(path)


class _Stage:
    """Sets the scene of each row: its data, its link, its certificates."""

    def __init__(self, place: Path, links: Links, settings: Settings) -> None:
        self._place = place
        self._links = links
        self._settings = settings
        self._certificates = place / "certificates"
        make_authority(self._certificates)
        issue(self._certificates, "server", ["127.0.0.1", ADDRESS])
        issue(self._certificates, "client", ["sender"])

    def run(self, group: Group, row: Row) -> Outcome:
        """Run a row; whatever befalls one contender, the others go on."""
        try:
            return Outcome(row.contender.run(self._scene(group)).as_dict())
        except (Missing, PermissionError) as error:
            return Outcome(why=str(error), final=True)
        except Exception as error:
            return Outcome(why=f"failed: {error or type(error).__name__}")

    def _scene(self, group: Group) -> Scene:
        mib = self._settings.mib_of(group)
        return Scene(
            self._data(group.data, group.file_mib or mib),
            mib * MIB,
            self._links.get(group.link),
            self._place,
            self._certificates,
        )

    def _data(self, kind: str, mib: int) -> Path:
        """The file of a set, written when it is first wanted."""
        folder = self._place / kind
        folder.mkdir(exist_ok=True)
        path = folder / f"{mib}"
        if not path.exists():
            data.write(kind, mib * MIB, path)
        return path


def machine() -> dict[str, Any]:
    """Where it was measured, what else it did then, and by which versions."""
    with open("/proc/cpuinfo") as file:
        model = next((line.split(":")[1].strip() for line in file if "model name" in line), "")
    return {
        "date": datetime.now().astimezone().date().isoformat(),
        "cpu": model or platform.machine(),
        "cpus": len(os.sched_getaffinity(0)),
        "load": os.getloadavg()[0],
        "kernel": platform.release(),
        "python": platform.python_version(),
        "versions": {
            "QEMU": _says(QEMU, "--version"),
            "iperf3": _says("iperf3", "--version"),
            "zstd": _says("zstd", "--version"),
            "pigz": _says("pigz", "--version"),
            "lz4": _says("lz4", "--version"),
            "mbuffer": _says("mbuffer", "--version"),
            "rclone": _says("rclone", "version"),
        },
        "commit": _says("git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"),
    }


def _says(*command: str) -> str:
    """The first line of what a command says of itself; nothing where it fails."""
    if shutil.which(command[0]) is None:
        return ""
    with suppress(subprocess.SubprocessError):
        done = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=10,
            check=False,
        )  # fmt: skip
        return "" if done.returncode else next(iter(done.stdout.strip().splitlines()), "")
    return ""


def start() -> dict[str, float]:
    """Seconds that importing takes beyond the interpreter's start, and the command's help."""
    multifd = str(Path(sys.executable).with_name("multifd"))
    commands = {
        "python": [sys.executable, "-c", "pass"],
        "import": [sys.executable, "-c", "import codecs_core"],
        "help": [multifd, "--help"],
    }
    runs = {
        name: statistics.median(_timed(command) for _ in range(9))
        for name, command in commands.items()
    }
    return {"import": runs["import"] - runs["python"], "help": runs["help"]}


def _timed(command: list[str]) -> float:
    started = time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - started
