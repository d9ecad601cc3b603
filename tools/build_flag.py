"""Build flags in the manner of QEMU's configure: libraries that are enabled, disabled or auto.

This module is a PEP 517 backend around `distribution`, for distributions with a binding to a C
library that may be left out. Such a distribution names it in its pyproject.toml::

    [build-system]
    requires = ["setuptools>=77", "cffi>=1.16"]
    build-backend = "build_flag"
    backend-path = ["."]

and calls `setup` with a `Feature` for each binding in its setup.py. Users choose by a config
setting, ``-C enable-NAME=VALUE``, or by the environment variable ``ENABLE_NAME``:

``auto``
    the default: build the binding where pkg-config finds the library, and say so;
``enabled``
    fail, and name the packages to install, where it does not;
``disabled``
    build none.

``-C --enable-NAME=`` and ``-C --disable-NAME=`` are QEMU's spellings. What came of them is written
to ``_build.json`` beside the package's modules, where `codecs_core.build` reads it.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sysconfig
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import setuptools
from distribution import build_sdist
from setuptools import build_meta
from setuptools.build_meta import (
    get_requires_for_build_editable,
    get_requires_for_build_sdist,
    get_requires_for_build_wheel,
    prepare_metadata_for_build_editable,
    prepare_metadata_for_build_wheel,
)
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py
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
    """Libraries, the module that binds them, and what to install where they are missing.

    ``libraries`` are what pkg-config is asked for, with the least version where there is one:
    ``"qpl >= 1.5.0"``. ``binding`` is the file that makes the binding's ``ffibuilder``, ``module``
    the binding's full name. ``packages`` maps a system to the names of the packages that have the
    libraries' headers there.
    """

    name: str
    libraries: tuple[str, ...]
    module: str
    binding: str
    packages: Mapping[str, str]

    @property
    def package(self) -> str:
        """The package that the binding is a module of."""
        return self.module.rpartition(".")[0]


@dataclass
class Decision:
    """Whether a feature is built, and why."""

    feature: Feature
    setting: str
    built: bool
    version: str = ""
    reason: str = ""


def write(decisions: Sequence[Decision], directory: Path) -> None:
    """Leave the record for the installed package."""
    directory.mkdir(parents=True, exist_ok=True)
    keys = ("setting", "built", "version", "reason")
    record = {each.feature.name: {key: getattr(each, key) for key in keys} for each in decisions}
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


def setup(*features: Feature) -> None:
    """Run setuptools with the bindings or without. Everything else is in pyproject.toml.

    All modules are of one package.
    """
    arguments: dict[str, Any] = {"cmdclass": {}}
    if _settings is not None:
        decisions = [decide(each, _settings, os.environ) for each in features]
        for each in decisions:
            print(f"{each.feature.name}: {each.setting}: {each.reason}", flush=True)
        _BuildPy.decisions = _BuildExt.decisions = decisions
        arguments["cmdclass"] |= {"build_py": _BuildPy}
        arguments["options"] = {"build": {"build_base": _Building.place}}
        built = [each.feature for each in decisions if each.built]
        if built:
            arguments["cffi_modules"] = [f"{each.binding}:ffibuilder" for each in built]
            # Interpreters without a GIL have no limited API; cffi knows, but a wheel must be told.
            if not sysconfig.get_config_var("Py_GIL_DISABLED"):
                arguments["options"]["bdist_wheel"] = {"py_limited_api": "cp311"}
            arguments["cmdclass"] |= {"build_ext": _BuildExt}
    setuptools.setup(**arguments)


def decide(
    feature: Feature, settings: Mapping[str, Any], environment: Mapping[str, str]
) -> Decision:
    """Choose by the setting and by what pkg-config finds. Ends the build where they disagree."""
    setting = chosen(feature.name, settings, environment)
    if setting == "disabled":
        return Decision(feature, setting, built=False, reason="built without it, as asked for")
    version, reason = find(feature.libraries)
    if version:
        return Decision(
            feature, setting, built=True, version=version, reason=f"found version {version}"
        )
    if setting == "enabled":
        packages = "; ".join(f"{name} on {where}" for where, name in feature.packages.items())
        raise SystemExit(f"error: {feature.name} is enabled, but {reason}; install {packages}")
    return Decision(feature, setting, built=False, reason=f"built without it: {reason}")


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


def find(libraries: Sequence[str]) -> tuple[str, str]:
    """Ask pkg-config for libraries: their versions, or why they cannot be had."""
    names = [each.partition(" ")[0] for each in libraries]
    command = os.environ.get("PKG_CONFIG", "pkg-config")
    if shutil.which(command) is None:
        return "", f"{command}, which finds {' and '.join(names)}, is not installed"
    asked = [command, "--print-errors", "--exists", *libraries]
    done = subprocess.run(asked, capture_output=True, text=True, check=False)
    if done.returncode:
        # The library may be there, and something that it needs may not.
        missing = [
            line.strip()
            for line in done.stderr.splitlines()
            if any(f"required by '{name}'" in line for name in names)
        ]
        return "", f"pkg-config does not find {' and '.join(libraries)}" + "".join(
            f" ({each})" for each in missing
        )
    asked = [command, "--modversion", *names]
    done = subprocess.run(asked, capture_output=True, text=True, check=True)
    return ", ".join(done.stdout.split()), ""


class _BuildPy(build_py):
    """Writes the record of a build that has no bindings, or none yet."""

    decisions: Sequence[Decision]

    def run(self) -> None:
        super().run()
        place = self._place()
        for each in self.decisions:
            if not each.built:
                # An editable build before this one may have left its binding in the sources.
                for stale in place.glob(f"{each.feature.module.rpartition('.')[2]}*.so"):
                    stale.unlink()
        write(self.decisions, place)

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        outputs: list[str] = super().get_outputs(include_bytecode)
        return outputs if self.editable_mode else [*outputs, str(self._place() / RECORD)]

    def _place(self) -> Path:
        package = self.decisions[0].feature.package
        if self.editable_mode:
            return Path(self.get_package_dir(package))
        return Path(self.build_lib, *package.split("."))


class _BuildExt(build_ext):
    """Goes on without a binding where it was wanted only if possible."""

    decisions: Sequence[Decision]

    def build_extension(self, ext: Any) -> None:
        try:
            super().build_extension(ext)
        except (BaseError, CCompilerError) as error:
            decision = next(each for each in self.decisions if each.feature.module == ext.name)
            name = decision.feature.name
            if decision.setting == "enabled":
                raise SystemExit(
                    f"error: {name} is enabled, but its binding does not compile: {error}; "
                    "install a C compiler and Python's headers (gcc and python3-dev on Debian)"
                ) from None
            decision.built = False
            decision.reason = f"built without it: its binding does not compile: {error}"
            print(f"{name}: {decision.reason}", flush=True)
            self.extensions = [each for each in self.extensions if each is not ext]
            command = self.get_finalized_command("build_py")
            assert isinstance(command, _BuildPy)
            write(self.decisions, command._place())
