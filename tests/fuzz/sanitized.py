"""Runs a program on C extensions that were built under AddressSanitizer and UBSan."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

FLAGS = "-g -O1 -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer"

_BUILD = """
import runpy, sys
builder, place = sys.argv[1:]
runpy.run_path(builder)["ffibuilder"].compile(tmpdir=place)
"""

_RUN = """
import importlib.util, runpy, sys
name, file = sys.argv[1:3]
spec = importlib.util.spec_from_file_location(name, file)
sys.modules[name] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(sys.modules[name])
sys.argv[1:3] = []
"""


def build(
    builder: Path, variable: str, place: Path, environment: Mapping[str, str] = os.environ
) -> Path:
    """Build the extension of cffi's ``builder`` below ``place``; return its file.

    ``variable`` is where the builder looks for more flags of the compiler.
    """
    subprocess.run(
        [sys.executable, "-c", _BUILD, str(builder), str(place)],
        env={**environment, variable: FLAGS}, check=True, capture_output=True,
    )  # fmt: skip
    (file,) = place.rglob("*.so")
    return file


def run(
    module: str,
    file: Path,
    program: str,
    *arguments: str,
    environment: Mapping[str, str] = os.environ,
) -> subprocess.CompletedProcess[str]:
    """Run a program in whose process ``file`` is the extension ``module``.

    Python takes all its memory from malloc there, so that every buffer has its own bounds.
    """
    libraries = [
        subprocess.run(
            ["gcc", f"-print-file-name={name}"], check=True, capture_output=True, text=True
        ).stdout.strip()
        for name in ("libasan.so", "libubsan.so")
    ]
    libraries += environment.get("LD_PRELOAD", "").split(":")
    return subprocess.run(
        [sys.executable, "-c", _RUN + program, module, str(file), *arguments],
        env={
            **environment,
            "LD_PRELOAD": ":".join(filter(None, libraries)),
            "PYTHONMALLOC": "malloc",
            # Python keeps much until its end. An allocation that fails is an error of Python's.
            "ASAN_OPTIONS": "detect_leaks=0:allocator_may_return_null=1",
            "UBSAN_OPTIONS": "print_stacktrace=1",
        },
        cwd=Path(__file__).parents[2],
        capture_output=True, text=True, timeout=110, check=False,
    )  # fmt: skip
