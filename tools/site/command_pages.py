"""The reference of the command line: a page for each command, from what its ``--help`` shows."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from textwrap import dedent

import click

from codecs_core.cli import COMMANDS, PROGRAM, cli

_LATE = "---\nsearch:\n  boost: 0.3\n---\n\n"
"""Every command has every codec's options: a search shall find what explains a codec first."""

_QUOTED = re.compile(r"(?<!\w)'([^'\n]+)'(?!\w)")
_OPTION = re.compile(r"(?<![\w`-])(--[a-z][\w-]*)")
_SPECIAL = re.compile(r"([*_\[\]`\\])")
_STATE = re.compile(r"(?<=\w) \(.*\)$")


class _Recorder(click.HelpFormatter):
    """Takes down what a command writes into its help: headings, and the rows below them."""

    def __init__(self) -> None:
        super().__init__(width=10_000)
        self.sections: list[tuple[str, list[tuple[str, str]]]] = []

    @contextmanager
    def section(self, name: str) -> Iterator[None]:
        self.sections.append((name, []))
        yield

    def write_dl(
        self, rows: Sequence[tuple[str, str]], col_max: int = 30, col_spacing: int = 2
    ) -> None:
        self.sections[-1][1].extend(rows)


def pages() -> dict[str, str]:
    """Return each page by its place: ``cli/send.md`` → Markdown."""
    top = click.Context(cli, info_name=PROGRAM)
    made = {"cli/index.md": _LATE + "".join(_page(cli, top))}
    for name in COMMANDS:
        command = cli.get_command(top, name)
        assert command is not None
        context = click.Context(command, info_name=name, parent=top)
        made[f"cli/{name}.md"] = _LATE + "".join(_page(command, context))
    return made


def _page(command: click.Command, context: click.Context, level: int = 1) -> Iterator[str]:
    yield f"{'#' * level} {context.command_path}\n\n"
    yield from _text(command.help)
    pieces = " ".join(command.collect_usage_pieces(context))
    yield f"```text\n{context.command_path} {pieces}\n```\n\n"
    recorder = _Recorder()
    command.format_options(context, recorder)
    for heading, rows in recorder.sections:
        # Whether a codec can be used is said of a host; this page is for all.
        yield f"{'#' * (level + 1)} {_STATE.sub('', heading)}\n\n"
        if heading == "Commands":
            yield from _commands(context, rows)
        else:
            yield from _options(rows, "" if level == 1 else f"{context.info_name}-")
    yield from _text(command.epilog)
    if isinstance(command, click.Group) and command is not cli:
        for name, each in command.commands.items():
            inside = click.Context(each, info_name=name, parent=context)
            yield from _page(each, inside, level + 1)


def _commands(context: click.Context, rows: Sequence[tuple[str, str]]) -> Iterator[str]:
    yield "| command | |\n|---|---|\n"
    for name, line in rows:
        path = f"{context.command_path} {name}"
        place = f"{name}.md" if context.command is cli else f"#{path.replace(' ', '-')}"
        yield f"| [`{path}`]({place}) | {_prose(line)} |\n"
    yield "\n"


def _options(rows: Sequence[tuple[str, str]], prefix: str) -> Iterator[str]:
    for spelling, line in rows:
        name = max(re.findall(r"^-\S+|(?<=, )-\S+", spelling), key=len)
        text = _prose(line.replace("  [default:", " [default:"))
        yield f"`{spelling}`{{ #{prefix}{name.lstrip('-')} }}\n:   {text}\n\n"


def _text(text: str | None) -> Iterator[str]:
    """Help as Markdown: what click shall not wrap becomes a block of code."""
    for paragraph in re.split(r"\n\s*\n", inspect.cleandoc(text or "").strip()):
        verbatim = paragraph.removeprefix("\b\n")
        if verbatim == paragraph:
            yield f"{_prose(paragraph)}\n\n"
            continue
        head, _, rest = verbatim.partition("\n")
        if not head.endswith(":"):
            head, rest = "", verbatim
        shell = head.startswith("Example") and "(qemu)" not in rest
        yield f"{_prose(head)}\n\n```{'sh' if shell else 'text'}\n{dedent(rest)}\n```\n\n"


def _prose(text: str) -> str:
    """A paragraph: what is quoted, and options, are code; nothing else is Markdown."""
    parts = _QUOTED.split(text)
    parts[::2] = (_OPTION.sub(r"`\1`", _escaped(part)) for part in parts[::2])
    parts[1::2] = (f"`{part}`" for part in parts[1::2])
    return "".join(parts)


def _escaped(text: str) -> str:
    return _SPECIAL.sub(r"\\\1", text).replace("<", "&lt;")
