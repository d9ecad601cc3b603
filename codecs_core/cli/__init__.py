"""The command ``multifd``: one module a command, and one place where errors end.

Rules of this package:

* A command is a module that exports ``command``, a `click.Command`. It is imported when it is
  run; `COMMANDS` holds the line that ``multifd --help`` shows, so that help costs no import.
* Commands raise. Only `main` turns what they raise into a line on stderr and an exit status.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import signal
import sys
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem, shell_complete

from codecs_core.cli.standard import fill_standard_streams
from codecs_core.errors import CodecsCoreError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import FrameType

__all__ = ["COMMANDS", "cli", "explain", "main"]

PROGRAM = "multifd"
COMPLETE = "_MULTIFD_COMPLETE"
DEBUG = "MULTIFD_DEBUG"
"""Environment variable: where it is set, errors come with their traceback."""

COMMANDS = {
    "send": "Send files, or a byte stream, to a receiver.",
    "recv": "Receive what a sender sends, and verify it.",
    "relay": "Compress the migration of a QEMU on its way to another.",
    "migrate": "Move a QEMU's guest to another host, compressed.",
    "accept": "Take a guest in, on that host.",
    "record": "Record a migration while it passes.",
    "replay": "Send a recorded migration to a QEMU.",
    "inspect": "Show what a recorded migration or a mapped-ram file holds.",
    "extract": "Rebuild a RAM block from a recorded migration.",
    "compress": "Compress files, in a codec's standard format.",
    "decompress": "Decompress them, and those of other tools.",
    "codecs": "List the codecs, their parameters, and why one cannot be used.",
    "devices": "List the accelerators of a host, and why one cannot be used.",
    "top": "Show what a running command is doing.",
    "advise": "Recommend a codec for a host, by rules or by measurement.",
    "new-codec": "Make a plugin to start from, with a codec that works.",
    "test-ca": "Make certificates to try TLS with.",
}
"""Every command, in the order of the help, with its line there."""


class _LazyGroup(click.Group):
    """A group whose commands are modules of this package, imported when they are run."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command = importlib.import_module(f"{__name__}.{cmd_name.replace('-', '_')}").command
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        return [
            *(
                CompletionItem(name, help=line)
                for name, line in COMMANDS.items()
                if name.startswith(incomplete)
            ),
            *click.Command.shell_complete(self, ctx, incomplete),
        ]


@click.group(
    cls=_LazyGroup,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="""\
    \b
    Examples:
      multifd recv --tls-creds /etc/pki/qemu tcp:0.0.0.0:4444 /srv/images
      multifd send --tls-creds /etc/pki/qemu disk.img tcp:host:4444
      multifd codecs

    \b
    Exit status:
      0    done
      1    failed; one line on stderr says why
      2    used wrongly: an option, a value, an address
      130  interrupted, by Ctrl-C, SIGTERM or SIGHUP

    With --json a command prints one JSON object on stdout. Where it fails, that object is
    {"error": {"kind": ..., "message": ...}}, and the line on stderr and the exit status stay
    the same.

    \b
    Environment:
      CODECS_CORE_PLUGINS=a,b  load no other plugins than these
      MULTIFD_DEBUG=1          show the traceback of errors

    Shell completion: put eval "$(_MULTIFD_COMPLETE=bash_source multifd)" into ~/.bashrc;
    zsh_source and fish_source serve the other shells.
    """,
)
@click.version_option(package_name="codecs-core", prog_name=PROGRAM, message="%(prog)s %(version)s")
@click.pass_context
def cli(ctx: click.Context) -> None:
    """Move memory, images and byte streams over N compressed channels.

    Every channel carries pages in the wire format of QEMU's multifd migration. Codecs
    are plugins: install one, and its name and its parameters are options of the commands.
    'multifd COMMAND --help' explains a command.
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help(), err=True)
        ctx.exit(2)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``multifd`` and return its exit status; this is the console script's entry point."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    fill_standard_streams()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    ctx: click.Context | None = None
    with _signals_interrupt(last=arguments is None):
        try:
            if instruction := os.environ.get(COMPLETE):
                return shell_complete(cli, {}, PROGRAM, COMPLETE, instruction)
            with cli.make_context(PROGRAM, list(given)) as ctx:
                cli.invoke(ctx)
            if sys.stdout is not None:
                sys.stdout.flush()
        except click.exceptions.Exit as error:
            return error.exit_code
        except BrokenPipeError:
            # The links map their own: this is whoever read our output, and has read enough.
            _drop_output()
            return 1
        except (Exception, KeyboardInterrupt) as error:
            return _report(error, ctx, given)
    return 0


def _report(error: BaseException, ctx: click.Context | None, given: Sequence[str]) -> int:
    """Tell the user what ended the command, and return the exit status."""
    from codecs_core.cli.log import Log
    from codecs_core.cli.output import print_json

    kind, message, status = explain(error)
    line = message if status == 130 else f"error: {message}"
    log = Log.current(ctx, given)
    facts: dict[str, Any] = {"kind": kind, "error": message, "status": status}
    if os.environ.get(DEBUG):
        import traceback

        text = "".join(traceback.format_exception(error))
        if log.as_json:
            facts["traceback"] = text
        else:
            click.echo(text, err=True, nl=False)
    log.tell("failed", f"{PROGRAM}: {line}", **facts)
    try:
        if "--json" in given:
            # On one line: a command may have printed a line for each object before.
            print_json({"error": {"kind": kind, "message": message}}, indent=None)
        sys.stdout.flush()
    except OSError:
        _drop_output()
    return status


def _drop_output() -> None:
    """Lose what is still to be written to standard output, where nobody can."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def explain(error: BaseException) -> tuple[str, str, int]:
    """Return the kind of the error, its message, and the exit status."""
    kind = type(error).__name__
    match error:
        case KeyboardInterrupt() | click.Abort():
            return "Interrupted", "interrupted", 130
        case click.UsageError():
            place = error.ctx.command_path if error.ctx else PROGRAM
            message = error.format_message().rstrip(".")
            return UsageError.__name__, f"{message}; see '{place} --help'", 2
        case click.ClickException():
            return kind, error.format_message(), error.exit_code
        case CodecsCoreError():
            return kind, str(error), 2 if isinstance(error, UsageError) else 1
        case MemoryError():
            return kind, "out of memory", 1
        case OSError(strerror=str(reason)):
            place = os.fsdecode(error.filename) if error.filename is not None else ""
            return kind, f"{place}: {reason}" if place else reason, 1
        case _:
            hint = "" if os.environ.get(DEBUG) else f"; {DEBUG}=1 shows the traceback"
            from codecs_core.guard import blamed

            return kind, f"unexpected {blamed(error)}{hint}", 1


@contextlib.contextmanager
def _signals_interrupt(*, last: bool) -> Iterator[None]:
    """Let SIGTERM and SIGHUP end a command as Ctrl-C does: through its ``finally`` clauses.

    SIGHUP stays ignored where nohup wants that. ``last``: the process ends behind it, with a status
    that a late signal shall not change.
    """

    def interrupt(signum: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    numbers = [signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) == signal.SIG_DFL:
        numbers.append(signal.SIGHUP)
    before = {each: signal.signal(each, interrupt) for each in numbers}
    try:
        yield
    finally:
        if last:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        for number, handler in before.items():
            signal.signal(number, signal.SIG_IGN if last else handler)
