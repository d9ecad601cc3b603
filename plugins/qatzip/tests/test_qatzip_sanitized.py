"""The binding to libqatzip, and the double behind it, under AddressSanitizer and UBSan."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import codecs_core_qatzip
import pytest
from codecs_core_qatzip.probe import ALWAYS

from tests.fuzz import sanitized

MODULE = "codecs_core_qatzip._binding"
BUILDER = Path(codecs_core_qatzip.__file__).with_name("binding_build.py")
FUZZ = """
from codecs_core import codecs
assert codecs()["qatzip"].backend.startswith("hardware"), codecs()["qatzip"]
runpy.run_module("tests.fuzz", run_name="__main__", alter_sys=True)
"""
OVERFLOW = """
from codecs_core_qatzip._binding import ffi, lib
from codecs_core_qatzip.library import LibrarySession, Settings
from codecs_core.codec import DEFAULT_GEOMETRY
session = LibrarySession(Settings(), DEFAULT_GEOMETRY, compress=True)
session._capacity, session._output = 1 << 20, ffi.new("unsigned char[]", 64)
session.compress(memoryview(bytes(range(256)) * 2))
"""


@pytest.fixture(scope="module")
def build(
    tmp_path_factory: pytest.TempPathFactory,
    build_environment: dict[str, str],
    build_double: Callable[..., Path],
) -> tuple[Path, dict[str, str]]:
    """The binding, and the environment in which it meets the double."""
    place = tmp_path_factory.mktemp("sanitized")
    file = sanitized.build(BUILDER, "CODECS_CORE_QATZIP_CFLAGS", place, build_environment)
    double = build_double(tmp_path_factory.mktemp("double"), *sanitized.FLAGS.split())
    return file, build_environment | {"LD_PRELOAD": str(double), ALWAYS: "always"}


@pytest.mark.parametrize("target", ["decoder.qatzip", "round-trip.qatzip"])
@pytest.mark.parametrize("plan", ["", "compress@2-9999=software malloc@3-9999=0"])
def test_nothing_is_found(build: tuple[Path, dict[str, str]], target: str, plan: str) -> None:
    """Packets and damaged payloads, by way of pinned memory and without any."""
    file, environment = build
    done = sanitized.run(
        MODULE, file, FUZZ, target, "--executions", "500", "--seconds", "60",
        environment=environment | {"QATZIP_DOUBLE": plan},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_defect_would_be_found(build: tuple[Path, dict[str, str]]) -> None:
    """A buffer that is smaller than the library is told."""
    file, environment = build
    done = sanitized.run(MODULE, file, OVERFLOW, environment=environment)
    assert done.returncode != 0
    assert "heap-buffer-overflow" in done.stderr
