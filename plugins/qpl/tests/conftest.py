"""libqpl for the tests: the real one, and a double whose device does what a plan says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from codecs_core.testing.double import Double, Outcome, compile_double, environment_with

HERE = Path(__file__).parent
PREFIX = HERE.parents[2] / "build/libqpl"


@pytest.fixture(scope="session")
def build_environment() -> dict[str, str]:
    """The environment in which pkg-config finds libqpl."""
    return environment_with("qpl", PREFIX, remedy="tools/libqpl")


@pytest.fixture(scope="session")
def double(tmp_path_factory: pytest.TempPathFactory, build_environment: dict[str, str]) -> Double:
    """A shared library that takes libqpl's place where it is preloaded."""
    library = tmp_path_factory.mktemp("double") / "libqpl.so.1"
    compile_double(HERE / "double.c", library, "qpl", "-lz", environment=build_environment)
    return Double("qpl", library, "QPL_DOUBLE")


@pytest.fixture
def on_double(double: Double) -> Callable[..., Outcome]:
    """Run a script on the double, with a plan."""
    return double.run
