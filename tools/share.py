"""Makes what is installed below PREFIX/share: a man page for every command, shell completions.

    python tools/share.py [DIRECTORY]

DIRECTORY is ``share`` by default, which a build of the core takes along where it is there. The
pages have the options of the codecs that are published beside the core and installed here. They are
made from the commands themselves, as the help is; click-man would leave out the options that come
with codecs, and the examples.
"""

from __future__ import annotations

import inspect
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import click
from click.shell_completion import get_completion_class

from codecs_core.cli import COMPLETE, PROGRAM, cli
from codecs_core.registry import ALLOW_LIST, FIRST_PARTY

ROOT = Path(__file__).parents[1]
COMPLETIONS = {
    "bash": f"bash-completion/completions/{PROGRAM}",
    "fish": f"fish/vendor_completions.d/{PROGRAM}.fish",
    "zsh": f"zsh/site-functions/_{PROGRAM}",
}


def main(directory: Path) -> None:
    """Write all of it."""
    files = {f"man/man1/{name}.1": page for name, page in pages()}
    files |= {place: completion(shell) for shell, place in COMPLETIONS.items()}
    for name, text in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def completion(shell: str) -> str:
    """Return the script that makes a shell complete the command's line."""
    kind = get_completion_class(shell)
    assert kind is not None
    script = kind(cli, {}, PROGRAM, COMPLETE)
    return script.source_template % script.source_vars()


def pages() -> Iterator[tuple[str, str]]:
    """Name, ``multifd-relay-egress`` say, and text of the page of every command."""
    for context in contexts(root()):
        yield context.command_path.replace(" ", "-"), page(context)


def root() -> click.Context:
    """The context of the command itself."""
    return click.Context(cli, info_name=PROGRAM, **cli.context_settings)


def contexts(context: click.Context) -> Iterator[click.Context]:
    """A command and all those below it."""
    yield context
    for name, command in children(context):
        yield from contexts(click.Context(command, info_name=name, parent=context))


def children(context: click.Context) -> Iterator[tuple[str, click.Command]]:
    """The commands of a group, by name."""
    if isinstance(context.command, click.Group):
        for name in context.command.list_commands(context):
            command = context.command.get_command(context, name)
            assert command is not None
            yield name, command


def page(context: click.Context) -> str:
    """Return a command's page, in the language of man(7)."""
    command, path = context.command, context.command_path
    name = path.replace(" ", "-")
    version = (ROOT / "VERSION").read_text().strip()
    now = int(os.environ.get("SOURCE_DATE_EPOCH", time.time()))
    date = time.strftime("%Y-%m-%d", time.gmtime(now))
    lines = [
        f'.TH "{escaped(name.upper())}" 1 {date} "codecs\\-core {version}" "User Commands"',
        ".SH NAME",
        f"{escaped(name)} \\- {escaped(summary(command))}",
        ".SH SYNOPSIS",
        f".B {escaped(path)}",
        escaped(" ".join(command.collect_usage_pieces(context))),
        ".SH DESCRIPTION",
        *paragraphs(command.help or ""),
        *commands(context),
        *options(context),
        *sections(command.epilog or ""),
    ]
    if context.parent is not None:
        parent = context.parent.command_path.replace(" ", "-")
        lines += [".SH SEE ALSO", f".BR {escaped(parent)} (1)"]
    return "\n".join(lines) + "\n"


def summary(command: click.Command) -> str:
    """Return the first sentence of a command's help, without its full stop."""
    first = inspect.cleandoc(command.help or "").partition("\n\n")[0]
    return " ".join(first.split()).rstrip(".")


def commands(context: click.Context) -> Iterator[str]:
    """List the commands of a group, and where each is described."""
    names = list(children(context))
    if names:
        yield ".SH COMMANDS"
    for name, command in names:
        where = f"{context.command_path} {name}".replace(" ", "-")
        yield from (".TP", f".BR {escaped(where)} (1)", escaped(summary(command)))


def options(context: click.Context) -> Iterator[str]:
    """List the options; those of each codec have a heading of their own."""
    heading = ""
    yield ".SH OPTIONS"
    for each in context.command.get_params(context):
        record = each.get_help_record(context) if isinstance(each, click.Option) else None
        if record is None:
            continue
        codec = getattr(each, "codec", "")
        if codec != heading:
            heading = codec
            yield f".SS Codec {escaped(codec)}"
        yield from (".TP", f".B {escaped(record[0])}", escaped(" ".join(record[1].split())))


def sections(epilog: str) -> Iterator[str]:
    """Make each paragraph that begins like ``Examples:`` a section."""
    for paragraph in inspect.cleandoc(epilog).split("\n\n"):
        head, _, rest = paragraph.removeprefix("\b\n").partition("\n")
        title = head.partition(",")[0].rstrip(":")
        if paragraph.startswith("\b\n") and head.endswith(":"):
            yield f".SH {escaped(title.upper())}"
            if head != f"{title}:":
                yield escaped(head)
            yield from verbatim(inspect.cleandoc(f"\n{rest}"))
        else:
            yield from paragraphs(paragraph)


def paragraphs(text: str) -> Iterator[str]:
    """Set a help text: paragraphs are filled, but for those that click leaves alone, too."""
    for paragraph in filter(None, inspect.cleandoc(text).split("\n\n")):
        if paragraph.startswith("\b\n"):
            yield from verbatim(paragraph.removeprefix("\b\n"))
        else:
            yield from (".PP", escaped(" ".join(paragraph.split())))


def verbatim(text: str) -> Iterator[str]:
    """Set lines as they are."""
    yield from (".PP", ".nf")
    yield from map(escaped, text.splitlines())
    yield ".fi"


def escaped(text: str) -> str:
    """Return text that roff prints as it stands here."""
    text = text.replace("\\", "\\e").replace("-", "\\-").replace('"', "\\(dq")
    return f"\\&{text}" if text.startswith((".", "'")) else text


if __name__ == "__main__":
    os.environ[ALLOW_LIST] = ",".join(sorted(FIRST_PARTY))
    main(Path(sys.argv[1]) if sys.argv[1:] else ROOT / "share")
