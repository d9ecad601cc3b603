"""``multifd codecs``: every plugin in every state, as JSON and as a table that loses nothing."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.cli.conftest import Result
    from tests.conftest import Plugins

    Multifd = Callable[..., Result]

FULL = """
method = 7
suffix = ".alp"
level: int = parameter(1, minimum=0, maximum=9, help="Effort; 0 is fastest.")
long: bool = parameter(False, help="Look far back.")
label: str = parameter("Auto", help="Any.")
backend: str = parameter("auto", choices=("auto", "soft"), local=True, help="Who works.")

@classmethod
def availability(cls):
    return Availability(backend="liballpha 1.2.3, and a second library 4.5.6")
"""
UNAVAILABLE = """
level: int = parameter(2, minimum=1, help="Effort.")

@classmethod
def availability(cls):
    return Availability(False, reason="libbeta is\\nmissing", remedy="apt-get install libbeta1")
"""


@pytest.fixture
def installed(plugins: Plugins) -> Plugins:
    """A plugin in every state, and one whose name is taken."""
    plugins.install("alpha", body=FULL)
    plugins.install("beta", body=UNAVAILABLE)
    plugins.install("gamma", source="raise RuntimeError('gamma is [red]not[/red] \\x1b[2Jwell')")
    plugins.install("alpha", distribution="late-alpha")
    return plugins


def test_json(multifd: Multifd, installed: Plugins) -> None:
    result = multifd("codecs", "--json")
    assert (result.status, result.err) == (0, "")
    none, alpha, beta, gamma, late = result.json["codecs"]
    assert alpha == {
        "name": "alpha",
        "state": "available",
        "method": 7,
        "suffix": ".alp",
        "backend": "liballpha 1.2.3, and a second library 4.5.6",
        "distribution": "fake-alpha",
        "version": "1.0",
        "summary": "A codec for tests.",
        "reason": "",
        "remedy": "",
        "parameters": alpha["parameters"],
    }
    level, long, label, backend = alpha["parameters"]
    assert level == {
        "name": "multifd-alpha-level",
        "type": "int",
        "default": 1,
        "minimum": 0,
        "maximum": 9,
        "choices": None,
        "help": "Effort; 0 is fastest.",
        "local": False,
    }
    assert (long["type"], long["default"]) == ("bool", False)
    assert (label["type"], label["default"]) == ("str", "Auto")
    assert (backend["choices"], backend["local"]) == (["auto", "soft"], True)

    assert (none["name"], none["method"], none["distribution"]) == ("none", 0, "codecs-core")
    assert (beta["state"], beta["method"]) == ("unavailable", None)
    assert beta["remedy"] == "apt-get install libbeta1"
    assert [each["name"] for each in beta["parameters"]] == ["multifd-beta-level"]
    assert (gamma["state"], gamma["distribution"]) == ("broken", "fake-gamma")
    assert gamma["reason"].startswith("RuntimeError: gamma is")
    assert gamma["remedy"]
    assert (late["name"], late["state"]) == ("alpha", "broken")
    assert late["reason"] == "the name 'alpha' is already taken by fake-alpha"


# What the table must show, word for word: nothing may be cut.
SHOWN = (
    "CODEC METHOD STATE FILES BACKEND DISTRIBUTION",
    "none 0 available codecs-core",
    "alpha 7 available .alp liballpha 1.2.3, and a second library 4.5.6 fake-alpha 1.0",
    "beta by name unavailable fake-beta 1.0",
    "gamma broken fake-gamma 1.0",
    "alpha broken late-alpha 1.0",
    "PARAMETER VALUES DEFAULT MEANING",
    "multifd-alpha-level 0 to 9 1 Effort; 0 is fastest.",
    "multifd-alpha-long true or false false Look far back.",
    "multifd-alpha-label a string Auto Any.",
    "multifd-alpha-backend auto, soft auto Who works. (local)",
    "multifd-beta-level a value of at least 1 2 Effort.",
    "beta (fake-beta 1.0) is unavailable: libbeta is missing",
    "remedy: apt-get install libbeta1",
    "gamma (fake-gamma 1.0) is broken: RuntimeError: gamma is [red]not[/red] \\x1b[2Jwell",
    "alpha (late-alpha 1.0) is broken: the name 'alpha' is already taken by fake-alpha",
)


def test_in_a_pipe_a_row_is_a_line(multifd: Multifd, installed: Plugins) -> None:
    result = multifd("codecs")
    assert (result.status, result.err) == (0, "")
    lines = [" ".join(line.split()) for line in result.out.splitlines()]
    for row in SHOWN:
        assert any(line.startswith(row) for line in lines), row
    assert "\x1b" not in result.out
    assert result.out.isascii()


def test_on_a_terminal_of_80_columns_nothing_is_cut(installed: Plugins) -> None:
    shown = on_a_terminal("codecs", columns=80, path=installed.directories)
    assert "\x1b[32mavailable" in shown
    plain = re.sub(r"\x1b\[[0-9;]*m", "", shown)
    tables = plain[: plain.index("\r\nbeta (fake-beta")]
    assert max(map(len, tables.splitlines())) <= 80
    for word in " ".join(SHOWN).split():
        assert word in plain


def test_without_plugins_there_is_still_none(multifd: Multifd, plugins: Plugins) -> None:
    result = multifd("codecs")
    assert result.status == 0
    assert [line.split()[0] for line in result.out.splitlines()] == ["CODEC", "none"]


def on_a_terminal(*arguments: str, columns: int, path: list[str]) -> str:
    """What ``multifd`` shows on a terminal of that width."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 25, columns, 0, 0))
    environment = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "NO_COLOR")}
    process = subprocess.Popen(
        [sys.executable, "-c", "from codecs_core.cli import main; main()", *arguments],
        stdin=theirs,
        stdout=theirs,
        env=environment | {"TERM": "xterm", "PYTHONPATH": os.pathsep.join(path)},
    )
    os.close(theirs)
    shown = bytearray()
    # An error is how a terminal ends on Linux.
    with open(ours, "rb", buffering=0) as terminal, contextlib.suppress(OSError):
        while chunk := terminal.read(4096):
            shown += chunk
    assert process.wait(timeout=60) == 0
    return shown.decode()
