"""Running ``multifd`` in this process, and commands made for one test."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import click
import pytest

from codecs_core import cli


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
