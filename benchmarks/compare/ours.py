"""The engine, and what bounds it on the same host: the bare codec, and copying."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.compare.run import LIMIT, End, Failed, Missing, Run, Scene
from codecs_core import codecs
from codecs_core.codec import DEFAULT_GEOMETRY
from codecs_core.registry import AUTO

ROOT = Path(__file__).parents[2]
MIB = 1 << 20
ENCODED = 64 * MIB
"""What one thread encodes of the data; Python's zlib takes a second for it."""


@dataclass(frozen=True)
class Ours:
    """A `Sender` in one process, a `Receiver` in another; what is not said is their default."""

    codec: str = "none"
    channels: int = 2
    packet: int = DEFAULT_GEOMETRY.packet_size
    parameters: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    tls: bool = False
    stream: bool = False

    def run(self, scene: Scene) -> Run:
        """Transfer the data once."""
        _check(self.codec)
        link = scene.link
        tls = str(scene.certificates) if self.tls else None
        take = {
            "work": "receive", "listen": f"tcp:{link.address}:0", "size": scene.size,
            "stream": self.stream, "tls": tls,
        }  # fmt: skip
        with _worker(link.far_command, take) as receiver:
            give = {
                "work": "send", "address": _line(receiver),
                "data": None if self.stream else str(scene.data), "size": scene.size,
                "codec": self.codec, "channels": self.channels, "packet": self.packet,
                "parameters": self.parameters, "tls": tls, **self.settings,
            }  # fmt: skip
            before = link.carried()
            with self._feeder(scene) as pipe, _worker(link.near_command, give, pipe) as sender:
                near, far = _answer(sender), _answer(receiver)
        return Run(
            scene.size,
            near["seconds"],
            End(**near["end"]),
            End(**far["end"]),
            link.carried() - before,
            near["told"],
        )

    @contextmanager
    def _feeder(self, scene: Scene) -> Iterator[Any]:
        """Standard input: the data again and again, where it is to be a stream."""
        if not self.stream:
            yield subprocess.DEVNULL
            return
        script = 'while cat "$1"; do :; done 2>/dev/null | head -c "$2"'
        command = ["sh", "-c", script, "sh", str(scene.data), str(scene.size)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            try:
                yield process.stdout
            finally:
                process.kill()


@dataclass(frozen=True)
class Bare:
    """The codec alone: see `workers.bare`."""

    codec: str
    threads: int = 2
    parameters: Mapping[str, Any] = field(default_factory=dict)

    def run(self, scene: Scene) -> Run:
        """Compress and decompress the data once."""
        _check(self.codec)
        return _alone(
            scene, "bare", codec=self.codec, threads=self.threads, parameters=self.parameters
        )


@dataclass(frozen=True)
class Copy:
    """memcpy by some threads: see `workers.copy`."""

    threads: int = 2

    def run(self, scene: Scene) -> Run:
        """Copy the data once."""
        return _alone(scene, "copy", threads=self.threads)


@dataclass(frozen=True)
class Encode:
    """zlib by one thread, the plugin's or Python's own: see `workers.encode`."""

    plugin: bool
    level: int = 1

    def run(self, scene: Scene) -> Run:
        """Compress the beginning of the data once."""
        size = min(scene.size, ENCODED)
        return _alone(scene, "encode", size=size, level=self.level, plugin=self.plugin)


def _check(codec: str) -> None:
    found = codecs().get(codec)
    if codec != AUTO and (found is None or not found.codec):
        raise Missing(f"codec {codec} is not installed, or not available")


def _alone(scene: Scene, work: str, *, size: int | None = None, **arguments: Any) -> Run:
    size = size or scene.size
    order = {"work": work, "data": str(scene.data), "size": size, **arguments}
    with _worker(scene.link.near_command, order) as process:
        answer = _answer(process)
    return Run(
        size,
        answer["seconds"],
        End(**answer["near"]),
        End(**answer["far"]),
        told=answer.get("told"),
    )


@contextmanager
def _worker(place: Any, order: dict[str, Any], stdin: Any = subprocess.DEVNULL) -> Iterator[Any]:
    """Start a worker at one end; it is gone in the end."""
    command = place(sys.executable, "-m", "benchmarks.compare.workers", json.dumps(order))
    with subprocess.Popen(
        ["timeout", "--signal=KILL", f"{LIMIT:.0f}", *command], cwd=ROOT, stdin=stdin,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        try:
            yield process
        finally:
            process.terminate()


def _line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None and process.stderr is not None
    line = process.stdout.readline().strip()
    if not line:
        said = process.stderr.read().strip().splitlines()
        raise Failed(said[-1] if said else f"exit status {process.wait()}")
    return line


def _answer(process: subprocess.Popen[str]) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(_line(process))
    return answer
