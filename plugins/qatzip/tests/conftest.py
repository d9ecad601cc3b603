"""libqatzip for the tests: the real one, and a double whose device does what a plan says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from codecs_core_qatzip.probe import ALWAYS

HERE = Path(__file__).parent
PREFIX = HERE.parents[2] / "build/libqatzip/lib/pkgconfig"


@pytest.fixture(scope="session")
def build_environment() -> dict[str, str]:
    """The environment in which pkg-config finds libqatzip: here, or in the system."""
    paths = [str(PREFIX), os.environ.get("PKG_CONFIG_PATH", "")]
    environment = os.environ | {"PKG_CONFIG_PATH": ":".join(filter(None, paths))}
    environment.pop("ENABLE_QATZIP", None)
    found = subprocess.run(["pkg-config", "--exists", "qatzip"], env=environment, check=False)
    assert found.returncode == 0, "libqatzip is missing; remedy: tools/libqatzip"
    return environment


@pytest.fixture(scope="session")
def build_double(build_environment: dict[str, str]) -> Callable[..., Path]:
    """Build the double in a directory, with these flags of the compiler."""

    def build(place: Path, *flags: str) -> Path:
        library = place / "libqatzip.so.3"
        flags += tuple(
            subprocess.run(
                ["pkg-config", "--cflags", "qatzip"],
                env=build_environment, capture_output=True, text=True, check=True,
            ).stdout.split()
        )  # fmt: skip
        command = ["cc", "-O2", "-shared", "-fPIC", "-Wl,-soname,libqatzip.so.3", *flags]
        subprocess.run([*command, str(HERE / "double.c"), "-lz", "-o", str(library)], check=True)
        return library

    return build


@pytest.fixture(scope="session")
def double(tmp_path_factory: pytest.TempPathFactory, build_double: Callable[..., Path]) -> Path:
    """A shared library that takes libqatzip's place where it is preloaded."""
    return build_double(tmp_path_factory.mktemp("double"))


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

device, software = get_codec("qatzip"), get_codec("qatzip", backend="software")
"""


def on(double: Path, plan: str) -> dict[str, str]:
    """The environment of a process whose libqatzip is the double."""
    added = {"LD_PRELOAD": str(double), "QATZIP_DOUBLE": plan, ALWAYS: "always"}
    return os.environ | added


class Outcome:
    """What a script on the double printed, and what it said on stderr."""

    def __init__(self, result: Any, stderr: str) -> None:
        self.result = result
        self.stderr = stderr
        self.warnings = [line for line in stderr.splitlines() if line.strip()]


@pytest.fixture
def environment_of_double(double: Path) -> Callable[[str], dict[str, str]]:
    """The environment in which a command meets the double, with a plan."""
    return lambda plan: on(double, plan)


@pytest.fixture
def on_double(double: Path) -> Callable[..., Outcome]:
    """Run a script in a process whose libqatzip is the double; it prints its result as JSON.

    The script finds ``device`` and ``software``, two codecs, and twelve ``packets``. It must give
    everything back that it took from the library.
    """

    def run(script: str, plan: str = "") -> Outcome:
        done = subprocess.run(
            [sys.executable, "-c", PRELUDE + dedent(script) + "\nassert outstanding() == 0\n"],
            env=on(double, plan),
            capture_output=True, text=True, timeout=100, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return Outcome(json.loads(done.stdout), done.stderr)

    return run
