"""How far a transfer is, drawn on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from codecs_core.cli.output import console, duration, printable, rate, size
from codecs_core.registry import AUTO

if TYPE_CHECKING:
    from rich.console import RenderableType

    from codecs_core.cli.log import Log
    from codecs_core.engine.progress import Progress
    from codecs_core.gateway.side import MigrationProgress

__all__ = [
    "announce", "drawn", "live", "migration", "migration_summary", "parts", "shares", "summary",
]  # fmt: skip

_PER_SECOND = 4
_BAR_WIDTH = 32


@contextmanager
def drawn(progress: Callable[[], Progress], log: Log) -> Iterator[None]:
    """Draw what ``progress`` returns while the body runs, where people read the ``log``."""
    with live(lambda: _render(progress()), log):
        yield


@contextmanager
def live(render: Callable[[], RenderableType], log: Log) -> Iterator[None]:
    """Draw what ``render`` returns while the body runs, where people read the ``log``."""
    if not log.draws:
        yield
        return
    from rich.live import Live

    with Live(
        console=console(stderr=True),
        get_renderable=render,
        refresh_per_second=_PER_SECOND,
        transient=True,
    ):
        yield


def announce(line: str, *, always: bool = False) -> None:
    """Say something on stderr, where that is a terminal, or ``always``."""
    if always or sys.stderr.isatty():
        click.echo(printable(line), err=True)


def summary(progress: Progress) -> str:
    """Say in one line what was moved, how small it became, and how fast."""
    share = progress.hardware_share
    return (
        f"{size(progress.memory_bytes)} in {duration(progress.seconds)}, "
        f"{rate(progress.rate)}; {size(progress.wire_bytes)} on the wire with "
        f"{progress.codec or 'no codec'}{_chosen(progress)}, ratio {progress.ratio:.2f}; "
        f"{'' if share is None else f'{share:.0%} of the packets in hardware; '}"
        f"{progress.zero_pages + progress.skipped_pages} of {progress.pages} pages zero; "
        f"{_held(progress)}{_repaired(progress)}{_checked(progress)}"
    )


def _chosen(progress: Progress) -> str:
    return f" ({shares(progress)})" if shares(progress) else ""


def shares(progress: Progress) -> str:
    """How much each codec has served, where there was a choice."""
    return parts(progress.methods) if progress.codec == AUTO else ""


def parts(methods: Mapping[str, int]) -> str:
    """The part of the packets that each codec has served: ``zstd 90%, none 10%``."""
    served = {name: count for name, count in methods.items() if count > 0}
    total = sum(served.values())
    return ", ".join(f"{name} {count / total:.0%}" for name, count in served.items())


def _repaired(progress: Progress) -> str:
    return f"{progress.repairs} connections made again; " if progress.repairs else ""


def _held(progress: Progress) -> str:
    count = progress.held_pages * progress.page_size
    return f"{size(count)} were there already; " if count else ""


def _checked(progress: Progress) -> str:
    every = "every packet checked" if progress.checksum else "no packet checked"
    return f"{every}, whole blocks compared" if progress.verified else every


def migration(progress: MigrationProgress | None) -> RenderableType:
    """Draw how far a migration is; ``None`` before it has begun."""
    from rich.table import Table
    from rich.text import Text

    line = Table.grid(padding=(0, 2))
    if progress is None:
        line.add_row(Text("waiting"))
        return line
    line.add_row(
        *(Text(each) for each in (
            progress.status,
            f"round {progress.rounds}",
            f"{size(progress.remaining_bytes)} to go",
            f"dirtied {rate(progress.dirty_rate)}",
            f"moved {size(progress.memory_bytes)} at {rate(progress.rate)}",
            f"ratio {progress.ratio:.2f}",
            parts(progress.methods),
            f"link {rate(progress.wire_rate)}",
            "" if progress.eta is None else f"ETA {duration(progress.eta)}",
            "" if progress.downtime is None else f"downtime {duration(progress.downtime)}",
        ))
    )  # fmt: skip
    return line


def migration_summary(progress: MigrationProgress) -> str:
    """Say in one line how a migration went."""
    downtime = "" if progress.downtime is None else f", downtime {duration(progress.downtime)}"
    rounds = f" in {progress.rounds} rounds" if progress.rounds else ""
    return (
        f"{size(progress.memory_bytes)} of pages{rounds} in {duration(progress.seconds)}"
        f"{downtime}; {size(progress.wire_bytes + progress.main_bytes)} on the wire by "
        f"{parts(progress.methods) or 'no codec'}, ratio {progress.ratio:.2f}"
    )


def _render(progress: Progress) -> RenderableType:
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    total, eta, share = progress.total_pages, progress.eta, progress.hardware_share
    line = Table.grid(padding=(0, 2))
    line.add_row(
        ProgressBar(
            total=total or None,
            completed=min(progress.pages, total or progress.pages),
            width=_BAR_WIDTH,
            pulse=total is None,
        ),
        Text("" if not total else f"{min(1, progress.pages / total):4.0%}"),
        Text(size(progress.memory_bytes)),
        Text(rate(progress.rate)),
        Text(f"ratio {progress.ratio:.2f}"),
        Text("" if share is None else f"hardware {share:.0%}"),
        Text(shares(progress)),
        Text("" if eta is None else f"ETA {duration(eta)}"),
    )
    return line
