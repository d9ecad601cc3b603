"""What shells are offered for URIs, files and codecs."""

from __future__ import annotations

import os
from pathlib import Path

import click
import pytest
from click.shell_completion import ShellComplete

from codecs_core import cli

ALL = ["tcp:", "unix:", "fd:", "exec:"]


def offered(*words: str) -> list[str]:
    """What is offered for the last word; ``file`` where the shell offers files."""
    items = ShellComplete(cli.cli, {}, "multifd", "").get_completions(list(words[:-1]), words[-1])
    return ["file" if each.type == "file" else each.value for each in items]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("recv", ""), ALL),
        (("recv", "t"), ["tcp:"]),
        (("recv", "x"), []),
        (("recv", "tcp::0", ""), ["file"]),
        (("send", ""), ["file"]),
        (("send", "a.img", ""), [*ALL, "file"]),
        (("send", "a.img", "un"), ["unix:", "file"]),
        (("replay", "recording", "f"), ["fd:"]),
        (("record", ""), ["file"]),
        (("relay", "egress", "--listen", "u"), ["unix:"]),
        (("relay", "ingress", "--connect", ""), ALL),
        (("migrate", "--to", "e"), ["exec:"]),
        (("advise", "--to", "tc"), ["tcp:"]),
        (("send", "--multifd-compression", "non"), ["none"]),
        (("recv", "unix:/no/such/directory/"), []),
    ],
)
def test_offered(words: tuple[str, ...], expected: list[str]) -> None:
    assert offered(*words) == expected


def test_sockets(tmp_path: Path) -> None:
    (tmp_path / "relay.sock").touch()
    (tmp_path / "replies").mkdir()
    (tmp_path / "other").touch()
    place = f"unix:{tmp_path}{os.sep}"
    assert offered("recv", f"{place}re") == [f"{place}relay.sock", f"{place}replies/"]


def every_parameter(command: click.Command, context: click.Context) -> list[click.Parameter]:
    found = command.get_params(context)
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            assert child is not None
            found += every_parameter(child, click.Context(child, context, name))
    return found


def test_every_uri_is_completed() -> None:
    parameters = every_parameter(cli.cli, click.Context(cli.cli, info_name="multifd"))
    uris = [each for each in parameters if each.name == "uri" or each.metavar == "URI"]
    assert len(uris) >= 10
    assert [each.name for each in uris if each._custom_shell_complete is None] == []
