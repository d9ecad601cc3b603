"""File objects beside the bare codecs, and ``multifd compress`` beside pigz.

    python benchmarks/files.py

*File* is `codecs_core.open` with 2 threads, writing to a file in memory (/dev/shm) and reading it
again. *Bare* is the codec's work alone, by as many threads that each pack a piece and write it to
such a file in whatever order, or read a member whose place is known and decode it. *Theirs* are
files that gzip, zstd and lz4 wrote, of one member, which one thread can decode: `codecs_core.open`
with 2 threads, beside the decompressor of the codec's library, reading such a file in one. *pigz*
is ``pigz -p 2``, a process like ``multifd compress -p 2``, at the level whose ratio comes nearest
to ours. Each round measures all sides, one after the other; a quotient is the median of the rounds'
quotients. Rates are bytes of plain data a second.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import lz4.frame
import zstandard
from data import real_pages
from isal import igzip_lib
from rich.console import Console
from rich.table import Table

from codecs_core import get_codec
from codecs_core.codec import Codec
from codecs_core.file_format import Member
from codecs_core.stream import open as open_file

THREADS = 2
MIB = 1 << 20
CODECS = (
    *(("qatzip", 1), ("qatzip", 6), ("zlib", 1), ("zlib", 6)),
    *(("zstd", 1), ("zstd", 3), ("lz4", 0)),
)
THEIRS = (
    ("qatzip", ("gzip", "-1")),
    ("zstd", ("zstd", "-1", "-q")),
    ("lz4", ("lz4", "-1", "-q")),
)
CHUNK = 128 << 10
PIGZ = (1, 2, 3, 6, 9)
OURS = (1, 4, 6, 9)


def main() -> int:
    """Measure, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mib", type=int, default=128, help="MiB of data (default 128)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds (default 5)")
    parser.add_argument("--json", type=Path, help="write all figures here, too")
    parser.add_argument("--only", choices=("bare", "theirs", "pigz"), help="one of the tables")
    parser.add_argument("--cpu", action="store_true", help="take CPU time, where others work too")
    options = parser.parse_args()
    with real_pages(options.mib * MIB) as pages:
        data = bytes(pages)
    figures: dict[str, Any] = {
        "threads": THREADS,
        "cpus": os.cpu_count(),
        "mib": options.mib,
        "cpu": options.cpu,
    }
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="files-") as name:
        place = Path(name)
        if options.only in (None, "bare"):
            figures["bare"] = [
                beside_bare(
                    get_codec(codec, level=level), data, place, options.rounds, cpu=options.cpu
                )
                for codec, level in CODECS
            ]
        if options.only in (None, "theirs"):
            figures["theirs"] = [
                beside_decompressor(name, tool, data, place, options.rounds, cpu=options.cpu)
                for name, tool in THEIRS
                if shutil.which(tool[0])
            ]
        if options.only in (None, "pigz"):
            if shutil.which("pigz") is None:
                sys.exit("pigz is not here; remedy: apt install pigz")
            figures["pigz"] = beside_pigz(data, place, options.rounds, cpu=options.cpu)
    show(figures)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")
    return 0


# In one process: our files and the codecs they are made of.


def beside_bare(
    codec: Codec, data: bytes, place: Path, rounds: int, *, cpu: bool
) -> dict[str, Any]:
    """Write and read a file, and do the codec's part of that alone."""
    path = place / "file"
    size = codec.file_packer().piece_size
    view = memoryview(data)
    pieces = [view[at : at + size] for at in range(0, len(data), size)]
    write(codec, data, path)
    works: dict[str, Callable[[], object]] = {
        "write": partial(write, codec, data, path),
        "bare write": partial(pack_all, codec, pieces, place / "bare"),
        "read": partial(read, codec, path),
    }
    members = list(measured(codec, path.read_bytes()))
    if members:
        works["bare read"] = partial(decode_all, codec, members, path)
    runs = [
        {name: len(data) / timed(work, cpu=cpu) for name, work in works.items()}
        for _ in range(rounds)
    ]
    row = summary(runs, ("write", "bare write"), ("read", "bare read"))
    return {
        "codec": codec.name,
        "level": getattr(codec, "level", None),
        "ratio": len(data) / path.stat().st_size,
        **row,
    }


def write(codec: Codec, data: bytes, path: Path) -> None:
    view = memoryview(data)
    with open_file(path, "wb", codec, threads=THREADS) as writer:
        for at in range(0, len(data), 4 * MIB):
            writer.write(view[at : at + 4 * MIB])


def read(codec: Codec, path: Path) -> None:
    with open_file(path, "rb", codec, threads=THREADS) as reader:
        while reader.read1():
            pass


def pack_all(codec: Codec, pieces: Sequence[memoryview], path: Path) -> None:
    packer = codec.file_packer()
    with path.open("wb", buffering=0) as file:
        in_threads(lambda piece: file.write(packer.pack(piece)), pieces)
    packer.close()


def decode_all(codec: Codec, members: Sequence[tuple[int, Member]], path: Path) -> None:
    with path.open("rb") as file:

        def decode(place: tuple[int, Member]) -> None:
            at, member = place
            data = os.pread(file.fileno(), member.size, at)
            codec.decompress_member(memoryview(data), member.length)

        in_threads(decode, members)


def measured(codec: Codec, file: bytes) -> Iterator[tuple[int, Member]]:
    """Where the members of a file begin, and their sizes, where they can be measured."""
    at = 0
    while at < len(file):
        member = codec.measure(lambda offset, size, at=at: file[at + offset : at + offset + size])
        if member is None:
            return
        yield at, member
        at += member.size


def in_threads(work: Callable[[Any], object], parts: Sequence[Any]) -> None:
    """Do all parts, each thread the next one."""
    queue = iter(parts)
    lock = threading.Lock()

    def run() -> None:
        while True:
            with lock:
                part = next(queue, None)
            if part is None:
                return
            work(part)

    threads = [threading.Thread(target=run) for _ in range(THREADS)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()


def beside_decompressor(
    name: str, tool: Sequence[str], data: bytes, place: Path, rounds: int, *, cpu: bool
) -> dict[str, Any]:
    """Read a file of a tool, and do the decompressor's part of that alone."""
    codec = get_codec(name)
    source, path = place / "plain", place / "theirs"
    source.write_bytes(data)
    run([*tool, "-c", str(source)], path)
    works: dict[str, Callable[[], object]] = {
        "read": partial(read, codec, path),
        "bare read": partial(decompress, name, path),
    }
    runs = [
        {what: len(data) / timed(work, cpu=cpu, share=1) for what, work in works.items()}
        for _ in range(rounds)
    ]
    row = summary(runs, ("read", "bare read"))
    return {"tool": " ".join(tool), "ratio": len(data) / path.stat().st_size, **row}


def decompress(name: str, path: Path) -> None:
    with path.open("rb", buffering=0) as file:
        if name == "zstd":
            frame = zstandard.ZstdDecompressor().decompressobj()
            while data := file.read(CHUNK):
                frame.decompress(data)
            return
        member = (
            lz4.frame.LZ4FrameDecompressor()
            if name == "lz4"
            else igzip_lib.IgzipDecompressor(igzip_lib.DECOMP_GZIP)
        )
        while not member.eof:
            member.decompress(file.read(CHUNK) if member.needs_input else b"", 2 * CHUNK)


# As processes: our commands and pigz.


def beside_pigz(data: bytes, place: Path, rounds: int, *, cpu: bool) -> list[dict[str, Any]]:
    """Each of our levels, and pigz at the level whose ratio is nearest."""
    source, ours, theirs = place / "plain", place / "ours.gz", place / "theirs.gz"
    source.write_bytes(data)
    multifd = str(Path(sys.executable).with_name("multifd"))

    def compress(level: int) -> float:
        options = ("--multifd-compression", "qatzip", "--multifd-qatzip-level", str(level))
        run([multifd, "compress", "-c", "-p", str(THREADS), *options, str(source)], ours)
        return len(data) / ours.stat().st_size

    def pigz(level: int) -> float:
        run(["pigz", f"-{level}", "-c", "-p", str(THREADS), str(source)], theirs)
        return len(data) / theirs.stat().st_size

    ratios = {level: pigz(level) for level in PIGZ}
    rows = []
    for level in OURS:
        ratio = compress(level)
        match = min(PIGZ, key=lambda each: abs(ratios[each] - ratio))
        pigz(match)
        works = {
            "write": partial(compress, level),
            "pigz write": partial(pigz, match),
            "read": partial(
                run, [multifd, "decompress", "-c", "-p", str(THREADS), str(ours)], place / "out"
            ),
            "pigz read": partial(
                run, ["pigz", "-dc", "-p", str(THREADS), str(theirs)], place / "out"
            ),
        }
        runs = [
            {name: len(data) / timed(work, cpu=cpu) for name, work in works.items()}
            for _ in range(rounds)
        ]
        row = summary(runs, ("write", "pigz write"), ("read", "pigz read"))
        rows.append(
            {
                "level": level,
                "ratio": ratio,
                "pigz level": match,
                "pigz ratio": ratios[match],
                **row,
            }
        )
    return rows


def run(command: list[str], output: Path) -> None:
    with output.open("wb") as sink:
        subprocess.run(command, stdout=sink, check=True)


def timed(work: Callable[[], object], *, cpu: bool, share: int = THREADS) -> float:
    """Seconds; by ``cpu`` those of all processors, shared out among so many."""
    clock = partial(processors, share) if cpu else time.perf_counter
    started = clock()
    work()
    return clock() - started


def processors(share: int) -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used) / share


def summary(runs: list[dict[str, float]], *pairs: tuple[str, str]) -> dict[str, Any]:
    """Medians, and for each pair the quotients of the rounds: median, least, greatest."""
    row: dict[str, Any] = {name: statistics.median(run[name] for run in runs) for name in runs[0]}
    for mine, other in pairs:
        if other in runs[0]:
            each = sorted(run[mine] / run[other] for run in runs)
            row[f"{mine} quotient"] = [statistics.median(each), each[0], each[-1]]
    return row


def show(figures: dict[str, Any]) -> None:
    """Print the tables."""
    console = Console()
    for name, title in (
        ("bare", "codecs_core.open beside the bare codec, MB/s"),
        ("theirs", "codecs_core.open beside one decompressor, MB/s"),
        ("pigz", "multifd compress beside pigz, MB/s"),
    ):
        if name not in figures:
            continue
        rows = figures[name]
        clock = ", by CPU time" if figures["cpu"] else ""
        table = Table(title=f"{title}; {figures['threads']} threads{clock}")
        heads = [each for each in rows[0] if not isinstance(rows[0][each], list)]
        quotients = [each for each in ("write quotient", "read quotient") if each in rows[0]]
        for head in [*heads, *quotients]:
            table.add_column(head, justify="right")
        for row in rows:
            cells = [cell(head, row.get(head)) for head in heads]
            for what in quotients:
                quotient = row.get(what)
                cells.append("{:.2f} ({:.2f}-{:.2f})".format(*quotient) if quotient else "")
            table.add_row(*cells)
        console.print(table)


def cell(head: str, value: Any) -> str:
    if value is None:
        return ""
    if "ratio" in head:
        return f"{value:.2f}"
    return f"{value / 1e6:.0f}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    sys.exit(main())
