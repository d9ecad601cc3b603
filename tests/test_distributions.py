"""The distributions: one version, whole sdists, wheels that are the same whoever builds them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import zipfile
from email.message import Message
from email.parser import BytesParser
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from tools import wheels as tool

ROOT = Path(__file__).parents[1]
VERSION = (ROOT / "VERSION").read_text().strip()
PLUGINS = sorted(path.parent for path in ROOT.glob("plugins/*/pyproject.toml"))
OTHERS = [*PLUGINS, *sorted(path.parent for path in ROOT.glob("integrations/*/pyproject.toml"))]

of_each = pytest.mark.parametrize("directory", [ROOT, *OTHERS], ids=lambda path: path.name)
of_others = pytest.mark.parametrize("directory", OTHERS, ids=lambda path: path.name)


def project(directory: Path) -> dict[str, Any]:
    return tomllib.loads((directory / "pyproject.toml").read_text())


@of_each
def test_version_and_licence_are_the_same_file_everywhere(directory: Path) -> None:
    declared = project(directory)
    assert declared["project"]["dynamic"] == ["version"]
    assert declared["tool"]["setuptools"]["dynamic"] == {"version": {"file": "VERSION"}}
    assert declared["project"]["license-files"] == ["LICENSE"]
    for name in ("VERSION", "LICENSE"):
        assert (directory / name).samefile(ROOT / name), f"make {directory / name} a symbolic link"


@of_others
def test_asks_for_the_releases_of_the_core_that_keep_its_contract(directory: Path) -> None:
    (core,) = [
        Requirement(each)
        for each in project(directory)["project"]["dependencies"]
        if re.match(r"codecs-core\b(?!-)", each)
    ]
    version = Version(VERSION)
    breaking = f"0.{version.minor + 1}" if version.major == 0 else f"{version.major + 1}.0"
    assert VERSION in core.specifier
    assert breaking not in core.specifier


@of_each
def test_is_typed(directory: Path) -> None:
    (marker,) = [
        path
        for place in ("codecs_core", "src/*")
        for path in directory.glob(f"{place}/py.typed")
        if ".egg-info" not in str(path)
    ]
    package = marker.parent.name
    assert "py.typed" in project(directory)["tool"]["setuptools"]["package-data"][package]


def test_an_extra_for_each_codec_and_one_for_all() -> None:
    extras = project(ROOT)["project"]["optional-dependencies"]
    names = [plugin.name for plugin in PLUGINS]
    assert {name: extras.get(name) for name in names} == {n: [f"codecs-core-{n}"] for n in names}
    (everything,) = map(Requirement, extras["all"])
    assert (everything.name, everything.extras) == ("codecs-core", set(names))


def test_changelog_has_the_version() -> None:
    assert f"\n## {VERSION} - " in (ROOT / "CHANGELOG.md").read_text()


def only(wheelhouse: Path, pattern: str) -> Path:
    (found,) = wheelhouse.glob(pattern)
    return found


def metadata(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [each for each in archive.namelist() if each.endswith(".dist-info/METADATA")]
        return BytesParser().parsebytes(archive.read(name))


# What follows is of the core and one plugin, built twice: tools/wheels.py fails where the builds
# differ, or name their places.


def test_the_cores_wheel(wheelhouse: Path) -> None:
    wheel = only(wheelhouse, "codecs_core-*.whl")
    assert re.search(rf"-{re.escape(VERSION)}-cp311-abi3-manylinux[\w.]+\.whl$", wheel.name)
    names = zipfile.ZipFile(wheel).namelist()
    assert "codecs_core/memory/_kernel.abi3.so" in names
    assert "codecs_core/scaffold/template/codec.py.in" in names
    assert "codecs_core/py.typed" in names
    assert any(name.endswith("/share/man/man1/multifd-relay-egress.1") for name in names)
    assert any(name.endswith("/share/bash-completion/completions/multifd") for name in names)
    kernel = zipfile.ZipFile(wheel).read("codecs_core/memory/_kernel.abi3.so")
    assert os.fsencode(sysconfig.get_config_var("LIBDIR")) not in kernel
    tops = {name.split("/")[0] for name in names}
    assert tops == {
        "codecs_core",
        *(f"codecs_core-{VERSION}.{kind}" for kind in ("dist-info", "data")),
    }


def test_a_plugins_wheel(wheelhouse: Path) -> None:
    wheel = only(wheelhouse, "codecs_core_lz4-*.whl")
    assert wheel.name == f"codecs_core_lz4-{VERSION}-py3-none-any.whl"
    info = f"codecs_core_lz4-{VERSION}.dist-info"
    package = ROOT / "plugins/lz4/src/codecs_core_lz4"
    assert sorted(zipfile.ZipFile(wheel).namelist()) == sorted(
        [
            *(f"codecs_core_lz4/{each.name}" for each in package.iterdir() if each.is_file()),
            *(f"{info}/{name}" for name in ("METADATA", "RECORD", "WHEEL")),
            *(f"{info}/{name}" for name in ("entry_points.txt", "top_level.txt")),
            f"{info}/licenses/LICENSE",
        ]
    )


@pytest.mark.parametrize("name", ["codecs-core", "codecs-core-lz4"])
def test_metadata(wheelhouse: Path, name: str) -> None:
    told = metadata(only(wheelhouse, f"{name.replace('-', '_')}-*.whl"))
    assert (told["Name"], told["Version"]) == (name, VERSION)
    assert (told["License-Expression"], told["License-File"]) == ("MIT", "LICENSE")
    assert told["Requires-Python"] == ">=3.11"


@pytest.mark.parametrize("name", ["codecs_core", "codecs_core_lz4"])
def test_an_sdist_stands_alone(wheelhouse: Path, name: str) -> None:
    """The wheels were built from them, so they are whole; they have no links, and no owner."""
    with tarfile.open(only(wheelhouse, f"{name}-*.tar.gz")) as archive:
        members = archive.getmembers()
    assert all(each.isfile() and each.uid == 0 and each.uname == "" for each in members)
    assert len({each.mtime for each in members}) == 1
    names = {each.name.partition("/")[2] for each in members}
    assert {"VERSION", "LICENSE", "README.md", "PKG-INFO"} <= names
    assert not any(each.endswith((".so", "_build.json", "_kernel.c")) for each in names)


def test_wheels_that_bind_libraries_bundle_none(tmp_path: Path) -> None:
    """libqatzip is the system's, and is found where the system has it."""
    wheels(tmp_path, "plugins/qatzip", "-Cenable-qatzip=enabled")
    wheel = only(tmp_path, "*.whl")
    assert "-cp311-abi3-manylinux" in wheel.name
    libraries = [n for n in zipfile.ZipFile(wheel).namelist() if re.search(r"\.so(\.|$)", n)]
    assert libraries == ["codecs_core_qatzip/_binding.abi3.so"]
    binding = zipfile.ZipFile(wheel).read(libraries[0])
    assert b"libqatzip.so" in binding
    assert os.fsencode(ROOT) not in binding


def wheels(outdir: Path, *arguments: str) -> None:
    command = [sys.executable, "tools/wheels.py", f"--outdir={outdir}", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_what_the_check_finds(tmp_path: Path) -> None:
    builds = []
    for name, text in (("first", f"built in {ROOT}"), ("second", "built elsewhere")):
        (tmp_path / name).mkdir()
        builds.append(tmp_path / name / "some.whl")
        with zipfile.ZipFile(builds[-1], "w") as archive:
            archive.writestr("module.py", text)
    assert list(tool.differences(builds[:1], builds[:1])) == []
    assert list(tool.differences(builds[:1], builds[1:])) == [
        "some.whl is another in a second build"
    ]
    assert list(tool.differences(builds[:1], [])) == ["some.whl is another in a second build"]
    assert list(tool.places(builds)) == [f"some.whl: module.py names {ROOT}"]
