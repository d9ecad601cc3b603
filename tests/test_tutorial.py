"""The tutorial, typed in by a test: its commands do what it says, and print what it shows."""

from __future__ import annotations

import os
import pty
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs/tutorial.md").read_text()
BLOCK = re.compile(r'^```(\w+) title="([^"]+)"\n(.*?)^```$', re.MULTILINE | re.DOTALL)
STEPS = BLOCK.findall(PAGE)
NUMBER = re.compile(r"\b\w*\d[\w.:]*( [KMG]iB)?")
WAIT = 30


class Terminal:
    """A command in a terminal of its own."""

    def __init__(self, command: str, directory: Path) -> None:
        self._screen, keyboard = pty.openpty()
        self._shown = b""
        self.process = subprocess.Popen(
            ["bash", "-euc", command],
            cwd=directory,
            env={
                **os.environ,
                "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
                "TERM": "dumb",
            },
            stdin=keyboard,
            stdout=keyboard,
            stderr=keyboard,
        )
        os.close(keyboard)

    @property
    def shown(self) -> str:
        return self._shown.decode().replace("\r\n", "\n")

    def read(self, *, until: str | None = None) -> None:
        """Read what is shown until these words come, or to the end."""
        while until is None or until not in self.shown:
            try:
                piece = os.read(self._screen, 1 << 16)
            except OSError:  # the last program has let go of the terminal
                break
            self._shown += piece

    def end(self) -> tuple[int, str]:
        """Return the exit status, and all that was shown."""
        self.read()
        return self.process.wait(WAIT), self.shown

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._screen)


@pytest.fixture
def terminals() -> Iterator[list[Terminal]]:
    opened: list[Terminal] = []
    yield opened
    for each in opened:
        each.close()


def test_tutorial(tmp_path: Path, terminals: list[Terminal]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    shown: dict[str, str] = {}
    receiver, receiver_fails = None, False
    for language, title, code in STEPS:
        place, _, what = title.partition(", ")
        if language == "python":
            (tmp_path / title).write_text(code.replace("4444", port))
        elif language == "text":
            assert_shows(shown[place], code.replace("4444", port))
        elif place == "Terminal 2":
            receiver_fails = what == "fails"
            receiver = Terminal(code.replace("4444", port), tmp_path)
            terminals.append(receiver)
            receiver.read(until="listening on")
        elif place == "Terminal 1":
            sender = Terminal(code.replace("4444", port), tmp_path)
            terminals.append(sender)
            status, shown[place] = sender.end()
            assert (status != 0) == (what == "fails"), shown[place]
            if receiver is not None:
                status, shown["Terminal 2"] = receiver.end()
                assert (status != 0) == receiver_fails, shown["Terminal 2"]
                receiver = None


def assert_shows(shown: str, wanted: str) -> None:
    """Each line was shown, whatever its numbers, sizes and names with digits."""
    there = NUMBER.sub("0", shown).splitlines()
    assert [line for line in NUMBER.sub("0", wanted).splitlines() if line not in there] == [], shown


def test_tutorial_has_nothing_that_is_not_typed_in() -> None:
    """Every block says where it belongs."""
    titled = len(re.findall(r"^```\w+", PAGE, re.MULTILINE))
    assert len(STEPS) == titled
    assert {title.partition(",")[0] for language, title, _ in STEPS if language == "sh"} == {
        "Once", "Both terminals", "Terminal 1", "Terminal 2",
    }  # fmt: skip


def test_what_is_installed_exists() -> None:
    [once] = (code for _, title, code in STEPS if title == "Once")
    [line] = re.findall(r"^pip install (.*)$", once, re.MULTILINE)
    assert [each for each in line.split() if not (ROOT / each / "pyproject.toml").exists()] == []
