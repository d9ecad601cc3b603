"""``multifd new-codec``: it makes what works; names that cannot be, directories that are full."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from codecs_core.errors import UsageError
from codecs_core.scaffold.plugin import NewPlugin

if TYPE_CHECKING:
    from tests.cli.conftest import Result
    from tests.conftest import Plugins

    Multifd = Callable[..., Result]

EXAMPLE = Path(__file__).parents[2] / "examples/codecs-core-xz"


def test_the_worked_example_is_what_it_makes() -> None:
    plugin = NewPlugin("xz", "packs tightest, for the slowest links")
    files = plugin.files()
    assert {name: (EXAMPLE / name).read_text() for name in files} == files


def test_writes_a_distribution(
    multifd: Multifd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = multifd("new-codec", "brand-new", "--json")
    assert (result.status, result.err) == (0, "")
    told = json.loads(result.out)
    assert told["distribution"] == told["directory"] == "codecs-core-brand-new"
    assert told["module"] == "codecs_core_brand_new"
    written = (path for path in Path(told["directory"]).rglob("*") if path.is_file())
    assert sorted(told["files"]) == sorted(map(str, written))


def test_says_what_comes_next(multifd: Multifd, tmp_path: Path) -> None:
    place = tmp_path / "a place"
    result = multifd("new-codec", "new", str(place))
    assert result.out.splitlines() == [
        f"{place}: codecs-core-new, a plugin for the codec new",
        f"  pip install -e '{place}[testing]'",
        f"  pytest '{place}'",
    ]


@pytest.mark.parametrize(
    "name", ["", "New", "new_codec", "-new", "new-", "new--codec", "n.w", "../new", "n" * 32, "nëw"]
)
def test_a_name_that_cannot_be(multifd: Multifd, tmp_path: Path, name: str) -> None:
    result = multifd("new-codec", "--", name, str(tmp_path / "place"))
    assert result.status == 2
    assert f"{name!r} cannot be a codec's name; remedy: at most 31 lower-case letters" in result.err
    assert not (tmp_path / "place").exists()


def test_a_name_that_is_taken(multifd: Multifd, plugins: Plugins, tmp_path: Path) -> None:
    plugins.install("busy", distribution="codecs-core-busy")
    plugins.install("other", distribution="codecs-core-half")
    for name, owner in {
        "busy": "codecs-core-busy 1.0",
        "half": "codecs-core-half 1.0",
        "none": "codecs-core ",
        "auto": "the adaptive method",
        "zstd": "codecs-core-zstd",
    }.items():
        result = multifd("new-codec", name, str(tmp_path / "place"))
        assert result.status == 2
        assert f"the name {name!r} is taken by {owner}" in result.err
    assert not (tmp_path / "place").exists()


@pytest.mark.parametrize("summary", ["", " ", 'says "so"', "back\\slash", "two\nlines"])
def test_a_summary_that_does_not_fit(summary: str) -> None:
    with pytest.raises(UsageError, match="remedy: one line without quotation marks"):
        NewPlugin("new", summary)


def test_nothing_is_overwritten(multifd: Multifd, tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("mine")
    result = multifd("new-codec", "new", str(tmp_path))
    assert result.status == 2
    assert f"{tmp_path} is not empty; remedy: give one that is new or empty" in result.err
    assert [path.name for path in tmp_path.iterdir()] == ["README.md"]
    assert (tmp_path / "README.md").read_text() == "mine"


def test_a_file_is_no_directory(multifd: Multifd, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert multifd("new-codec", "new", str(tmp_path / "file")).status == 2
    with pytest.raises(UsageError, match="is a file"):
        NewPlugin("new").write(tmp_path / "file")


def test_an_empty_repository_will_do(multifd: Multifd, tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    assert multifd("new-codec", "new", str(tmp_path)).status == 0
    assert (tmp_path / "pyproject.toml").exists()


@pytest.mark.parametrize("new", [True, False])
def test_nothing_is_left_where_it_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, new: bool
) -> None:
    place = tmp_path / "place"
    if not new:
        place.mkdir()
        (place / ".git").mkdir()
    whole = NewPlugin("new").files()
    last = list(whole)[-1]
    broken = whole | {last: "\ud800"}  # which UTF-8 does not have
    monkeypatch.setattr(NewPlugin, "files", lambda self: broken)
    with pytest.raises(UnicodeEncodeError):
        NewPlugin("new").write(place)
    assert [path.name for path in tmp_path.rglob("*")] == ([] if new else ["place", ".git"])


def test_it_installs_and_works(multifd: Multifd, tmp_path: Path) -> None:
    """Its own tests run where the worked example is tested."""
    name = "7z-like"
    place, site = tmp_path / "plugin", tmp_path / "site"
    assert multifd("new-codec", name, str(place)).status == 0
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, f"--target={site}", str(place)], check=True, capture_output=True)
    script = (
        "import codecs_core as c; from codecs_core.cli import main; "
        f"packed = c.compress(b'page' * 1000, codec={name!r}, level=2); "
        f"assert c.decompress(packed, codec={name!r}, max_length=4000) == b'page' * 1000; "
        "main(['codecs', '--json'])"
    )
    asked = subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        env=os.environ | {"PYTHONPATH": str(site), "CODECS_CORE_PLUGINS": name},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (asked.returncode, asked.stderr) == (0, "")
    row = json.loads(asked.stdout)["codecs"][-1]
    assert (row["name"], row["state"]) == (name, "available")
    assert row["summary"] == f"{name}: LZMA2, until it has an algorithm of its own."
    assert row["distribution"] == f"codecs-core-{name}"
