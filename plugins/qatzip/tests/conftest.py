"""libqatzip for the tests: the real one, and a double whose device does what a plan says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from codecs_core_qatzip.probe import ALWAYS

from codecs_core.testing.double import Double, Outcome, compile_double, environment_with

HERE = Path(__file__).parent
PREFIX = HERE.parents[2] / "build/libqatzip"


@pytest.fixture(scope="session")
def build_environment() -> dict[str, str]:
    """The environment in which pkg-config finds libqatzip."""
    return environment_with("qatzip", PREFIX, remedy="tools/libqatzip")


@pytest.fixture(scope="session")
def build_double(build_environment: dict[str, str]) -> Callable[..., Path]:
    """Build the double in a directory, with these flags of the compiler."""

    def build(place: Path, *flags: str) -> Path:
        library = place / "libqatzip.so.3"
        source = HERE / "double.c"
        compile_double(source, library, "qatzip", *flags, "-lz", environment=build_environment)
        return library

    return build


@pytest.fixture(scope="session")
def double(tmp_path_factory: pytest.TempPathFactory, build_double: Callable[..., Path]) -> Double:
    """A shared library that takes libqatzip's place where it is preloaded."""
    library = build_double(tmp_path_factory.mktemp("double"))
    return Double("qatzip", library, "QATZIP_DOUBLE", {ALWAYS: "always"})


@pytest.fixture
def on_double(double: Double) -> Callable[..., Outcome]:
    """Run a script on the double, with a plan."""
    return double.run
