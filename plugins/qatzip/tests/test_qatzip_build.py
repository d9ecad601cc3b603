"""The build flag: every value, every way to give it, every kind of build."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

HERE = Path(__file__).parents[1]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """The plugin's sources, as an sdist would have them."""
    copy = tmp_path / "plugin"
    ignored = shutil.ignore_patterns("*.so", "_build.json", "*.egg-info", "build", "__pycache__")
    shutil.copytree(HERE, copy, ignore=ignored)
    return copy


@pytest.fixture
def bare(build_environment: dict[str, str], tmp_path: Path) -> dict[str, str]:
    """An environment without libqatzip."""
    return build_environment | {"PKG_CONFIG_LIBDIR": str(tmp_path), "PKG_CONFIG_PATH": ""}


def build(
    tree: Path, environment: dict[str, str], *arguments: str, kind: str = "--wheel"
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "build", "--no-isolation", kind, *arguments, str(tree)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def record(wheel: Path) -> tuple[dict[str, object], list[str]]:
    """What the wheel says of its build, and its bindings."""
    with zipfile.ZipFile(wheel) as archive:
        bindings = [each for each in archive.namelist() if each.endswith(".so")]
        return json.loads(archive.read("codecs_core_qatzip/_build.json")), bindings


def only_wheel(tree: Path) -> Path:
    (wheel,) = (tree / "dist").glob("*.whl")
    return wheel


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("-Cenable-qatzip=auto",),
        ("-Cenable-qatzip=enabled",),
        ("-C--enable-qatzip",),
        ("-C--enable-qatzip=",),
        ("-Cenable_qatzip=enabled",),
    ],
)
def test_with_the_library(
    tree: Path, build_environment: dict[str, str], arguments: tuple[str, ...]
) -> None:
    done = build(tree, build_environment, *arguments)
    assert done.returncode == 0, done.stderr
    wheel = only_wheel(tree)
    assert "-cp311-abi3-linux" in wheel.name
    built, bindings = record(wheel)
    assert bindings == ["codecs_core_qatzip/_binding.abi3.so"]
    assert built["built"] is True
    assert built["version"]
    assert f"qatzip: {built['setting']}: found version {built['version']}" in done.stdout


@pytest.mark.parametrize(
    "arguments", [("-Cenable-qatzip=disabled",), ("-C--disable-qatzip",), ("-Cdisable-qatzip=",)]
)
def test_disabled(
    tree: Path, build_environment: dict[str, str], arguments: tuple[str, ...]
) -> None:
    # What an earlier build left must not get in.
    (tree / "src/codecs_core_qatzip/_binding.abi3.so").touch()
    done = build(tree, build_environment, *arguments)
    assert done.returncode == 0, done.stderr
    wheel = only_wheel(tree)
    assert wheel.name.endswith("-py3-none-any.whl")
    built, bindings = record(wheel)
    assert bindings == []
    assert (built["setting"], built["built"]) == ("disabled", False)


def test_auto_without_the_library_says_so(tree: Path, bare: dict[str, str]) -> None:
    done = build(tree, bare)
    assert done.returncode == 0, done.stderr
    assert "qatzip: auto: built without it: pkg-config does not find qatzip" in done.stdout
    built, bindings = record(only_wheel(tree))
    assert bindings == []
    assert built["reason"] == "built without it: pkg-config does not find qatzip"


def test_enabled_without_the_library_fails_in_one_line(tree: Path, bare: dict[str, str]) -> None:
    done = build(tree, bare, "-Cenable-qatzip=enabled")
    assert done.returncode != 0
    (line,) = [each for each in done.stderr.splitlines() if "error:" in each]
    assert "libqatzip-dev on Debian 13, Ubuntu 24.04 and later" in line
    assert "qatzip-devel on Fedora, openSUSE and RHEL" in line
    assert "Traceback" not in done.stderr
    assert not list(tree.glob("dist/*"))


def test_without_pkg_config(tree: Path, build_environment: dict[str, str]) -> None:
    done = build(tree, build_environment | {"PKG_CONFIG": "no-such-command"}, "-C--enable-qatzip")
    assert done.returncode != 0
    assert "no-such-command, which finds qatzip, is not installed" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("-Cenable-qatzip=enable",), "is one of auto, enabled, disabled, not 'enable'"),
        (("-Cenable-qatzip=no",), "is one of auto, enabled, disabled, not 'no'"),
        (("-C--disable-qatzip=enabled",), "--disable-qatzip takes no value"),
        (("-C--enable-qatzip", "-C--disable-qatzip"), "contradict each other"),
    ],
)
def test_a_typo_is_refused(
    tree: Path, build_environment: dict[str, str], arguments: tuple[str, ...], said: str
) -> None:
    done = build(tree, build_environment, *arguments)
    assert done.returncode != 0
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_the_environment_serves_tools_without_settings(
    tree: Path, build_environment: dict[str, str]
) -> None:
    done = build(tree, build_environment | {"ENABLE_QATZIP": "disabled"})
    assert record(only_wheel(tree))[0]["setting"] == "disabled", done.stderr
    done = build(tree, build_environment | {"ENABLE_QATZIP": "disabled"}, "-C--enable-qatzip")
    assert any(record(wheel)[0]["built"] for wheel in tree.glob("dist/*.whl")), done.stderr
    done = build(tree, build_environment | {"ENABLE_QATZIP": "yes"})
    assert "ENABLE_QATZIP is one of auto, enabled, disabled, not 'yes'" in done.stderr


def test_an_sdist_stands_alone(
    tree: Path, build_environment: dict[str, str], bare: dict[str, str], tmp_path: Path
) -> None:
    """It needs no library, and has all that a build with one needs."""
    done = build(HERE, bare, f"--outdir={tmp_path}", kind="--sdist")
    assert done.returncode == 0, done.stderr
    (archive,) = tmp_path.glob("*.tar.gz")
    shutil.unpack_archive(archive, tmp_path / "unpacked", filter="data")
    (source,) = (tmp_path / "unpacked").iterdir()
    names = {str(each.relative_to(source)) for each in source.rglob("*") if each.is_file()}
    assert not any(each.is_symlink() for each in source.rglob("*"))
    assert {"README.md", "CHANGELOG.md", "build_flag.py", "tests/double.c"} <= names
    assert not any(each.endswith((".so", "_build.json")) for each in names)
    assert build(source, build_environment, "-C--enable-qatzip").returncode == 0
    assert record(only_wheel(source))[1]


@pytest.mark.parametrize(("setting", "built"), [("enabled", True), ("disabled", False)])
def test_installed_it_tells_how_it_was_built(
    tree: Path, build_environment: dict[str, str], tmp_path: Path, setting: str, built: bool
) -> None:
    site = tmp_path / "site"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation"]
    done = subprocess.run(
        [*pip, f"--target={site}", f"-Cenable-qatzip={setting}", str(tree)],
        env=build_environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    script = (
        "import codecs_core_qatzip as plugin, json; info = plugin.build_info(); "
        "print(json.dumps([plugin.__file__, info.setting, info.built, "
        "plugin.QatzipCodec.availability().backend]))"
    )
    asked = subprocess.run(
        [sys.executable, "-c", script], env=os.environ | {"PYTHONPATH": str(site)},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    place, *told, backend = json.loads(asked.stdout)
    assert place.startswith(str(site))
    assert told == [setting, built]
    assert ("libqatzip" in backend) == built


def test_editable_follows_the_flag(
    tree: Path, build_environment: dict[str, str], tmp_path: Path
) -> None:
    """The binding and the record lie in the sources; disabled takes the binding away again."""
    package = tree / "src/codecs_core_qatzip"
    script = (
        "import sys, build_flag; "
        "build_flag.build_editable(sys.argv[1], {'enable-qatzip': sys.argv[2]})"
    )
    for setting, bindings in (("enabled", 1), ("disabled", 0)):
        done = subprocess.run(
            [sys.executable, "-c", script, str(tmp_path), setting],
            cwd=tree, env=build_environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert len(list(package.glob("_binding*.so"))) == bindings
        assert json.loads((package / "_build.json").read_text())["setting"] == setting
