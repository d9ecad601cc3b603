"""The worked example for plugin authors: it works for a stranger, and its page tells the truth."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "examples" / "codecs-core-xz"
PAGE = (ROOT / "docs" / "write-a-codec.md").read_text()
BLOCK = re.compile(r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL)
NOT_SHOWN = {"README.md", "src/codecs_core_xz/py.typed"}


def lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.strip()]


def test_page_shows_the_example_whole_and_in_order() -> None:
    """The blocks of a file, one after the other, are the file."""
    shown: dict[str, list[str]] = {}
    for _, title, code in BLOCK.findall(PAGE):
        if title:
            shown.setdefault(title, []).extend(lines(code))
    assert set(shown) == tracked() - NOT_SHOWN
    for title, code in shown.items():
        assert code == lines((EXAMPLE / title).read_text()), title


def test_page_names_every_hook_and_part_of_the_contract() -> None:
    from codecs_core import codec, file_format, hookspecs

    names = [name for name in hookspecs.__all__ if name.startswith("codecs_core_")]
    names += ["encode", "decode_into", "encoder", "decoder", "availability", "compress"]
    names += ["open_reader", "parameter", *codec.Codec.__annotations__]
    names += ["file_packer", "measure", "decompress_member", "FilePacker", "Member"]
    names += ["pack", "join", "end", *file_format.FileFormat.__annotations__]
    assert [name for name in names if name not in PAGE] == []


def tracked() -> set[str]:
    """The example's files, without what builds and test runs leave behind."""
    left = re.compile(r"(\.egg-info|__pycache__|/build|\.pytest_cache|\.hypothesis)(/|$)")
    files = (path for path in EXAMPLE.rglob("*") if path.is_file())
    names = {path.relative_to(EXAMPLE).as_posix() for path in files}
    return {name for name in names if not left.search(f"/{name}")}


@pytest.fixture(scope="module")
def stranger(wheelhouse: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh environment: the core's wheel, a new plugin, what they ask for; nothing of ours."""
    place = tmp_path_factory.mktemp("stranger")
    venv.create(place / "venv", symlinks=True)
    pip = [sys.executable, "-m", "pip", "--python", str(place / "venv/bin/python"), "install"]
    run(place, *pip, "--quiet", *map(str, wheelhouse.glob("codecs_core-*.whl")))
    summary = "packs tightest, for the slowest links"
    run(place, "venv/bin/multifd", "new-codec", "xz", "example", "--summary", summary)
    run(place, *pip, "--quiet", "./example[testing]")
    return place


def run(place: Path, *command: str) -> str:
    """Run a command there, away from this checkout, and return what it prints."""
    hidden = ("PYTHONPATH", "CODECS_CORE_PLUGINS", "PYTEST_ADDOPTS")
    environment = {name: value for name, value in os.environ.items() if name not in hidden}
    done = subprocess.run(
        command, cwd=place, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{command}:\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.mark.timeout(300)
def test_example_is_what_new_codec_makes(stranger: Path) -> None:
    for name in tracked():
        assert (stranger / "example" / name).read_text() == (EXAMPLE / name).read_text()


@pytest.mark.timeout(300)
def test_man_pages_are_installed(stranger: Path) -> None:
    assert (stranger / "venv/share/man/man1/multifd-new-codec.1").exists()


@pytest.mark.timeout(300)
def test_installed_example_is_listed(stranger: Path) -> None:
    listing = json.loads(run(stranger, "venv/bin/multifd", "codecs", "--json"))
    rows = {row["name"]: row for row in listing["codecs"]}
    assert set(rows) == {"none", "xz"}
    assert rows["xz"]["state"] == "available"
    assert rows["xz"]["distribution"] == "codecs-core-xz"
    assert [each["name"] for each in rows["xz"]["parameters"]] == ["multifd-xz-level"]


@pytest.mark.timeout(300)
def test_installed_example_passes_its_own_tests(stranger: Path) -> None:
    report = run(stranger / "example", "../venv/bin/python", "-m", "pytest", "-q", "tests")
    assert re.search(r"^\d{2,} passed", report, re.MULTILINE), report


@pytest.mark.timeout(300)
def test_code_that_uses_the_example_runs(stranger: Path) -> None:
    programs = [code for language, title, code in BLOCK.findall(PAGE) if language == "python"]
    programs = [code for code in programs if code.startswith("import codecs_core\n")]
    assert programs
    for program in programs:
        run(stranger, "venv/bin/python", "-c", program)
