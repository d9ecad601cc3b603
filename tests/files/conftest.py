"""Data that spans several pieces, the formats with their tools, and a look at what is left."""

from __future__ import annotations

import gzip
import io
import os
import shutil
import subprocess
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial

import lz4.frame
import pytest
import zstandard

from codecs_core.testing.data import sample

MIB = 1 << 20


@cache
def data(size: int = 5 * MIB + 12345) -> bytes:
    """Text, memory and noise, more of it than two threads hold at a time."""
    parts = [sample(kind, 300_000, seed) for seed in range(3) for kind in ("memory", "text")]
    block = b"".join(parts) + sample("random", 100_000)
    return (block * (size // len(block) + 1))[:size]


@dataclass(frozen=True)
class Format:
    """A codec's file format, as others write and read it."""

    codec: str
    suffix: str
    write: Callable[[bytes], bytes]
    read: Callable[[bytes], bytes]
    tools: tuple[str, ...]


def _unzstd(file: bytes) -> bytes:
    with zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True) as reader:
        return reader.read()


def _unlz4(file: bytes) -> bytes:
    with lz4.frame.open(io.BytesIO(file)) as reader:
        content: bytes = reader.read()
    return content


FORMATS = {
    each.codec: each
    for each in (
        Format(
            "qatzip",
            ".gz",
            partial(gzip.compress, compresslevel=6),
            gzip.decompress,
            ("gzip", "pigz", "igzip"),
        ),
        Format("zstd", ".zst", zstandard.compress, _unzstd, ("zstd",)),
        Format("lz4", ".lz4", lz4.frame.compress, _unlz4, ("lz4",)),
        Format("zlib", ".zz", zlib.compress, zlib.decompress, ()),
    )
}


def run(*command: str, stdin: bytes = b"") -> bytes:
    """Run a tool, and return what it prints."""
    done = subprocess.run(command, input=stdin, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def tools() -> list[tuple[str, str]]:
    """The codecs with the tools of their formats that are here."""
    return [
        (each.codec, tool) for each in FORMATS.values() for tool in each.tools if shutil.which(tool)
    ]


@pytest.fixture(autouse=True)
def nothing_left_behind() -> Iterator[None]:
    """No thread and no descriptor outlives a test."""
    threads, files = set(threading.enumerate()), os.listdir("/proc/self/fd")
    yield
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline and set(threading.enumerate()) - threads:
        time.sleep(0.01)
    assert set(threading.enumerate()) <= threads
    assert len(os.listdir("/proc/self/fd")) <= len(files)
