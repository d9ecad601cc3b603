"""A build flag in the manner of QEMU's configure: a library that is enabled, disabled or auto.

This module is a PEP 517 backend around setuptools', for distributions with a binding to a C
library that may be left out. Such a distribution names it in its pyproject.toml::

    [build-system]
    requires = ["setuptools>=77", "cffi>=1.16"]
    build-backend = "build_flag"
    backend-path = ["."]

and calls `setup` in its setup.py. Users choose by a config setting, ``-C enable-NAME=VALUE``, or
by the environment variable ``ENABLE_NAME``:

``auto``
    the default: build the binding where pkg-config finds the library, and say so;
``enabled``
    fail, and name the packages to install, where it does not;
``disabled``
    build none.

``-C --enable-NAME=`` and ``-C --disable-NAME=`` are QEMU's spellings. What came of it is written
to ``_build.json`` beside the package's modules.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import setuptools
from setuptools import build_meta
from setuptools.build_meta import (
    build_sdist,
    get_requires_for_build_editable,
    get_requires_for_build_sdist,
    get_requires_for_build_wheel,
    prepare_metadata_for_build_editable,
    prepare_metadata_for_build_wheel,
)
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py
from setuptools.command.sdist import sdist
from setuptools.errors import BaseError, CCompilerError

__all__ = [
    "Feature",
    "build_editable",
    "build_sdist",
    "build_wheel",
    "get_requires_for_build_editable",
    "get_requires_for_build_sdist",
    "get_requires_for_build_wheel",
    "prepare_metadata_for_build_editable",
    "prepare_metadata_for_build_wheel",
    "setup",
]

VALUES = ("auto", "enabled", "disabled")
RECORD = "_build.json"

_settings: Mapping[str, Any] | None = None
"""The config settings of the build that runs; ``None`` while nothing is built."""


@dataclass(frozen=True)
class Feature:
    """A library, the package that binds it, and what to install where it is missing.

    ``library`` is its name for pkg-config. ``binding`` is the file that makes the binding's
    ``ffibuilder``, ``module`` the binding's full name. ``packages`` maps a system to the name of
    the package that has the library's headers there.
    """

    name: str
    library: str
    module: str
    binding: str
    packages: Mapping[str, str]

    @property
    def package(self) -> str:
        """The package that the binding is a module of."""
        return self.module.rpartition(".")[0]


@dataclass
class Decision:
    """What is built, and why: the content of ``_build.json``."""

    setting: str
    built: bool
    version: str = ""
    reason: str = ""
    feature: Feature | None = field(default=None, repr=False)

    def write(self, directory: Path) -> None:
        """Leave the record for the installed package."""
        directory.mkdir(parents=True, exist_ok=True)
        keys = ("setting", "built", "version", "reason")
        record = {key: getattr(self, key) for key in keys}
        (directory / RECORD).write_text(json.dumps(record) + "\n")


def build_wheel(
    wheel_directory: str,
    config_settings: Mapping[str, Any] | None = None,
    metadata_directory: str | None = None,
) -> str:
    """Build a wheel, as PEP 517 has it."""
    with tempfile.TemporaryDirectory() as place, _Building(config_settings, place):
        return build_meta.build_wheel(wheel_directory, config_settings, metadata_directory)


def build_editable(
    wheel_directory: str,
    config_settings: Mapping[str, Any] | None = None,
    metadata_directory: str | None = None,
) -> str:
    """Build a wheel that leads to the sources, as PEP 660 has it."""
    with tempfile.TemporaryDirectory() as place, _Building(config_settings, place):
        return build_meta.build_editable(wheel_directory, config_settings, metadata_directory)


class _Building:
    """Keeps the config settings while a build runs, and its files out of the sources.

    What an earlier build with another value left behind would end up in the wheel.
    """

    place = ""

    def __init__(self, settings: Mapping[str, Any] | None, place: str) -> None:
        self._settings = settings or {}
        self._place = place

    def __enter__(self) -> None:
        global _settings
        _settings, _Building.place = self._settings, self._place

    def __exit__(self, *exception: object) -> None:
        global _settings
        _settings, _Building.place = None, ""


def setup(feature: Feature) -> None:
    """Run setuptools with the binding or without it. Everything else is in pyproject.toml."""
    arguments: dict[str, Any] = {"cmdclass": {"sdist": _Sdist}}
    if _settings is not None:
        decision = decide(feature, _settings, os.environ)
        decision.feature = feature
        print(f"{feature.name}: {decision.setting}: {decision.reason}", flush=True)
        _BuildPy.decision = _BuildExt.decision = decision
        arguments["cmdclass"] |= {"build_py": _BuildPy}
        arguments["options"] = {"build": {"build_base": _Building.place}}
        if decision.built:
            arguments["cffi_modules"] = [f"{feature.binding}:ffibuilder"]
            arguments["options"]["bdist_wheel"] = {"py_limited_api": "cp311"}
            arguments["cmdclass"] |= {"build_ext": _BuildExt}
    setuptools.setup(**arguments)


def decide(
    feature: Feature, settings: Mapping[str, Any], environment: Mapping[str, str]
) -> Decision:
    """Choose by the setting and by what pkg-config finds. Ends the build where they disagree."""
    setting = chosen(feature.name, settings, environment)
    if setting == "disabled":
        return Decision(setting, built=False, reason="built without it, as asked for")
    version, reason = find(feature.library)
    if version:
        return Decision(setting, built=True, version=version, reason=f"found version {version}")
    if setting == "enabled":
        packages = "; ".join(f"{name} on {where}" for where, name in feature.packages.items())
        raise SystemExit(f"error: {feature.name} is enabled, but {reason}; install {packages}")
    return Decision(setting, built=False, reason=f"built without it: {reason}")


def chosen(name: str, settings: Mapping[str, Any], environment: Mapping[str, str]) -> str:
    """Return the flag's value. Ends the build for a value that is none, or for two values."""
    given: dict[str, str] = {}
    for key, value in settings.items():
        option = key.lstrip("-").replace("_", "-")
        if option not in (f"enable-{name}", f"disable-{name}"):
            continue
        if isinstance(value, list):
            value = value[-1]
        # A bare option has no value, or what the front end makes of that.
        if value in ("", None, True, "true", "True"):
            value = "enabled" if option.startswith("enable") else "disabled"
        elif option.startswith("disable"):
            raise SystemExit(f"error: {key} takes no value, not {value!r}")
        given[key] = str(value)
    variable = f"ENABLE_{name.upper()}"
    if not given and environment.get(variable):
        given[variable] = environment[variable]
    for key, value in given.items():
        if value not in VALUES:
            raise SystemExit(f"error: {key} is one of {', '.join(VALUES)}, not {value!r}")
    if len(set(given.values())) > 1:
        pairs = " and ".join(f"{key}={value}" for key, value in given.items())
        raise SystemExit(f"error: {pairs} contradict each other; give one of them")
    return next(iter(given.values()), "auto")


def find(library: str) -> tuple[str, str]:
    """Ask pkg-config for a library: its version, or why there is none."""
    command = os.environ.get("PKG_CONFIG", "pkg-config")
    if shutil.which(command) is None:
        return "", f"{command}, which finds {library}, is not installed"
    asked = [command, "--print-errors", "--modversion", library]
    done = subprocess.run(asked, capture_output=True, text=True, check=False)
    if done.returncode:
        # The library may be there, and something that it needs may not.
        missing = [
            line.strip() for line in done.stderr.splitlines() if f"required by '{library}'" in line
        ]
        return "", f"pkg-config does not find {library}" + "".join(f" ({m})" for m in missing)
    return done.stdout.strip(), ""


class _BuildPy(build_py):
    """Writes the record of a build that has no binding, or none yet."""

    decision: Decision

    def run(self) -> None:
        super().run()
        place = self._place()
        if not self.decision.built:
            # An editable build before this one may have left its binding in the sources.
            feature = self.decision.feature
            assert feature is not None
            for stale in place.glob(f"{feature.module.rpartition('.')[2]}*.so"):
                stale.unlink()
        self.decision.write(place)

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        outputs: list[str] = super().get_outputs(include_bytecode)
        return outputs if self.editable_mode else [*outputs, str(self._place() / RECORD)]

    def _place(self) -> Path:
        assert self.decision.feature is not None
        package = self.decision.feature.package
        if self.editable_mode:
            return Path(self.get_package_dir(package))
        return Path(self.build_lib, *package.split("."))


class _BuildExt(build_ext):
    """Goes on without the binding where it was wanted only if possible."""

    decision: Decision

    def run(self) -> None:
        try:
            super().run()
        except (BaseError, CCompilerError) as error:
            feature = self.decision.feature
            assert feature is not None
            if self.decision.setting == "enabled":
                raise SystemExit(
                    f"error: {feature.name} is enabled, but its binding does not compile: {error}; "
                    "install a C compiler and Python's headers (gcc and python3-dev on Debian)"
                ) from None
            self.decision.built = False
            self.decision.reason = f"built without it: its binding does not compile: {error}"
            print(f"{feature.name}: {self.decision.reason}", flush=True)
            self.extensions = []
            command = self.get_finalized_command("build_py")
            assert isinstance(command, _BuildPy)
            self.decision.write(command._place())


class _Sdist(sdist):
    """Packs this module itself where the checkout has a symbolic link to it."""

    def copy_file(self, infile: Any, outfile: Any, *args: Any, **settings: Any) -> Any:
        return super().copy_file(infile, outfile, *args, **(settings | {"link": None}))
