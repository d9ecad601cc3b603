"""The documentation tells the truth: its programs run, its links lead somewhere."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from codecs_core import registry
from codecs_core.cli import COMMANDS, cli, main
from codecs_core.wire import control

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    page
    for place in (".", "docs", "plugins", "integrations", "examples", "tests/data/streams")
    for page in (ROOT / place).glob("*.md" if place == "." else "**/*.md")
    if ".venv" not in page.parts and "build" not in page.parts
)
README = (ROOT / "README.md").read_text()
CHOOSING = (ROOT / "docs/choosing.md").read_text()
NEED_A_PLUGIN = (ROOT / "docs/write-a-codec.md", ROOT / "examples/codecs-core-xz/README.md")
PROGRAMS = [
    program
    for page in (ROOT / "README.md", *(ROOT / "docs").rglob("*.md"))
    if page not in NEED_A_PLUGIN
    for program in re.findall(r"^```python\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)
]
SHELL = re.compile(r"^```sh([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
OPERATOR = re.compile(r"[|&;<>]+")
NAMED = re.compile(r"`((?:[\w-]+/)+[\w-]+\.(?:py|md|sh)|tests/\w+|test_\w+(?:\.py)?|Test\w+)`")
LINK = re.compile(r"\]\((?!https?:|#)([^)#]+)")


TESTS = {
    name
    for tests in (ROOT / "tests", ROOT / "codecs_core/testing", *ROOT.glob("plugins/*/tests"))
    for file in tests.rglob("*.py")
    for name in re.findall(r"(?:def|class) ([tT]est\w+)", file.read_text())
}


@pytest.mark.parametrize("program", PROGRAMS, ids=range(len(PROGRAMS)))
def test_programs_run(program: str) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", program],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    # Where the machine is busy, asyncio remarks in this mode that a step took long.
    said = re.sub(r"^Executing <.*> took .* seconds\n", "", done.stderr, flags=re.MULTILINE)
    assert (done.returncode, said) == (0, "")


def test_readme_shows_a_transfer() -> None:
    assert any("Sender" in program and "Receiver" in program for program in PROGRAMS)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files(page: Path) -> None:
    broken = [link for link in LINK.findall(page.read_text()) if not (page.parent / link).exists()]
    assert broken == []


def test_readme_names_every_command() -> None:
    assert [name for name in COMMANDS if f"`multifd {name}" not in README] == []


def calls() -> Iterator[list[str]]:
    """What stands behind multifd wherever a page calls it, but for calls that are shown to fail."""
    for page in PAGES:
        for title, block in SHELL.findall(page.read_text()):
            if "fails" in title or page in NEED_A_PLUGIN:
                continue
            for line in block.replace("\\\n", " ").splitlines():
                words: list[str] = []
                for word in [*shlex.split(line, comments=True), ";"]:
                    if not OPERATOR.fullmatch(word):
                        words.append(word)
                        continue
                    if words[:1] == ["multifd"] and "…" not in words:
                        # A monitor has to be there.
                        yield [__file__ if each.endswith(".qmp") else each for each in words[1:]]
                    words = []


@pytest.mark.parametrize("words", list(calls()), ids=" ".join)
def test_commands_take_what_pages_give_them(words: list[str]) -> None:
    command: click.Command = cli
    context = click.Context(cli, info_name="multifd")
    while isinstance(command, click.Group) and words[:1] != ["--help"]:
        found = command.get_command(context, words[0])
        assert found is not None, words[0]
        command, words = found, words[1:]
    command.make_context("command", list(words), parent=context)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_a_page_names_is_there(page: Path) -> None:
    """Files, from the root, the package or the page on; tests by their names."""
    places = [ROOT, ROOT / "codecs_core", page.parent, *ROOT.glob("tests/*/")]
    missing = [
        name
        for name in NAMED.findall(page.read_text())
        if not any((place / name).exists() for place in places) and name not in TESTS
    ]
    assert missing == []


def test_architecture_names_every_part() -> None:
    page = (ROOT / "docs/architecture.md").read_text()
    rows = {
        name
        for line in page.splitlines()
        if line[0:1] == "|"
        for name in re.findall(r"`([^`]+)`", line)
    }
    parts = {
        path.name + "/" * path.is_dir()
        for path in (ROOT / "codecs_core").iterdir()
        if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    parts |= {
        path.name
        for part in ("engine", "gateway")
        for path in (ROOT / "codecs_core" / part).glob("*.py")
    }
    assert {part for part in parts if part[0] != "_"} - rows == set()


def test_the_first_page_has_the_figures_of_the_benchmarks() -> None:
    """Within what was measured there, to a tenth."""
    page, benchmarks = ((ROOT / f"docs/{name}.md").read_text() for name in ("index", "benchmarks"))
    row = r"^\| guest \| (\w+) \| multifd \| (.+?) \| rate \| \S+ \| (\S+) to (\S+) \|"
    spreads = {
        (codec, "the fastest pipe" if against.startswith("best of") else against): spread
        for codec, against, *spread in re.findall(row, benchmarks, re.MULTILINE)
    }
    figures = re.findall(r"^\| (\w+) \| (.+) \| ([\d.]+) × \|$", page, re.MULTILINE)
    assert len(figures) > 5
    for codec, against, figure in figures:
        low, high = map(float, spreads[codec, against])
        assert low - 0.05 <= float(figure) <= high + 0.05, (codec, against)


def test_wire_format_has_every_control_message_with_its_fields_and_limit() -> None:
    page = (ROOT / "docs/wire-format.md").read_text()
    rows = {
        cells[2].strip(): cells
        for line in re.findall(r"^\| \d+ \| [A-Z]+ \|.*", page, re.MULTILINE)
        for cells in [line.split("|")]
    }
    messages: dict[control.Type, Any] = {
        each.type: each
        for each in vars(control).values()
        if isinstance(getattr(each, "type", None), control.Type)
    }
    assert set(messages) == set(control.Type)
    assert set(rows) == {each.name for each in control.Type}
    for kind, message in messages.items():
        _, number, _, _, body, limit, _ = rows[kind.name]
        count, unit = limit.split()
        assert int(number) == kind.value
        assert int(count) << {"KiB": 10, "MiB": 20}[unit] == message.limit
        if kind is not control.Type.DATA:  # its body is the data
            named = set(re.findall(r"`(\w+)`", body))
            assert set(message.__struct_fields__) - named == set(), kind.name


@pytest.mark.parametrize("codec", ["qatzip", "qpl"])
def test_a_page_names_every_parameter_with_its_default(codec: str) -> None:
    page = (ROOT / f"docs/{codec}.md").read_text()
    for each in registry.codecs()[codec].parameters:
        default = str(each.default).lower()
        row = next(line for line in page.splitlines() if line.startswith(f"| `{each.name}` |"))
        assert default in row.split("|")[3]


EXAMPLES = re.findall(
    r"^```\n\$ multifd (advise --root [^\n]*)\n(.*?)^```$",
    CHOOSING,
    re.MULTILINE | re.DOTALL,
)


def test_choosing_has_examples() -> None:
    assert len(EXAMPLES) >= 3


@pytest.mark.parametrize(("command", "shown"), EXAMPLES, ids=range(len(EXAMPLES)))
def test_examples_are_what_the_command_prints(
    command: str, shown: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Between the lines of dots."""
    monkeypatch.chdir(ROOT)
    assert main(command.split()) == 0
    rest = capsys.readouterr().out
    for part in filter(None, shown.split("…\n")):
        _, found, rest = rest.partition(part)
        assert found == part
