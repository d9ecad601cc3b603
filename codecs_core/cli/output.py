"""What the commands print: JSON, tables, and numbers for people.

Sizes are in bytes and binary units, rates in bytes per second, durations in seconds. rich is
imported by what draws with it, and no sooner.
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from rich.console import Console

__all__ = [
    "Command",
    "console",
    "duration",
    "json_option",
    "print_json",
    "print_table",
    "printable",
    "rate",
    "size",
]

Command = TypeVar("Command", bound="Callable[..., Any]")

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")
_PIPE_WIDTH = 10_000


def json_option(command: Command) -> Command:
    """Add ``--json`` to a command; its callback receives ``as_json: bool``."""
    return click.option(
        "--json", "as_json", is_flag=True, help="Print one JSON object on stdout, for programs."
    )(command)


def print_json(value: Mapping[str, Any], *, indent: int | None = 2) -> None:
    """Print one JSON object, in ASCII, on stdout; without ``indent`` on one line."""
    print(json.dumps(value, indent=indent), flush=True)


def printable(text: str) -> str:
    """Return ``text`` as one line that cannot steer a terminal, whoever wrote it."""
    return "".join(
        c if c.isprintable() else " " if c == "\n" else c.encode("unicode_escape").decode()
        for c in text.strip()
    )


def size(count: float) -> str:
    """Return a number of bytes for people: ``512 B``, ``1.5 GiB``."""
    unit = 0
    # A little below 1024, so that rounding never prints 1024.0.
    while count >= 1023.95 and unit < len(_UNITS) - 1:
        count /= 1024
        unit += 1
    return f"{count:.{min(unit, 1)}f} {_UNITS[unit]}"


def rate(bytes_per_second: float) -> str:
    """Return a rate for people: ``87.2 MiB/s``."""
    return f"{size(bytes_per_second)}/s"


def duration(seconds: float) -> str:
    """Return a duration for people: ``0.25 s``, ``42.0 s``, ``3:05``, ``1:02:03``."""
    if seconds < 9.995:
        return f"{seconds:.2f} s"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def console(*, stderr: bool = False) -> Console:
    """Return a rich console: as wide as the terminal, or, in a pipe, as wide as the text.

    In a pipe nothing is folded, so that a row is a line.
    """
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    return Console(
        file=stream,
        width=None if stream.isatty() else _PIPE_WIDTH,
        markup=False,
        highlight=False,
        emoji=False,
    )


def print_table(
    columns: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    styles: Mapping[str, str] | None = None,
) -> None:
    """Print a table on stdout: cells are folded, never cut.

    ``styles`` maps a cell's text to its colour on a terminal.
    """
    from rich.table import Table
    from rich.text import Text

    colours = styles or {}
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in columns:
        table.add_column(Text(column), overflow="fold")
    for row in rows:
        table.add_row(*(Text(printable(cell), colours.get(cell, "")) for cell in row))
    draw = console()
    with draw.capture() as drawn:
        draw.print(table)
    # rich pads every row to the table's width, which a pipe has no use for.
    print(*(line.rstrip() for line in drawn.get().splitlines()), sep="\n")
