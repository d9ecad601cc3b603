"""The engine beside what bounds it: the bare codecs, the link, and its own promises on memory.

Run ``make bench``. Everything a ratio compares is measured in the same run, interleaved, and the
ratio shown is the median of the rounds' ratios: machines are noisy, rounds are neighbours.

*Engine*: one process sends a block of memory to another over TCP on this host, 2 channels.
*Bare*: the codec's work of both ends in the same number of processes and threads, without a link:
2 threads of one process compress every packet while 2 threads of another decompress into place
the payloads that were made before. Both have the host's CPUs to share. Rates are bytes of memory
a second.
"""

from __future__ import annotations

import argparse
import json
import mmap
import os
import statistics
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from codecs_core import (
    Receiver,
    Sender,
    StreamSink,
    StreamSource,
    TlsCredentials,
    codecs,
    get_codec,
)
from codecs_core.codec import DEFAULT_GEOMETRY

ROOT = Path(__file__).parents[1]
CHANNELS = 2
MIB = 1 << 20
PACKET = DEFAULT_GEOMETRY.packet_size
PLACES = ("/usr/lib", "/usr/bin", "/usr/libexec", "/lib")


def main() -> int:
    """Measure, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mib", type=int, default=1024, help="MiB of pages (default 1024)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds (default 5)")
    parser.add_argument("--stream-gib", type=int, default=8, help="GiB of the long stream")
    parser.add_argument("--json", type=Path, help="write all figures here, too")
    parser.add_argument("--codec", action="append", help="only this codec; may be repeated")
    parser.add_argument("--peer", choices=("memory", "stream"), help=argparse.SUPPRESS)
    parser.add_argument("--size", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--tls", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peer:
        receive(options.peer, options.size, tls=options.tls)
        return 0
    names = options.codec or [each.name for each in codecs().listing() if each.codec]
    figures: dict[str, Any] = {"channels": CHANNELS, "cpus": os.cpu_count()}
    with real_pages(options.mib * MIB) as pages:
        figures["codecs"] = measure_codecs(names, pages, options.rounds)
        if "none" in names:
            figures["link"] = measure_link(pages, options.rounds)
        if "zlib" in names:
            figures["zlib"] = measure_zlib(pages, options.rounds)
    figures["memory"] = measure_memory(names[-1], options.stream_gib)
    figures["start"] = measure_start()
    show(figures)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")
    return 0


def real_pages(size: int) -> mmap.mmap:
    """Return pages of this system's programs and shared objects, whole files after each other."""
    memory = mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    filled = 0
    while filled < size:
        before = filled
        for path in _programs():
            data = path.read_bytes()
            whole = min(len(data) // 4096 * 4096, size - filled)
            memory[filled : filled + whole] = data[:whole]
            filled += whole
        if filled == before:
            raise SystemExit("found no programs to take pages from")
    return memory


def _programs() -> Iterator[Path]:
    for place in PLACES:
        for path in sorted(Path(place).rglob("*")):
            if path.is_file() and not path.is_symlink():
                with path.open("rb") as file:
                    if file.read(4) == b"\x7fELF":
                        yield path


def measure_codecs(names: list[str], pages: mmap.mmap, rounds: int) -> dict[str, Any]:
    """Engine beside bare codec."""
    found: dict[str, Any] = {}
    for name in names:
        runs = []
        payloads = prepare(name, pages)
        for _ in range(rounds):
            bare_rate = bare(name, pages, payloads)
            rate, ratio, cpu = engine(name, pages)
            runs.append({"bare": bare_rate, "engine": rate, "ratio": ratio, "cpu": cpu})
        found[name] = summary(runs, "engine", "bare")
    return found


def measure_link(pages: mmap.mmap, rounds: int) -> dict[str, Any]:
    """Without a codec, beside iperf3."""
    runs = [{"iperf3": iperf3(), "engine": engine("none", pages)[0]} for _ in range(rounds)]
    return summary(runs, "engine", "iperf3")


def measure_zlib(pages: mmap.mmap, rounds: int) -> dict[str, Any]:
    """Level 1 of the plugin beside the standard library's, one thread, one stream."""
    view = memoryview(pages)[: 64 * MIB]
    runs = []
    for _ in range(rounds):
        with get_codec("zlib", level=1).encoder() as encoder:
            ours, our_size = _encode(view, encoder.encode)
        stream = zlib.compressobj(1)

        def standard(packet: memoryview, stream: Any = stream) -> bytes:
            return bytes(stream.compress(packet) + stream.flush(zlib.Z_SYNC_FLUSH))

        theirs, their_size = _encode(view, standard)
        runs.append({"plugin": ours, "stdlib": theirs, "kept": their_size / our_size})
    view.release()
    return summary(runs, "plugin", "stdlib")


def _encode(view: memoryview, encode: Callable[[memoryview], Any]) -> tuple[float, int]:
    started, size = time.perf_counter(), 0
    for at in range(0, len(view), PACKET):
        size += len(encode(view[at : at + PACKET]))
    return len(view) / (time.perf_counter() - started), size


def summary(runs: list[dict[str, Any]], ours: str, theirs: str) -> dict[str, Any]:
    """Medians, and the median and spread of the ratios of neighbours."""
    ratios = sorted(run[ours] / run[theirs] for run in runs)
    return {
        **{key: statistics.median(run[key] for run in runs) for key in runs[0]},
        "quotient": statistics.median(ratios),
        "spread": [ratios[0], ratios[-1]],
    }


Payloads = list[list[bytes]]


def prepare(name: str, pages: mmap.mmap) -> Payloads:
    """What the channels' encoders make of ``pages``, by channel."""
    codec = get_codec(name)
    payloads: Payloads = []
    with memoryview(pages) as source:
        for channel in range(CHANNELS):
            with codec.encoder() as encoder:
                payloads.append(
                    [
                        bytes(encoder.encode(source[at : at + PACKET]))
                        for at in range(channel * PACKET, len(source), CHANNELS * PACKET)
                    ]
                )
    return payloads


def bare(name: str, pages: mmap.mmap, payloads: Payloads) -> float:
    """The codec's own rate: compressing here, decompressing in a process beside."""
    codec = get_codec(name)
    start, started = os.pipe()
    child = os.fork()
    if not child:
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | mmap.MAP_POPULATE
        target = memoryview(mmap.mmap(-1, len(pages), flags))

        def decompress(channel: int) -> None:
            with codec.decoder() as decoder:
                places = range(channel * PACKET, len(target), CHANNELS * PACKET)
                for at, payload in zip(places, payloads[channel], strict=True):
                    decoder.decode_into(memoryview(payload), target[at : at + PACKET])

        os.write(started, b"1")
        in_threads(decompress)
        os._exit(0)

    def compress(channel: int) -> None:
        with codec.encoder() as encoder, memoryview(pages) as source:
            for at in range(channel * PACKET, len(source), CHANNELS * PACKET):
                encoder.encode(source[at : at + PACKET])

    os.read(start, 1)
    before = time.perf_counter()
    in_threads(compress)
    _, status = os.waitpid(child, 0)
    seconds = time.perf_counter() - before
    os.close(start)
    os.close(started)
    assert status == 0
    return len(pages) / seconds


def in_threads(work: Callable[[int], None]) -> None:
    """Run ``work`` for every channel at once."""
    threads = [threading.Thread(target=work, args=(each,)) for each in range(CHANNELS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def engine(
    name: str, pages: mmap.mmap, *options: str, **settings: Any
) -> tuple[float, float, float]:
    """Rate, compression ratio, and CPU seconds a GB, of both ends.

    ``options`` are those of the other end, ``settings`` those of the sender.
    """
    with peer("memory", len(pages), *options) as receiver:
        assert receiver.stdout is not None
        address = receiver.stdout.readline().strip()
        with Sender(address, codec=name, channels=CHANNELS, **settings) as sender:
            sender.add_block("pages", pages)
            sender.connect()
            before = time.process_time()
            started = time.perf_counter()
            sender.send()
            done = sender.finish()
            seconds = time.perf_counter() - started
            cpu = time.process_time() - before
        cpu += float(receiver.stdout.readline())
    assert receiver.returncode == 0
    return len(pages) / seconds, done.ratio, cpu / (len(pages) / 1e9)


def peer(kind: str, size: int, *options: str) -> subprocess.Popen[str]:
    """Start the other end."""
    command = [sys.executable, __file__, "--peer", kind, "--size", str(size), *options]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def receive(kind: str, size: int, *, tls: str | None = None) -> None:
    """Be the other end; print the address, then the CPU seconds, or the growth in bytes."""
    with open(os.devnull, "wb", buffering=0) as sink:
        credentials = None if tls is None else TlsCredentials(tls)
        with Receiver("tcp:127.0.0.1:0", tls=credentials) as receiver:
            if kind == "stream":
                receiver.add_block("pages", StreamSink("pages", sink.fileno()))
            else:
                flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | mmap.MAP_POPULATE
                receiver.add_block("pages", mmap.mmap(-1, size, flags))
            print(receiver.address, flush=True)
            before, grown = time.process_time(), peak()
            receiver.receive()
            print(peak() - grown if kind == "stream" else time.process_time() - before)


def iperf3() -> float:
    """What the loopback carries over two connections, in bytes a second."""
    server = subprocess.Popen(["iperf3", "-s", "-1", "-p", "5299"], stdout=subprocess.DEVNULL)
    with server:
        time.sleep(0.3)
        client = subprocess.run(
            ["iperf3", "-c", "127.0.0.1", "-p", "5299", "-P", str(CHANNELS), "-t", "2", "-J"],
            stdout=subprocess.PIPE,
            check=True,
        )
    return float(json.loads(client.stdout)["end"]["sum_received"]["bits_per_second"]) / 8


def measure_memory(codec: str, gib: int) -> list[dict[str, Any]]:
    """By how much both ends grow at most, for a short and a long stream."""
    return [
        dict(zip(("sender", "receiver"), _stream(codec, size), strict=True), codec=codec, size=size)
        for size in (64 * MIB, gib * 1024 * MIB)
    ]


def _stream(codec: str, size: int) -> tuple[int, int]:
    """Send ``size`` bytes through a pipe from a process of its own; return both ends' growth."""
    script = (
        "import sys; from benchmarks.engine import send_stream; "
        "send_stream(sys.argv[1], sys.argv[2])"
    )
    block = b"".join(path.read_bytes() for _, path in zip(range(40), _programs(), strict=False))
    with peer("stream", 0) as receiver:
        assert receiver.stdout is not None
        address = receiver.stdout.readline().strip()
        with subprocess.Popen(
            [sys.executable, "-c", script, address, codec],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
        ) as sender:
            assert sender.stdin is not None
            assert sender.stdout is not None
            for at in range(0, size, len(block)):
                sender.stdin.write(memoryview(block)[: size - at])
            sender.stdin.close()
            sent = int(sender.stdout.readline())
        return sent, int(receiver.stdout.readline())


def send_stream(address: str, codec: str) -> None:
    """Send standard input; print by how many bytes this process grew at most."""
    before = peak()
    with Sender(address, codec=codec, channels=CHANNELS) as sender:
        sender.add_block("pages", StreamSource("pages", sys.stdin.fileno()))
        sender.send()
    print(peak() - before)


def peak() -> int:
    """The most memory that this process has had, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) * 1024


def measure_start() -> dict[str, float]:
    """Seconds that importing and helping take, beyond the interpreter's own start."""
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


def show(figures: dict[str, Any]) -> None:
    """Print what was measured, with what is wanted."""
    table = Table(title=f"2 channels, {figures['cpus']} CPUs, MB/s, medians")
    for column in ("", "ours", "against", "", "quotient", "spread", "wanted", "note"):
        table.add_column(column, no_wrap=True)

    def row(
        what: str, ours: str, theirs: str, found: dict[str, Any], wanted: str, note: str
    ) -> None:
        low, high = found["spread"]
        table.add_row(
            what,
            f"{found[ours] / 1e6:.0f}",
            theirs,
            f"{found[theirs] / 1e6:.0f}",
            f"{found['quotient']:.2f}",
            f"{low:.2f} to {high:.2f}",
            wanted,
            note,
        )

    for name, found in figures["codecs"].items():
        note = f"ratio {found['ratio']:.2f}, {found['cpu']:.2f} CPU s/GB"
        row(name, "engine", "bare", found, "" if name == "none" else "0.95", note)
    if "link" in figures:
        row("none", "engine", "iperf3", figures["link"], "1.00", "")
    if "zlib" in figures:
        found = figures["zlib"]
        row("zlib 1", "plugin", "stdlib", found, "3.00", f"{found['kept']:.3f} of its ratio")
    console = Console(width=120)
    console.print(table)
    limit = CHANNELS * 4 + 40
    for each in figures["memory"]:
        console.print(
            f"memory growth, {each['size'] // MIB} MiB by {each['codec']}: sender "
            f"{each['sender'] / MIB:.1f} MiB, receiver {each['receiver'] / MIB:.1f} MiB "
            f"(wanted: at most {limit})"
        )
    start = figures["start"]
    console.print(
        f"import codecs_core: {start['import'] * 1000:.0f} ms (wanted: below 50); "
        f"multifd --help: {start['help'] * 1000:.0f} ms (wanted: below 200)"
    )


if __name__ == "__main__":
    sys.exit(main())
