"""``multifd top``: what a running command is doing, looked at again and again."""

from __future__ import annotations

import sys
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from codecs_core.cli.completion import complete_uri
from codecs_core.cli.output import console, json_option, print_json
from codecs_core.cli.rates import Seconds
from codecs_core.errors import LinkError, LinkTimeout

if TYPE_CHECKING:
    from collections.abc import Iterator

    from codecs_core.monitor.ledger import Status
    from codecs_core.transport.address import Address

__all__ = ["command"]


@click.command(
    "top",
    epilog="""\
    \b
    Example:
      multifd relay egress --metrics unix:/run/egress.top ...
      multifd top unix:/run/egress.top
    """,
)
@click.argument("uri", shell_complete=complete_uri)
@click.option(
    "--interval",
    type=Seconds(min=0.1, max=3600),
    metavar="SECONDS",
    default=1,
    show_default=True,
    help="Between two looks.",
)
@click.option("--once", is_flag=True, help="Look once: the rates are those since the beginning.")
@click.option(
    "--timeout",
    type=Seconds(min=0, min_open=True),
    metavar="SECONDS",
    default=5,
    show_default=True,
    help="How long an answer may take.",
)
@json_option
def command(uri: str, interval: float, once: bool, timeout: float, as_json: bool) -> None:
    """Show what a running command is doing.

    URI is where that command serves its metrics: what its --metrics was given. For each session
    and each channel: memory moved and its rate, the rate on the wire, their ratio, the part of the
    time that went into the codec and the part spent waiting for the link.

    On a terminal the picture is drawn anew every --interval, until the command ends or Ctrl-C
    comes. In a pipe, or on a dumb terminal, each look is printed below the one before; with --json
    it is one object on a line.
    """
    from codecs_core.monitor.status import fetch
    from codecs_core.transport.address import parse

    address = parse(uri)
    first = fetch(address, timeout)
    if once:
        _print(first, None, as_json=as_json)
        return
    if as_json or not _draws():
        _list(_looks(address, first, interval, timeout), as_json=as_json)
    else:
        _draw(_looks(address, first, interval, timeout))
    click.echo(f"{uri}: the command has ended", err=True)


def _draws() -> bool:
    """Whether stdout is a terminal on which a picture can take the place of another."""
    return sys.stdout.isatty() and not console().is_dumb_terminal


def _looks(address: Address, first: Status, interval: float, timeout: float) -> Iterator[Status]:
    """Look again and again, until nobody answers any more. Raises as `fetch`."""
    from codecs_core.monitor.status import fetch

    yield first
    missed = False
    while True:
        time.sleep(interval)
        try:
            status = fetch(address, timeout)
        except LinkTimeout:
            # Somebody is there, though too busy.
            raise
        except LinkError:
            # In a crowd of visitors some are sent away; who has ended does not come back.
            if missed:
                return
            missed = True
        else:
            missed = False
            yield status


def _list(looks: Iterator[Status], *, as_json: bool) -> None:
    before = None
    for status in looks:
        if before is not None and not as_json:
            print()
        _print(status, before, as_json=as_json)
        before = status


def _print(status: Status, before: Status | None, *, as_json: bool) -> None:
    from codecs_core.cli.topview import view

    if as_json:
        print_json(_facts(status), indent=None)
        return
    draw = console()
    with draw.capture() as drawn:
        draw.print(view(status, before))
    # rich pads every row to the table's width, which a pipe has no use for.
    print(*(line.rstrip() for line in drawn.get().splitlines()), sep="\n", flush=True)


def _draw(looks: Iterator[Status]) -> None:
    from rich.live import Live

    from codecs_core.cli.topview import view

    before = next(looks)
    picture = view(before, None)
    with Live(picture, console=console(), screen=True, auto_refresh=False) as live:
        for status in looks:
            picture = view(status, before)
            live.update(picture, refresh=True)
            before = status
    # What was on the screen last stays to be read.
    console().print(picture)


def _facts(status: Status) -> dict[str, Any]:
    facts = asdict(status)
    for each, session in zip(facts["sessions"], status.sessions, strict=True):
        each["progress"] = session.progress.as_dict()
    return facts
