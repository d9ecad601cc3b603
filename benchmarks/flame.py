"""Where the time of a transfer goes, as a flame graph: of Python, of native code, of the system's.

    python benchmarks/flame.py --codec zstd --plot flame.svg
    python benchmarks/flame.py --codec zstd --python THIS --beside THAT --plot flame.svg

A sender and a receiver, each a process, 2 channels, TCP on this host, sampled by `perf` while they
use a CPU. Python tells perf the names of its functions from 3.12 on, and perf finds callers by
frame pointers: ``--python`` is a Python with the engine and the codec, built with them, as Ubuntu's
are from 24.04 on; samples whose callers it cannot find are counted as lost. ``--beside`` is one
with another engine, which moves the same pages. What a GB takes of CPU is measured without perf,
in rounds in turns, and is the picture's scale.
"""

from __future__ import annotations

import argparse
import json
import mmap
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from rich.console import Console
from rich.table import Table

from codecs_core import Receiver, Sender

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MIB = 1 << 20
CHANNELS = 2
ENDS = ("sender", "receiver")
LOOPS = ("SendingChannel.send_round", "ReceivingChannel.run")
"""What is above the channels' loops is the same in every sample."""
FRAME = re.compile(r"\s+[0-9a-f]+ (?P<name>.+) \((?P<where>.*)\)$")
INTERPRETER = re.compile(r"(^|/)(lib)?python[^/]*$")
DULL = {"entry_SYSCALL_64_after_hwframe", "do_syscall_64", "x64_sys_call", "asm_exc_page_fault"}
PARTS = {
    "codec": ("encode", "decode_into"),
    "pages": ("scan", "gather", "store", "check", "contiguous"),
    "checksum": ("of_pages", "check_pages", "check_header", "seal"),
    "socket": ("send", "receive_into"),
}
"""Part of the work → the functions whose native frames do it; all else is Python."""
COLOURS = {
    "codec": "#e69f00",
    "pages": "#009e73",
    "checksum": "#cc79a7",
    "socket": "#56b4e9",
    "Python": "#d0d0d0",
    "lost": "#f0f0f0",
}
PYTHON, LOST = "Python", "lost"
SOCKET_CALLS = ("__sys_recv", "__sys_send", "__x64_sys_recv", "__x64_sys_send")
DEPTH = 13
"""Functions on top of more than these are drawn as theirs."""
PART = {function: part for part, functions in PARTS.items() for function in functions}
LEAST = 0.006
"""Frames below this part of the picture's width are not drawn."""
LETTERS = 165
"""So many letters fit the picture's width."""


CAN = """
import sys
if sys.version_info < (3, 12):
    sys.exit("tells perf nothing, it is older than 3.12; give another with --python")
from codecs_core import get_codec
get_codec(sys.argv[1])
"""
"""Whether a Python and its engine can be measured with a codec."""

Spent: TypeAlias = dict[tuple[str, str], list[float]]
"""End and engine → the CPU seconds of a GB, of each round."""
Stacks: TypeAlias = "dict[tuple[str, str], Frame]"


def main() -> int:
    """Measure, draw, and print the shares."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--codec", default="zstd", help="by which to send (default zstd)")
    parser.add_argument("--data", default="guest", help="what is sent, see data.py (default guest)")
    parser.add_argument("--mib", type=int, default=256, help="MiB of pages (default 256)")
    parser.add_argument("--times", type=int, default=8, help="how often they are sent (default 8)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds without perf (default 3)")
    parser.add_argument("--rate", type=int, default=997, help="samples a second (default 997)")
    parser.add_argument("--python", type=Path, default=Path(sys.executable), help="see above")
    parser.add_argument("--beside", type=Path, metavar="PYTHON", help="with another engine, too")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw it into FILE.svg")
    parser.add_argument("--end", choices=ENDS, help=argparse.SUPPRESS)
    parser.add_argument("--pages", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--address", help=argparse.SUPPRESS)
    parser.add_argument("--traced", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.end:
        be_an_end(options)
        return 0
    # An end may be of another engine, which need not have these.
    from data import SETS, write

    from codecs_core.cli.plotting import check_plot, save_plot
    from codecs_core.errors import CodecsCoreError

    if options.plot:
        try:
            check_plot(options.plot)
        except CodecsCoreError as error:
            parser.error(str(error))
    if shutil.which("perf") is None:
        parser.error("needs perf: apt install linux-perf")
    for python in filter(None, (options.python, options.beside)):
        if shutil.which(python) is None:
            parser.error(f"{python} is no program")
        asked = [python, "-c", CAN, options.codec]
        answer = subprocess.run(asked, capture_output=True, text=True, check=False)
        if answer.returncode:
            parser.error(f"{python}: {answer.stderr.strip().splitlines()[-1]}")

    if options.data not in SETS:
        parser.error(f"--data {options.data}: there are {', '.join(SETS)}")
    with tempfile.TemporaryDirectory(dir="/dev/shm") as place:
        options.pages = Path(place, "pages")
        write(options.data, options.mib * MIB, options.pages)
        engines = {"now": options.python}
        if options.beside:
            engines = {"before": options.beside, "after": options.python}
        cpu: Spent = {}
        for _ in range(options.rounds):
            for name, python in engines.items():
                for end, seconds in transfer(options, python).items():
                    cpu.setdefault((end, name), []).append(seconds)
        stacks: Stacks = {}
        for name, python in engines.items():
            traces = {end: Path(place, end) for end in ENDS}
            transfer(options, python, traces)
            stacks |= {(end, name): read(script(trace)) for end, trace in traces.items()}
    show(options.codec, cpu, stacks)
    if options.plot:
        save_plot(draw(options.codec, cpu, stacks), options.plot)
    return 0


def be_an_end(options: argparse.Namespace) -> None:
    """Send or receive, and print the CPU seconds of a GB."""
    size = options.mib * MIB
    if options.traced:
        sys.activate_stack_trampoline("perf")  # type: ignore[attr-defined, unused-ignore]
    if options.end == "sender":
        with (
            options.pages.open("rb") as file,
            mmap.mmap(
                file.fileno(), size, mmap.MAP_SHARED | mmap.MAP_POPULATE, mmap.PROT_READ
            ) as pages,
            Sender(options.address, codec=options.codec, channels=CHANNELS) as sender,
        ):
            sender.add_block("pages", pages)
            started = time.process_time()
            for _ in range(options.times):
                sender.send()
            sender.finish()
            spent = time.process_time() - started
    else:
        with Receiver("tcp:127.0.0.1:0") as receiver:
            flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | mmap.MAP_POPULATE
            receiver.add_block("pages", mmap.mmap(-1, size, flags))
            print(receiver.address, flush=True)
            started = time.process_time()
            receiver.receive()
            spent = time.process_time() - started
    print(json.dumps(spent / (size * options.times / 1e9)), flush=True)


def transfer(
    options: argparse.Namespace, python: Path, traces: dict[str, Path] | None = None
) -> dict[str, float]:
    """Run both ends, and return the CPU seconds of a GB of each; perf writes ``traces``."""
    with ExitStack() as running:

        def start(end: str, *more: str) -> subprocess.Popen[str]:
            command = [
                str(python), __file__, "--end", end, "--codec", options.codec,
                "--mib", str(options.mib), "--times", str(options.times),
                "--pages", str(options.pages), *more,
            ]  # fmt: skip
            if traces:
                record = ["perf", "record", "--quiet", "-e", "cpu-clock", "-F", str(options.rate)]
                record += ["--call-graph", "fp", "-o", str(traces[end]), "--"]
                command = [*record, *command, "--traced"]
            process = running.enter_context(
                subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
            )
            running.callback(_end, process)
            return process

        receiver = start("receiver")
        assert receiver.stdout is not None
        address = receiver.stdout.readline().strip()
        if not address:
            raise SystemExit("the receiver has failed")
        sender = start("sender", "--address", address)
        found = {}
        for end, process in (("sender", sender), ("receiver", receiver)):
            said = process.communicate()[0]
            if process.returncode:
                raise SystemExit(f"the {end} has failed")
            found[end] = float(said)
        return found


def _end(process: subprocess.Popen[str]) -> None:
    """End an end together with its perf, where it has not ended by itself."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)


@dataclass
class Frame:
    """A function, where it was called: how many samples found a thread there, and its callees."""

    name: str
    part: str
    samples: int = 0
    callees: dict[tuple[str, str], Frame] = field(default_factory=dict)

    @property
    def depth(self) -> int:
        """How many functions are on top of each other, this one included."""
        return 1 + max((each.depth for each in self.callees.values()), default=0)


def script(trace: Path) -> str:
    """Have perf print its samples, and take away the names that Python has left for it."""
    command = ["perf", "script", "--no-inline", "-F", "pid,tid,ip,sym,dso", "-i", str(trace)]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    for process in set(re.findall(r"^ *(\d+)/", text, re.MULTILINE)):
        Path(f"/tmp/perf-{process}.map").unlink(missing_ok=True)
    return text


def read(text: str) -> Frame:
    """Join the stacks of the channels' threads."""
    root = Frame("", PYTHON)
    stray: dict[str, list[list[re.Match[str]]]] = {}
    channels = set()
    for sample in text.strip().split("\n\n"):
        thread, *lines = sample.strip().splitlines()
        # The caller first; perf has it last.
        frames = [found for line in reversed(lines) if (found := FRAME.match(line))]
        loop = next((n for n, each in enumerate(frames) if _name(each) in LOOPS), None)
        if loop is None:
            stray.setdefault(thread, []).append(frames)
        else:
            channels.add(thread)
            _add(root, frames[loop:], PYTHON)
    for frames in (each for thread in channels for each in stray.get(thread, ())):
        calls = [each for each in frames if each["name"].startswith(SOCKET_CALLS)]
        lost = root.callees.setdefault((LOST, LOST), Frame(LOST, LOST))
        if calls:
            # The C library's own functions have no frame pointers; what they do is known.
            _add(root, frames[frames.index(calls[0]) :], "socket")
        else:
            lost.samples += 1
            root.samples += 1
    return root


def _name(frame: re.Match[str]) -> str:
    """A function, without the file that Python names with it."""
    return frame["name"].removeprefix("py::").partition(":/")[0]


def _add(root: Frame, frames: list[re.Match[str]], part: str) -> None:
    """Add one stack."""
    frame = root
    frame.samples += 1
    depth = 0
    for each in frames:
        name = _name(each)
        key = (name, part)
        if each["name"].startswith("py::"):
            part = PART.get(name.rpartition(".")[2], part)
            key = (name, PYTHON)
        elif INTERPRETER.search(each["where"]) and name != "take_gil":
            # The interpreter's own functions are the Python function's that they work for.
            continue
        elif name.startswith("[unknown"):
            key = (each["where"].rpartition("/")[2].partition(".")[0], part)
        if name in DULL or key == (frame.name, frame.part):
            continue
        depth += 1
        if depth > DEPTH:
            break
        frame = frame.callees.setdefault(key, Frame(*key))
        frame.samples += 1


def shares(root: Frame) -> dict[str, float]:
    """Each part of the work's share of the samples."""
    found: Counter[str] = Counter()

    def add(frame: Frame) -> None:
        found[frame.part] += frame.samples - sum(f.samples for f in frame.callees.values())
        for each in frame.callees.values():
            add(each)

    add(root)
    return {part: found[part] / max(1, root.samples) for part in COLOURS}


def show(codec: str, cpu: Spent, stacks: Stacks) -> None:
    """Print what a GB takes, and the shares."""
    table = Table(title=f"{codec}: CPU seconds a GB, and what they go to")
    for column in ("end", "engine", "s/GB", "spread", *COLOURS, "samples"):
        table.add_column(column, justify="right")
    for (end, name), root in stacks.items():
        spent = cpu[end, name]
        table.add_row(
            end, name, f"{statistics.median(spent):.2f}", f"{min(spent):.2f} to {max(spent):.2f}",
            *(f"{share:.0%}" for share in shares(root).values()), str(root.samples),
        )  # fmt: skip
    Console(width=110).print(table)


def draw(codec: str, cpu: Spent, stacks: Stacks) -> Figure:
    """A panel for each end and engine; all of them have the same scale."""
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    scale = max(statistics.median(spent) for spent in cpu.values())
    heights = [root.depth for root in stacks.values()]
    picture = Figure(
        figsize=(11, 0.19 * sum(heights) + 0.5 * len(heights) + 0.8), layout="constrained"
    )
    panels = picture.subplots(len(stacks), squeeze=False, height_ratios=heights)[:, 0]
    for axes, ((end, name), root) in zip(panels, sorted(stacks.items(), reverse=True), strict=True):
        seconds = statistics.median(cpu[end, name])
        axes.set_title(f"{end}, {name}: {seconds:.2f} s of CPU a GB", loc="left", fontsize="medium")
        axes.set(xlim=(0, scale), ylim=(0, root.depth - 1), yticks=[])
        axes.spines[["left", "right", "top"]].set_visible(False)
        axes.tick_params(labelsize="small")
        at = 0.0
        for each in root.callees.values():
            at += _draw(axes, each, at, 0, seconds / root.samples, scale)
    panels[-1].set_xlabel(f"{codec}: CPU seconds a GB of pages")
    legend = [Patch(color=colour, label=part) for part, colour in COLOURS.items()]
    picture.legend(handles=legend, ncols=len(legend), loc="outside upper right", frameon=False)
    return picture


def _draw(axes: Axes, frame: Frame, at: float, level: int, second: float, scale: float) -> float:
    """Draw a frame and what it called; return its width. ``second`` is what a sample stands for."""
    width = frame.samples * second
    if width < LEAST * scale:
        return width
    axes.barh(
        level + 0.5, width, 0.94, at, color=COLOURS[frame.part], edgecolor="white", linewidth=0.5
    )
    room = int(width / scale * LETTERS)
    if room >= 3:
        text = frame.name if len(frame.name) <= room else frame.name[: room - 1] + "…"
        axes.text(at + 0.002 * scale, level + 0.5, text, va="center", fontsize=6.5)
    beside = at
    for each in sorted(frame.callees.values(), key=lambda callee: callee.name):
        beside += _draw(axes, each, beside, level + 1, second, scale)
    return width


if __name__ == "__main__":
    sys.exit(main())
