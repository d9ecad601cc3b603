"""How ``multifd top`` shows a status: a line on the command, and a table for each session.

It fits into 80 columns. Texts come from elsewhere: they are made printable, and cut.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from rich.console import Group
from rich.table import Table
from rich.text import Text

from codecs_core.cli.output import duration, printable, rate, size
from codecs_core.cli.progress import shares
from codecs_core.codec import HARDWARE_PACKETS, SOFTWARE_PACKETS

if TYPE_CHECKING:
    from rich.console import RenderableType

    from codecs_core.engine.progress import ChannelProgress, Progress
    from codecs_core.monitor.ledger import SessionStatus, Status

__all__ = ["view"]

_COLUMNS = {"ch": 3, "memory": 10, "rate": 12, "on the wire": 12, "ratio": 6}
"""Wide enough for what comes, so that the columns stand still, and stand below each other."""
_BAR = 16
_LONGEST = 1e9
"""Seconds that are a time to wait for; more of them only who makes them up would show."""
_CODEC = "magenta"
_LINK = "cyan"


def view(status: Status, before: Status | None) -> RenderableType:
    """Draw ``status``; rates are those since ``before``, or since each session began."""
    earlier = {} if before is None else {each.number: each.progress for each in before.sessions}
    parts: list[RenderableType] = [_headline(status)]
    for each in status.sessions:
        table = _table(each.progress, earlier.get(each.number))
        parts += [Text(), _title(each), *([table] if each.progress.channels else [])]
    if not status.sessions:
        parts += [Text(), Text("no session is under way", "dim")]
    return Group(*parts)


def _headline(status: Status) -> Text:
    failed = "red" if status.failed else ""
    return _line(
        (status.role, "bold"),
        f" {_cut(status.version)}, up {duration(status.seconds)}: {len(status.sessions)} under "
        f"way, {status.completed} completed, ",
        (f"{status.failed} failed", failed),
        f", {status.refused} refused",
    )


def _title(session: SessionStatus) -> Text:
    progress = session.progress
    total, eta = progress.total_pages, progress.eta
    facts = [_cut(progress.codec) or "no codec yet", duration(progress.seconds)]
    if chosen := shares(progress):
        facts.append(_cut(chosen, 60))
    if progress.syncs:
        facts.append(f"{progress.syncs} rounds")
    if progress.repairs:
        facts.append(f"{progress.repairs} connections made again")
    if total:
        facts.append(f"{min(1, progress.pages / total):.0%}")
    if eta is not None and eta < _LONGEST:
        facts.append(f"ETA {duration(eta)}")
    # The peer last: it may be long, and is cut where the line ends.
    return _line(
        (f"#{session.number} ", "bold"), f"{', '.join(facts)}  ", (_cut(session.peer, 200), "dim")
    )


def _table(progress: Progress, before: Progress | None) -> Table:
    hardware = progress.hardware_share is not None
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="dim")
    for name, width in _COLUMNS.items():
        table.add_column(name, justify="right", no_wrap=True, min_width=width)
    table.add_column(Text.assemble(("█", _CODEC), " codec ", ("█", _LINK), " link"), width=_BAR)
    for name in ("codec", "link", "hw")[: 2 + hardware]:
        table.add_column(name, justify="right", no_wrap=True, min_width=4)
    earlier = {} if before is None else {each.channel: each for each in before.channels}
    seconds = progress.seconds - (before.seconds if before is not None else 0.0)
    page = progress.page_size
    for each in progress.channels:
        then = [earlier[each.channel]] if each.channel in earlier else []
        table.add_row(str(each.channel), *_cells([each], then, page, seconds, hardware))
    if len(progress.channels) > 1:
        then = [earlier[each.channel] for each in progress.channels if each.channel in earlier]
        cells = _cells(progress.channels, then, page, seconds, hardware)
        table.add_row("all", *cells, style="bold")
    return table


def _cells(
    now: Sequence[ChannelProgress],
    then: Sequence[ChannelProgress],
    page_size: int,
    seconds: float,
    hardware: bool,
) -> Iterator[RenderableType]:
    """Yield the cells for some channels together: what they did in ``seconds``."""
    memory = _memory(now, page_size)
    moved = memory - _memory(then, page_size)
    wire = sum(each.wire_bytes for each in now) - sum(each.wire_bytes for each in then)
    time = max(seconds, 1e-9) * len(now)
    codec = sum(e.codec_seconds for e in now) - sum(e.codec_seconds for e in then)
    link = sum(e.blocked_seconds for e in now) - sum(e.blocked_seconds for e in then)
    yield size(memory)
    yield rate(moved / time * len(now))
    yield rate(wire / time * len(now))
    yield f"{moved / wire:.2f}" if wire > 0 else "-"
    yield _bar(codec / time, link / time)
    yield f"{codec / time:.0%}"
    yield f"{link / time:.0%}"
    if hardware:
        done = sum(each.statistics.get(HARDWARE_PACKETS, 0) for each in now)
        rest = sum(each.statistics.get(SOFTWARE_PACKETS, 0) for each in now)
        packets = sum(sum(each.methods.values()) for each in now)
        yield f"{done / max(1, done + rest, packets):.0%}"


def _memory(channels: Sequence[ChannelProgress], page_size: int) -> int:
    return sum(each.normal_pages + each.zero_pages for each in channels) * page_size


def _bar(codec: float, link: float) -> Text:
    """Draw two parts of the time, side by side; the rest is neither."""
    first = round(_BAR * min(max(codec, 0), 1))
    second = min(round(_BAR * min(max(link, 0), 1)), _BAR - first)
    return Text.assemble(("█" * first, _CODEC), ("█" * second, _LINK))


def _line(*parts: str | tuple[str, str]) -> Text:
    line = Text.assemble(*parts)
    line.no_wrap, line.overflow = True, "ellipsis"
    return line


def _cut(text: str, length: int = 20) -> str:
    text = printable(text)
    return text if len(text) <= length else text[: length - 1] + "…"
