"""What people put together from a distribution's packages, and what tells the link's rate."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from benchmarks.compare.chain import Chain, chain
from benchmarks.compare.run import LIMIT, End, Failed, Missing, Run, Scene, need
from benchmarks.processes import cpu_seconds, peak, wait_until_it_listens

PORT = 5299
BUFFER = 512 * 1024


@dataclass(frozen=True)
class Pipe:
    """``near | link | far``: a program that compresses, one that carries, one that decompresses.

    Words of the commands may be ``{data}``, ``{address}``, ``{port}`` and ``{buffer}``. The pages
    come from a file in memory, and what arrives is thrown away, which is less than others do.
    """

    near: Sequence[str]
    far: Sequence[str]

    def run(self, scene: Scene) -> Run:
        """Transfer the data once."""
        near, far = (
            [[word.format(**_words(scene)) for word in each.split()] for each in commands]
            for commands in (self.near, self.far)
        )
        need(*(command[0] for command in (*near, *far)))
        link = scene.link
        with chain(*(link.far_command(*each) for each in far)) as receiving:
            _until_it_listens(receiving, receiving.first)
            before, started = link.carried(), time.perf_counter()
            with chain(*(link.near_command(*each) for each in near)) as sending:
                sent, received = sending.wait(), receiving.wait()
            seconds = time.perf_counter() - started
        return Run(scene.size, seconds, sent, received, link.carried() - before)


def _words(scene: Scene) -> dict[str, str | int]:
    return {
        "data": str(scene.data), "address": scene.link.address, "port": PORT, "buffer": BUFFER
    }  # fmt: skip


def _until_it_listens(waiting: Chain, pid: int, port: int = PORT) -> None:
    try:
        wait_until_it_listens(pid, port)
    except (OSError, TimeoutError) as error:
        raise Failed(f"{error}; {waiting.said()}") from error


SEND = "socat -u -b {buffer} - TCP:{address}:{port}"
TAKE = "socat -u -b {buffer} TCP-LISTEN:{port},reuseaddr -"


def through_socat(compress: str, decompress: str) -> Pipe:
    """A compressor's output through socat."""
    return Pipe((f"{compress} {{data}}", SEND), (TAKE, decompress))


_MBUFFER = "mbuffer -q -s {buffer} -m 32M"


def through_mbuffer(compress: str, decompress: str) -> Pipe:
    """A compressor's output through mbuffer, which has more room between the two than a pipe."""
    return Pipe(
        (f"{compress} {{data}}", f"{_MBUFFER} -O {{address}}:{{port}}"),
        (f"{_MBUFFER} -I {{port}} -o -", decompress),
    )


SOCAT = Pipe(("socat -u -b {buffer} FILE:{data} TCP:{address}:{port}",), (TAKE,))
MBUFFER = Pipe(
    (f"{_MBUFFER} -i {{data}} -O {{address}}:{{port}}",),
    (f"{_MBUFFER} -I {{port}} -o -",),
)


@dataclass(frozen=True)
class Rclone:
    """A file served by HTTP and fetched in parallel ranges, into a file in memory."""

    streams: int = 2

    def run(self, scene: Scene) -> Run:
        """Fetch the data once."""
        need("rclone")
        link, target = scene.link, scene.place / "rclone"
        # Who has the data listens, so it is at the end that has the address.
        serve = link.far_command(
            "rclone", "serve", "http", str(scene.data.parent), "--addr", f"{link.address}:{PORT}",
            "--config", "", "--read-only",
        )  # fmt: skip
        fetch = link.near_command(
            "rclone", "copyto", f":http:{scene.data.name}", str(target), "--config", "",
            "--http-url", f"http://{link.address}:{PORT}", "--retries", "1",
            "--multi-thread-streams", f"{self.streams}", "--multi-thread-cutoff", "1M",
        )  # fmt: skip
        with chain(serve) as serving:
            _until_it_listens(serving, serving.first)
            used, before = cpu_seconds(serving.first), link.carried()
            started = time.perf_counter()
            try:
                with chain(fetch) as fetching:
                    far = fetching.wait()
                seconds = time.perf_counter() - started
                if target.stat().st_size != scene.size:
                    raise Failed(f"{target.stat().st_size} bytes came of {scene.size}")
            finally:
                target.unlink(missing_ok=True)
            near = End(cpu_seconds(serving.first) - used, peak(serving.first))
        return Run(scene.size, seconds, near, far, link.carried() - before)


@dataclass(frozen=True)
class Iperf3:
    """What the link carries over some connections, out of one buffer and into another.

    Before version 3.16 one thread serves all connections of a process, so what two threads could
    carry takes two ``processes``, each with as many ``channels``.
    """

    channels: int = 2
    seconds: float = 2
    processes: int = 1

    def run(self, scene: Scene) -> Run:
        """Measure for a while."""
        need("iperf3")
        link, ports = scene.link, range(PORT, PORT + self.processes)
        with ExitStack() as stack:
            for port in ports:
                command = link.far_command("iperf3", "-s", "-1", "-p", f"{port}")
                serving = stack.enter_context(chain(command))
                _until_it_listens(serving, serving.first, port)
            before = link.carried()
            clients = [self._client(stack, scene, port) for port in ports]
            reports = [_report(each) for each in clients]
            wire = link.carried() - before
        ends = [each["sum_received"] for each in reports]
        seconds = max(float(each["seconds"]) for each in ends)
        near, far = (
            sum(each["cpu_utilization_percent"][f"{side}_total"] for each in reports)
            / 100 * seconds
            for side in ("host", "remote")
        )  # fmt: skip
        size = sum(int(each["bytes"]) for each in ends)
        return Run(size, seconds, End(near), End(far), wire)

    def _client(self, stack: ExitStack, scene: Scene, port: int) -> subprocess.Popen[bytes]:
        client = subprocess.Popen(
            scene.link.near_command(
                "iperf3", "-c", scene.link.address, "-p", f"{port}", "-P", f"{self.channels}",
                "-t", f"{self.seconds}", "-J",
            ),
            stdout=subprocess.PIPE,
        )  # fmt: skip
        stack.enter_context(client)
        stack.callback(client.kill)
        return client


def _report(client: subprocess.Popen[bytes]) -> dict[str, Any]:
    report = json.loads(client.communicate(timeout=LIMIT)[0])
    if client.returncode:
        raise Failed(report.get("error", f"exit status {client.returncode}"))
    end: dict[str, Any] = report["end"]
    return end


@dataclass(frozen=True)
class Absent:
    """Somebody whom the comparison would be with, and why it is not."""

    why: str

    def run(self, scene: Scene) -> Run:
        """Say why."""
        raise Missing(self.why)
