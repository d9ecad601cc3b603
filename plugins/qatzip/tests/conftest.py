"""libqatzip for the tests: the real one, and a double whose device does what a plan says."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent

import pytest
from codecs_core_qatzip.probe import ALWAYS

from codecs_core.testing.double import Outcome, compile_double, run_script

HERE = Path(__file__).parent
PREFIX = HERE.parents[2] / "build/libqatzip/lib/pkgconfig"
CODECS = 'device, software = get_codec("qatzip"), get_codec("qatzip", backend="software")\n'


@pytest.fixture(scope="session")
def build_environment() -> dict[str, str]:
    """The environment in which pkg-config finds libqatzip: here, or in the system."""
    paths = [str(PREFIX), os.environ.get("PKG_CONFIG_PATH", "")]
    environment = os.environ | {"PKG_CONFIG_PATH": ":".join(filter(None, paths))}
    found = subprocess.run(["pkg-config", "--exists", "qatzip"], env=environment, check=False)
    assert found.returncode == 0, "libqatzip is missing; remedy: tools/libqatzip"
    return environment


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
def double(tmp_path_factory: pytest.TempPathFactory, build_double: Callable[..., Path]) -> Path:
    """A shared library that takes libqatzip's place where it is preloaded."""
    return build_double(tmp_path_factory.mktemp("double"))


@pytest.fixture
def environment_of_double(double: Path) -> Callable[[str], dict[str, str]]:
    """The environment in which a command meets the double, with a plan."""
    added = {"LD_PRELOAD": str(double), ALWAYS: "always"}
    return lambda plan: os.environ | added | {"QATZIP_DOUBLE": plan}


@pytest.fixture
def on_double(environment_of_double: Callable[[str], dict[str, str]]) -> Callable[..., Outcome]:
    """Run a script on the double; it finds ``device`` and ``software``, two codecs."""

    def run(script: str, plan: str = "") -> Outcome:
        return run_script(CODECS + dedent(script), environment_of_double(plan))

    return run
