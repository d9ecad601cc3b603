"""The build flags of the plugins: every value, every way to give it, every kind of build."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Flag:
    """A flag of a plugin, the binding that it decides about, and what its errors name."""

    plugin: str
    name: str
    module: str
    missing: str
    packages: tuple[str, ...]
    others: tuple[str, ...] = ()

    @property
    def package(self) -> str:
        return f"codecs_core_{self.plugin}"

    @property
    def alone(self) -> tuple[str, ...]:
        """The arguments that leave this flag alone to decide."""
        return tuple(f"-Cenable-{other}=disabled" for other in self.others)


QATZIP = Flag(
    "qatzip", "qatzip", "_binding", "qatzip",
    ("libqatzip-dev on Debian 13, Ubuntu 24.04 and later",
     "qatzip-devel on Fedora, openSUSE and RHEL"),
)  # fmt: skip
QPL = Flag("qpl", "qpl", "_binding", "qpl >= 1.5.0", ("libqpl-dev on Debian unstable",), ("isal",))
ISAL = Flag(
    "qpl", "isal", "_software", "libisal and libdeflate",
    ("libisal-dev and libdeflate-dev on Debian",), ("qpl",),
)  # fmt: skip


@pytest.fixture(params=[QATZIP, QPL, ISAL], ids=lambda flag: flag.name)
def flag(request: pytest.FixtureRequest) -> Flag:
    value: Flag = request.param
    return value


@pytest.fixture
def tree(flag: Flag, tmp_path: Path) -> Path:
    """The plugin's sources, as an sdist would have them."""
    return sources(flag.plugin, tmp_path)


def sources(plugin: str, place: Path) -> Path:
    copy = place / "plugin"
    # With what comes and goes where an sdist is made there meanwhile.
    passing = ("codecs_core_*-*", "dist", ".*")
    made = ("*.so", "_build.json", "*.egg-info", "build", "__pycache__")
    ignored = shutil.ignore_patterns(*made, *passing)
    shutil.copytree(ROOT / "plugins" / plugin, copy, ignore=ignored)
    return copy


@pytest.fixture(scope="session")
def build_environment() -> dict[str, str]:
    """The environment in which pkg-config finds the libraries: here, or in the system."""
    places = [str(ROOT / f"build/{name}/lib/pkgconfig") for name in ("libqatzip", "libqpl")]
    paths = ":".join(filter(None, [*places, os.environ.get("PKG_CONFIG_PATH", "")]))
    environment = os.environ | {"PKG_CONFIG_PATH": paths}
    for name in ("QATZIP", "QPL", "ISAL"):
        environment.pop(f"ENABLE_{name}", None)
    return environment


@pytest.fixture
def bare(build_environment: dict[str, str], tmp_path: Path) -> dict[str, str]:
    """An environment without any of the libraries."""
    return build_environment | {"PKG_CONFIG_LIBDIR": str(tmp_path), "PKG_CONFIG_PATH": ""}


def build(
    tree: Path, environment: dict[str, str], *arguments: str, kind: str = "--wheel"
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "build", "--no-isolation", kind, *arguments, str(tree)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def record(wheel: Path, flag: Flag) -> tuple[dict[str, object], list[str]]:
    """What the wheel says of the flag, and its bindings."""
    with zipfile.ZipFile(wheel) as archive:
        bindings = [each for each in archive.namelist() if each.endswith(".so")]
        return json.loads(archive.read(f"{flag.package}/_build.json"))[flag.name], bindings


def only_wheel(tree: Path) -> Path:
    (wheel,) = (tree / "dist").glob("*.whl")
    return wheel


# How a flag is spelled concerns the helper that all plugins share: once is enough.
once = pytest.mark.parametrize("flag", [QATZIP], ids=["qatzip"], indirect=True)


@pytest.mark.parametrize(
    ("flag", "argument"),
    [
        *((QATZIP, each) for each in (
            "", "-Cenable-{}=auto", "-C--enable-{}", "-C--enable-{}=", "-Cenable_{}=enabled"
        )),
        (QPL, ""),
        (ISAL, ""),
    ],
    indirect=["flag"],
)  # fmt: skip
def test_with_the_library(
    flag: Flag, tree: Path, build_environment: dict[str, str], argument: str
) -> None:
    given = [argument.format(flag.name)] if argument else []
    done = build(tree, build_environment, *flag.alone, *given)
    assert done.returncode == 0, done.stderr
    wheel = only_wheel(tree)
    assert "-cp311-abi3-linux" in wheel.name
    built, bindings = record(wheel, flag)
    assert bindings == [f"{flag.package}/{flag.module}.abi3.so"]
    assert built["built"] is True
    assert built["version"]
    assert f"{flag.name}: {built['setting']}: found version {built['version']}" in done.stdout


@pytest.mark.parametrize(
    ("flag", "argument"),
    [
        (QATZIP, "--disable-{}"),
        (QATZIP, "disable-{}="),
        (QPL, "enable-{}=disabled"),
        (ISAL, "enable-{}=disabled"),
    ],
    indirect=["flag"],
)
def test_disabled(flag: Flag, tree: Path, build_environment: dict[str, str], argument: str) -> None:
    # What an earlier build left must not get in.
    (tree / "src" / flag.package / f"{flag.module}.abi3.so").touch()
    done = build(tree, build_environment, *flag.alone, f"-C{argument.format(flag.name)}")
    assert done.returncode == 0, done.stderr
    wheel = only_wheel(tree)
    assert wheel.name.endswith("-py3-none-any.whl")
    built, bindings = record(wheel, flag)
    assert bindings == []
    assert (built["setting"], built["built"]) == ("disabled", False)


def test_auto_without_the_library_says_so(flag: Flag, tree: Path, bare: dict[str, str]) -> None:
    done = build(tree, bare)
    assert done.returncode == 0, done.stderr
    reason = f"built without it: pkg-config does not find {flag.missing}"
    assert f"{flag.name}: auto: {reason}" in done.stdout
    built, bindings = record(only_wheel(tree), flag)
    assert bindings == []
    assert built["reason"] == reason


def test_enabled_without_the_library_fails_in_one_line(
    flag: Flag, tree: Path, bare: dict[str, str]
) -> None:
    done = build(tree, bare, f"-Cenable-{flag.name}=enabled")
    assert done.returncode != 0
    (line,) = [each for each in done.stderr.splitlines() if "error:" in each]
    assert all(each in line for each in flag.packages)
    assert "Traceback" not in done.stderr
    assert not list(tree.glob("dist/*"))


@once
def test_without_pkg_config(flag: Flag, tree: Path, build_environment: dict[str, str]) -> None:
    environment = build_environment | {"PKG_CONFIG": "no-such-command"}
    done = build(tree, environment, f"-C--enable-{flag.name}")
    assert done.returncode != 0
    assert "no-such-command, which finds " in done.stderr
    assert "is not installed" in done.stderr


def test_without_a_compiler(flag: Flag, tree: Path, build_environment: dict[str, str]) -> None:
    """One binding that does not compile takes no other with it."""
    environment = build_environment | {"CC": "false"}
    done = build(tree, environment, *flag.alone)
    assert done.returncode == 0, done.stderr
    built, bindings = record(only_wheel(tree), flag)
    assert bindings == []
    assert built["built"] is False
    assert str(built["reason"]).startswith("built without it: its binding does not compile")
    done = build(tree, environment, f"-C--enable-{flag.name}")
    assert done.returncode != 0
    assert f"error: {flag.name} is enabled, but its binding does not compile" in done.stderr


@once
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("enable-{}=enable",), "is one of auto, enabled, disabled, not 'enable'"),
        (("enable-{}=no",), "is one of auto, enabled, disabled, not 'no'"),
        (("--disable-{}=enabled",), "takes no value"),
        (("--enable-{}", "--disable-{}"), "contradict each other"),
    ],
)
def test_a_typo_is_refused(
    flag: Flag,
    tree: Path,
    build_environment: dict[str, str],
    arguments: tuple[str, ...],
    said: str,
) -> None:
    given = [f"-C{each.format(flag.name)}" for each in arguments]
    done = build(tree, build_environment, *given)
    assert done.returncode != 0
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_library_that_is_too_old_does_not_count(
    build_environment: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "qpl.pc").write_text("Name: qpl\nDescription: old\nVersion: 1.4.0\nLibs:\n")
    environment = build_environment | {"PKG_CONFIG_PATH": str(tmp_path)}
    done = build(sources("qpl", tmp_path), environment, "-C--enable-qpl")
    assert done.returncode != 0
    assert "pkg-config does not find qpl >= 1.5.0" in done.stderr


@once
def test_the_environment_serves_tools_without_settings(
    flag: Flag, tree: Path, build_environment: dict[str, str]
) -> None:
    variable = f"ENABLE_{flag.name.upper()}"
    done = build(tree, build_environment | {variable: "disabled"}, *flag.alone)
    assert record(only_wheel(tree), flag)[0]["setting"] == "disabled", done.stderr
    environment = build_environment | {variable: "disabled"}
    done = build(tree, environment, *flag.alone, f"-C--enable-{flag.name}")
    wheels = list(tree.glob("dist/*.whl"))
    assert any(record(wheel, flag)[0]["built"] for wheel in wheels), done.stderr
    done = build(tree, build_environment | {variable: "yes"})
    assert f"{variable} is one of auto, enabled, disabled, not 'yes'" in done.stderr


@pytest.mark.parametrize("plugin", ["qatzip", "qpl"])
def test_an_sdist_stands_alone(
    build_environment: dict[str, str], bare: dict[str, str], tmp_path: Path, plugin: str
) -> None:
    """It needs no library, and has all that a build with all of them needs."""
    done = build(ROOT / "plugins" / plugin, bare, f"--outdir={tmp_path}", kind="--sdist")
    assert done.returncode == 0, done.stderr
    (archive,) = tmp_path.glob("*.tar.gz")
    shutil.unpack_archive(archive, tmp_path / "unpacked", filter="data")
    (source,) = (tmp_path / "unpacked").iterdir()
    names = {str(each.relative_to(source)) for each in source.rglob("*") if each.is_file()}
    assert not any(each.is_symlink() for each in source.rglob("*"))
    assert {"README.md", "VERSION", "build_flag.py", "distribution.py", "tests/double.c"} <= names
    assert not any(each.endswith((".so", "_build.json")) for each in names)
    flags = [each for each in (QATZIP, QPL, ISAL) if each.plugin == plugin]
    enabled = [f"-C--enable-{each.name}" for each in flags]
    assert build(source, build_environment, *enabled).returncode == 0
    bindings = {Path(each).name for each in record(only_wheel(source), flags[0])[1]}
    assert bindings == {f"{each.module}.abi3.so" for each in flags}


@pytest.mark.parametrize(("setting", "built"), [("enabled", True), ("disabled", False)])
def test_installed_it_tells_how_it_was_built(
    flag: Flag,
    tree: Path,
    build_environment: dict[str, str],
    tmp_path: Path,
    setting: str,
    built: bool,
) -> None:
    """Whatever was left out, packets pass."""
    site = tmp_path / "site"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation"]
    done = subprocess.run(
        [*pip, f"--target={site}", *flag.alone, f"-Cenable-{flag.name}={setting}", str(tree)],
        env=build_environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    script = (
        "import json; from codecs_core import get_codec; from codecs_core.build import build_info; "
        f"import {flag.package} as plugin; info = build_info({flag.package!r}, {flag.name!r}); "
        f"codec = get_codec({flag.plugin!r}, backend='software'); pages = b'page' * 2048; "
        "payload = memoryview(codec.encoder().encode(memoryview(pages))); "
        "back = bytearray(8192); codec.decoder().decode_into(payload, memoryview(back)); "
        "print(json.dumps([plugin.__file__, info.setting, info.built, back == pages, "
        "codec.availability().backend]))"
    )
    asked = subprocess.run(
        [sys.executable, "-c", script], env=os.environ | {"PYTHONPATH": str(site)},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    place, *told, backend = json.loads(asked.stdout)
    assert place.startswith(str(site))
    assert told == [setting, built, True]
    if flag is ISAL:
        assert ("page by page" in backend) != built
    else:
        assert ("no device" in backend) == built


def test_editable_follows_the_flag(
    flag: Flag, tree: Path, build_environment: dict[str, str], tmp_path: Path
) -> None:
    """The binding and the record lie in the sources; disabled takes the binding away again."""
    package = tree / "src" / flag.package
    script = (
        "import sys, build_flag; "
        f"build_flag.build_editable(sys.argv[1], {{'enable-{flag.name}': sys.argv[2]}})"
    )
    for setting, bindings in (("enabled", 1), ("disabled", 0)):
        done = subprocess.run(
            [sys.executable, "-c", script, str(tmp_path), setting],
            cwd=tree, env=build_environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert len(list(package.glob(f"{flag.module}*.so"))) == bindings
        recorded = json.loads((package / "_build.json").read_text())
        assert recorded[flag.name]["setting"] == setting
