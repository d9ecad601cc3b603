"""The group: help without imports, and one place where every error ends."""

from __future__ import annotations

import importlib
import os
import pkgutil
import signal
import subprocess
import sys
from collections.abc import Callable
from importlib import metadata
from importlib.util import find_spec
from typing import TYPE_CHECKING

import click
import pytest

from codecs_core import cli, errors
from codecs_core.cli.output import json_option

if TYPE_CHECKING:
    from tests.cli.conftest import Result

    Multifd = Callable[..., Result]
    AddCommand = Callable[[click.Command], None]

WRITTEN = [name for name in cli.COMMANDS if find_spec(f"codecs_core.cli.{name.replace('-', '_')}")]


def run(code: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a program in an interpreter of its own."""
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        env=os.environ | environment,
        timeout=60,
    )


class TestHelp:
    def test_shows_a_line_for_every_command(self, multifd: Multifd) -> None:
        result = multifd("--help")
        assert (result.status, result.err) == (0, "")
        width = max(map(len, cli.COMMANDS))
        for name, line in cli.COMMANDS.items():
            assert f"  {name.ljust(width)}  {line}\n" in result.out
        for topic in (
            "Exit status:",
            "Examples:",
            "_MULTIFD_COMPLETE=bash_source",
            "MULTIFD_DEBUG",
        ):
            assert topic in result.out
        assert max(map(len, result.out.splitlines())) <= 80

    def test_is_shown_and_counts_as_misuse_where_no_command_is_given(
        self, multifd: Multifd
    ) -> None:
        result = multifd()
        assert (result.status, result.out) == (2, "")
        assert result.err == multifd("-h").out

    def test_imports_neither_a_command_nor_what_it_needs(self) -> None:
        code = """if True:
            import sys
            from codecs_core.cli import main
            assert main(["--help"]) == 0
            print(*sys.modules, file=sys.stderr)
        """
        result = run(code)
        assert result.returncode == 0
        modules = result.stderr.split()
        ours = {name for name in modules if name.startswith("codecs_core")}
        assert ours == {
            "codecs_core",
            "codecs_core.cli",
            "codecs_core.cli.standard",
            "codecs_core.errors",
        }
        packages = {name.split(".")[0] for name in modules}
        assert not packages & {"rich", "pluggy", "msgspec", "cffi"}

    def test_version(self, multifd: Multifd) -> None:
        assert multifd("--version").out == f"multifd {metadata.version('codecs-core')}\n"

    @pytest.mark.parametrize("name", [*WRITTEN, "relay egress", "relay ingress"])
    def test_of_every_command_fits_a_terminal(self, multifd: Multifd, name: str) -> None:
        result = multifd(*name.split(), "--help")
        assert result.status == 0
        assert result.out.startswith(f"Usage: multifd {name} ")
        assert "--json" in result.out or "COMMAND" in result.out
        assert max(map(len, result.out.splitlines())) <= 80

    @pytest.mark.parametrize("name", [*WRITTEN, "relay egress", "relay ingress"])
    def test_says_something_of_every_option(self, name: str) -> None:
        command: click.Command | None = cli.cli
        for word in name.split():
            assert isinstance(command, click.Group)
            command = command.get_command(click.Context(command), word)
        assert command is not None
        options = [each for each in command.params if isinstance(each, click.Option)]
        assert [each.name for each in options if not (each.help or each.hidden)] == []

    def test_a_relay_without_a_side_is_one_line(self, multifd: Multifd) -> None:
        result = multifd("relay")
        assert (result.status, result.out) == (2, "")
        assert result.err == "multifd: error: Missing command; see 'multifd relay --help'\n"

    def test_no_command_is_forgotten(self) -> None:
        modules = [name for _, name, _ in pkgutil.iter_modules(cli.__path__)]
        commands = {
            name.replace("_", "-")
            for name in modules
            if hasattr(importlib.import_module(f"codecs_core.cli.{name}"), "command")
        }
        assert commands == set(WRITTEN)

    def test_completion_of_commands_imports_none(self) -> None:
        code = """if True:
            import sys
            from codecs_core.cli import main
            main()
            print(*sys.modules, file=sys.stderr)
        """
        result = run(code, _MULTIFD_COMPLETE="bash_complete", COMP_WORDS="multifd ", COMP_CWORD="1")
        assert result.stdout.split() == [f"plain,{name}" for name in cli.COMMANDS]
        assert "codecs_core.cli.codecs" not in result.stderr.split()

    @pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
    def test_completion_script(self, shell: str) -> None:
        result = run("import codecs_core.cli as c; c.main()", _MULTIFD_COMPLETE=f"{shell}_source")
        assert f"_MULTIFD_COMPLETE={shell}_complete" in result.stdout


ERRORS = [
    (errors.UsageError("no such address"), 2, "UsageError", "no such address"),
    (
        errors.ParameterError("level expects 1", parameter="level", value=2),
        2,
        "ParameterError",
        "level expects 1",
    ),
    (errors.UnknownCodec("no codec 'x'", name="x"), 2, "UnknownCodec", "no codec 'x'"),
    (errors.BrokenPlugin("it is broken", name="x"), 1, "BrokenPlugin", "it is broken"),
    (errors.LinkTimeout("silence"), 1, "LinkTimeout", "silence"),
    (errors.RemoteError("disk full"), 1, "RemoteError", "disk full"),
    (
        FileNotFoundError(2, "No such file or directory", "a/b"),
        1,
        "FileNotFoundError",
        "a/b: No such file or directory",
    ),
    (
        PermissionError(13, "Permission denied", b"a/\xff"),
        1,
        "PermissionError",
        "a/\udcff: Permission denied",
    ),
    (OSError(28, "No space left on device"), 1, "OSError", "No space left on device"),
    (click.ClickException("hm"), 1, "ClickException", "hm"),
    (click.UsageError("hm."), 2, "UsageError", "hm; see 'multifd fail --help'"),
    (click.Abort(), 130, "Interrupted", "interrupted"),
    (KeyboardInterrupt(), 130, "Interrupted", "interrupted"),
    (
        KeyError("x"),
        1,
        "KeyError",
        "unexpected KeyError: 'x'; MULTIFD_DEBUG=1 shows the traceback",
    ),
    (OSError("odd"), 1, "OSError", "unexpected OSError: odd; MULTIFD_DEBUG=1 shows the traceback"),
]


def failing(error: BaseException) -> click.Command:
    @click.command("fail")
    @json_option
    def command(as_json: bool) -> None:
        raise error

    return command


class TestErrors:
    @pytest.mark.parametrize(("error", "status", "kind", "message"), ERRORS)
    def test_are_a_line_and_a_status(
        self,
        multifd: Multifd,
        add_command: AddCommand,
        error: BaseException,
        status: int,
        kind: str,
        message: str,
    ) -> None:
        add_command(failing(error))
        result = multifd("fail")
        assert (result.status, result.out) == (status, "")
        shown = message.replace("\udcff", "\\udcff")
        assert result.err == f"multifd: {'' if status == 130 else 'error: '}{shown}\n"

        result = multifd("fail", "--json")
        assert result.status == status
        assert result.json == {"error": {"kind": kind, "message": message}}
        assert result.err.count("\n") == 1

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["nonsense"], "No such command 'nonsense'; see 'multifd --help'"),
            (["--nonsense"], "see 'multifd --help'"),
            (["codecs", "--nonsense"], "see 'multifd codecs --help'"),
            (["codecs", "extra"], "(extra); see 'multifd codecs --help'"),
        ],
    )
    def test_in_the_command_line_point_to_the_help(
        self, multifd: Multifd, arguments: list[str], message: str
    ) -> None:
        result = multifd(*arguments, "--json")
        assert result.status == 2
        assert result.err.startswith("multifd: error: ")
        assert result.err.endswith(f"{message}\n")
        assert result.json["error"]["kind"] == "UsageError"

    def test_of_a_stranger_cannot_steer_the_terminal(
        self, multifd: Multifd, add_command: AddCommand
    ) -> None:
        add_command(failing(errors.RemoteError("one\ntwo \x1b[2J\r\x9b31m\u202e")))
        result = multifd("fail")
        assert result.err == "multifd: error: one two \\x1b[2J\\r\\x9b31m\\u202e\n"

    @pytest.mark.parametrize("error", [errors.LinkError("lost"), KeyError("x")])
    def test_have_a_traceback_for_who_asks(
        self,
        multifd: Multifd,
        add_command: AddCommand,
        monkeypatch: pytest.MonkeyPatch,
        error: Exception,
    ) -> None:
        add_command(failing(error))
        monkeypatch.setenv("MULTIFD_DEBUG", "1")
        result = multifd("fail")
        assert result.status == 1
        assert result.err.startswith("Traceback (most recent call last):\n")
        assert "MULTIFD_DEBUG" not in result.err

    def test_a_command_that_fails_not_has_status_0(
        self, multifd: Multifd, add_command: AddCommand
    ) -> None:
        add_command(click.Command("fine", callback=lambda: print("done")))
        assert multifd("fine").status == 0

    def test_a_command_may_choose_its_status(
        self, multifd: Multifd, add_command: AddCommand
    ) -> None:
        add_command(click.Command("three", callback=lambda: click.get_current_context().exit(3)))
        assert multifd("three").status == 3


# A program with one more command, whose body follows.
PROGRAM = """\
import sys, time, types
import click
from codecs_core import cli

@click.command("wait")
def command():
    {body}

module = types.ModuleType("codecs_core.cli.wait")
module.command = command
sys.modules[module.__name__] = module
cli.COMMANDS["wait"] = ""
sys.exit(cli.main(["wait"]))
"""


class TestProcess:
    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_signals_end_a_command_through_its_finally_clauses(self, number: int) -> None:
        body = """
    try:
        print("ready", flush=True)
        time.sleep(60)
    finally:
        print("clean", flush=True)
"""
        with subprocess.Popen(
            [sys.executable, "-c", PROGRAM.format(body=body)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            process.send_signal(number)
            out, err = process.communicate(timeout=60)
        assert (process.returncode, out, err) == (130, "clean\n", "multifd: interrupted\n")

    def test_sigterm_is_given_back(self, multifd: Multifd) -> None:
        before = signal.getsignal(signal.SIGTERM)
        multifd("--help")
        assert signal.getsignal(signal.SIGTERM) is before

    @pytest.mark.parametrize("amount", [1, 1 << 20])
    def test_a_reader_that_goes_away_is_no_news(self, amount: int) -> None:
        """Whether writing fails in the command or, for a little output, only at its end."""
        body = f"""
    sys.stdin.read()
    print("x" * {amount})
"""
        with subprocess.Popen(
            [sys.executable, "-c", PROGRAM.format(body=body)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as process:
            assert process.stdin and process.stdout and process.stderr
            process.stdout.close()
            process.stdin.close()
            err = process.stderr.read()
        assert (process.returncode, err) == (1, b"")

    def test_text_that_stdout_cannot_encode_is_escaped(self) -> None:
        result = run(PROGRAM.format(body='print("caf\\u00e9")'), PYTHONIOENCODING="ascii")
        assert (result.returncode, result.stdout) == (0, "caf\\xe9\n")

    def test_the_console_script_is_installed(self) -> None:
        (script,) = metadata.entry_points(group="console_scripts", name="multifd")
        assert script.load() is cli.main
