"""Running ``multifd``, in this process and in others, and commands made for one test."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import click
import pytest

from codecs_core import cli

MULTIFD = str(Path(sys.executable).with_name("multifd"))
WAIT = 60
PAGE = 4096
Process = subprocess.Popen[bytes]
Start = Callable[..., Process]
Receive = Callable[..., tuple[Process, str]]


@dataclass(frozen=True)
class Result:
    """What a run left behind."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one JSON object on stdout."""
        return json.loads(self.out)


@pytest.fixture
def multifd(capsys: pytest.CaptureFixture[str]) -> Callable[..., Result]:
    """Run ``multifd`` with these arguments."""

    def run(*arguments: str) -> Result:
        status = cli.main(arguments)
        return Result(status, *capsys.readouterr())

    return run


@pytest.fixture
def add_command(monkeypatch: pytest.MonkeyPatch) -> Callable[[click.Command], None]:
    """Give ``multifd`` another command for this test."""

    def add(command: click.Command) -> None:
        assert command.name
        module = ModuleType(f"{cli.__name__}.{command.name}")
        module.command = command  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, module.__name__, module)
        monkeypatch.setitem(cli.COMMANDS, command.name, "A command of the tests.")

    return add


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start ``multifd``, or ``program``, in ``tmp_path``; it is dead after the test."""
    running: list[Process] = []

    def run(
        *arguments: str,
        stdin: int | None = subprocess.DEVNULL,
        program: str = MULTIFD,
        **more: Any,
    ) -> Process:
        process = subprocess.Popen(
            [program, *arguments],
            cwd=tmp_path,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            **more,
        )
        running.append(process)
        return process

    yield run
    for process in running:
        process.kill()
        with process:
            pass


@pytest.fixture
def receive(start: Start) -> Callable[..., tuple[Process, str]]:
    """Start ``multifd recv`` on a free port; return it and its address."""

    def run(dest: str, *options: str, **more: Any) -> tuple[Process, str]:
        process = start("recv", "tcp:127.0.0.1:0", dest, *options, **more)
        assert process.stderr is not None
        line = process.stderr.readline().decode()
        assert line.startswith("listening on tcp:127.0.0.1:"), line
        return process, line.split()[-1]

    return run


def end(process: Process, data: bytes | None = None) -> tuple[int, bytes, str]:
    """Wait for a process: its status, its stdout, its stderr."""
    out, err = process.communicate(data, timeout=WAIT)
    return process.returncode, out, err.decode()


def content(size: int) -> bytes:
    """Bytes of which some pages are zero, some compress, some do not."""
    generator = random.Random(size)
    pages = [bytes(PAGE), b"compresses " * 400, generator.randbytes(PAGE)]
    return b"".join(generator.choices(pages, k=-(-size // PAGE)))[:size]


def whole(place: Path) -> list[str]:
    """What looks whole: all names but hidden ones."""
    return sorted(each.name for each in place.iterdir() if not each.name.startswith("."))


def leftovers(place: Path) -> list[str]:
    return sorted(each.name for each in place.iterdir() if each.name.startswith("."))
