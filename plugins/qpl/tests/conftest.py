"""libqpl for the tests: the real one, and a double whose device does what a plan says."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent

import pytest

from codecs_core.testing.double import Outcome, compile_double, run_script

HERE = Path(__file__).parent
PREFIX = HERE.parents[2] / "build/libqpl/lib/pkgconfig"
CODECS = 'device, software = get_codec("qpl"), get_codec("qpl", backend="software")\n'


@pytest.fixture(scope="session")
def build_environment() -> dict[str, str]:
    """The environment in which pkg-config finds libqpl: here, or in the system."""
    paths = [str(PREFIX), os.environ.get("PKG_CONFIG_PATH", "")]
    environment = os.environ | {"PKG_CONFIG_PATH": ":".join(filter(None, paths))}
    found = subprocess.run(["pkg-config", "--exists", "qpl"], env=environment, check=False)
    assert found.returncode == 0, "libqpl is missing; remedy: tools/libqpl"
    return environment


@pytest.fixture(scope="session")
def double(tmp_path_factory: pytest.TempPathFactory, build_environment: dict[str, str]) -> Path:
    """A shared library that takes libqpl's place where it is preloaded."""
    library = tmp_path_factory.mktemp("double") / "libqpl.so.1"
    compile_double(HERE / "double.c", library, "qpl", "-lz", environment=build_environment)
    return library


@pytest.fixture
def environment_of_double(double: Path) -> Callable[[str], dict[str, str]]:
    """The environment in which a command meets the double, with a plan."""
    return lambda plan: os.environ | {"LD_PRELOAD": str(double), "QPL_DOUBLE": plan}


@pytest.fixture
def on_double(environment_of_double: Callable[[str], dict[str, str]]) -> Callable[..., Outcome]:
    """Run a script on the double; it finds ``device`` and ``software``, two codecs."""

    def run(script: str, plan: str = "") -> Outcome:
        return run_script(CODECS + dedent(script), environment_of_double(plan))

    return run
