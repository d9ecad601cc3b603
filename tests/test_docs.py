"""The documentation tells the truth: its programs run, its links lead somewhere."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from codecs_core import registry
from codecs_core.cli import COMMANDS, main
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
NEEDS_A_PLUGIN = ROOT / "docs/write-a-codec.md"
PROGRAMS = [
    program
    for page in (ROOT / "README.md", *(ROOT / "docs").rglob("*.md"))
    if page != NEEDS_A_PLUGIN
    for program in re.findall(r"^```python\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)
]
LINK = re.compile(r"\]\((?!https?:|#)([^)#]+)")


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


def test_wire_format_names_every_control_message() -> None:
    page = (ROOT / "docs/wire-format.md").read_text()
    rows = dict(re.findall(r"^\| (\d+) \| ([A-Z]+) \|", page, re.MULTILINE))
    assert rows == {str(each.value): each.name for each in control.Type}


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
