"""A double of a library, preloaded: what a device does too seldom, played on purpose."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["PRELUDE", "Outcome", "compile_double", "run_script"]

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


class Outcome:
    """What a script printed, as JSON, and what it said on stderr."""

    def __init__(self, result: Any, stderr: str) -> None:
        self.result = result
        self.stderr = stderr
        self.warnings = [line for line in stderr.splitlines() if line.strip()]


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


def run_script(script: str, environment: Mapping[str, str]) -> Outcome:
    """Run a script, after the `PRELUDE`, in a process of its own; it prints its result as JSON.

    It must succeed, and give everything back that it took from the double.
    """
    done = subprocess.run(
        [sys.executable, "-c", PRELUDE + script + "\nassert outstanding() == 0\n"],
        env=environment, capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return Outcome(json.loads(done.stdout), done.stderr)
