"""A double of a library, preloaded: what a device does too seldom, played on purpose."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import dedent
from typing import Any

__all__ = ["PRELUDE", "Double", "Outcome", "compile_double", "environment_with"]

PRELUDE = """
import ctypes, json, logging, sys
from codecs_core import get_codec
from codecs_core.codec import Geometry
from codecs_core.errors import *
from codecs_core.testing.data import sample

outstanding = ctypes.CDLL(None).double_outstanding
pages = sample("memory", 512 << 10, 1)
packets = [pages[4096 * n :] + pages[: 4096 * n] for n in range(12)]

def encode(codec, packets):
    with codec.encoder() as encoder:
        return [bytes(encoder.encode(memoryview(p))) for p in packets], dict(encoder.statistics())

def decode(codec, payloads, size=512 << 10):
    with codec.decoder() as decoder:
        result = []
        for payload in payloads:
            packet = bytearray(size)
            decoder.decode_into(memoryview(payload), memoryview(packet))
            result.append(bytes(packet))
        return result, dict(decoder.statistics())

"""
"""What scripts find: twelve ``packets``, and the two ways through a codec.

The double has a function ``double_outstanding``: what it gave and did not get back.
"""
_AFTERWARDS = "\nassert outstanding() == 0\n"


class Outcome:
    """What a script printed, as JSON, and what it said on stderr."""

    def __init__(self, result: Any, stderr: str) -> None:
        self.result = result
        self.stderr = stderr
        self.warnings = [line for line in stderr.splitlines() if line.strip()]


def environment_with(library: str, prefix: Path, *, remedy: str) -> dict[str, str]:
    """Return the environment in which pkg-config finds a library: below ``prefix``, or anywhere.

    Where it is missing the test fails, and names the ``remedy``.
    """
    paths = [str(prefix / "lib/pkgconfig"), os.environ.get("PKG_CONFIG_PATH", "")]
    environment = os.environ | {"PKG_CONFIG_PATH": ":".join(filter(None, paths))}
    found = subprocess.run(["pkg-config", "--exists", library], env=environment, check=False)
    assert found.returncode == 0, f"{library} is missing; remedy: {remedy}"
    return environment


def compile_double(
    source: Path, target: Path, library: str, *flags: str, environment: Mapping[str, str]
) -> None:
    """Compile a double against the header of ``library``, which pkg-config finds."""
    found = subprocess.run(
        ["pkg-config", "--cflags", library],
        env=environment, capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip
    command = ["cc", "-O2", "-Wall", "-shared", "-fPIC", f"-Wl,-soname,{target.name}"]
    subprocess.run([*command, *found, str(source), *flags, "-o", str(target)], check=True)


@dataclass(frozen=True)
class Double:
    """A compiled double, for the tests of ``codec``; ``variable`` hands it its plan.

    A plan says which of its calls fail, and how; the double defines its words. ``environment`` is
    what the codec needs besides, to meet it.
    """

    codec: str
    library: Path
    variable: str
    environment: Mapping[str, str] = field(default_factory=dict)

    def surroundings(self, plan: str = "") -> dict[str, str]:
        """Return the environment in which a command meets the double."""
        added = {"LD_PRELOAD": str(self.library), self.variable: plan}
        return os.environ | self.environment | added

    def run(self, script: str, plan: str = "") -> Outcome:
        """Run a script, after the `PRELUDE`, in a process of its own; it prints its result as JSON.

        It finds ``device`` and ``software``, the codec with its default backend and that one. It
        must succeed, and give everything back that it took from the double.
        """
        name = repr(self.codec)
        codecs = f"device, software = get_codec({name}), get_codec({name}, backend='software')\n"
        done = subprocess.run(
            [sys.executable, "-c", PRELUDE + codecs + dedent(script) + _AFTERWARDS],
            env=self.surroundings(plan), capture_output=True, text=True, timeout=100, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return Outcome(json.loads(done.stdout), done.stderr)
