"""Draws a recording: its rounds, its channels, its RAM blocks. Needs matplotlib."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any, Final

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, StrMethodFormatter

from codecs_core.errors import ProtocolError
from codecs_core.gateway.chart import Chart, Compressed
from codecs_core.gateway.inspect import BlockSummary, Summary

__all__ = ["draw"]

# The palette of Okabe and Ito, which people see apart whatever their colour vision.
_COLOURS: Final = (
    "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#000000",
)  # fmt: skip
_FIRST, _DIRTY, _ZERO = "#0072B2", "#D55E00", "#C4C4C4"
_MAX_BLOCKS: Final = 12
_MAX_LABELS: Final = 24
_ROOM: Final = 1.3
"""How far an axis reaches beyond its longest bar, so that what is written there has room."""
_FRAME: Final = 0.75
"""What a panel's title and labels take, in inches."""
_STYLE: Final[dict[Any, Any]] = {
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": "#E4E4E4",
    "legend.frameon": False,
    # Names come from the recording: they are text, never formulas.
    "text.parse_math": False,
}

_BESIDE: Final[dict[str, Any]] = {"loc": "upper left", "bbox_to_anchor": (1, 1)}
"""Where a legend hides nothing."""
_Panel = tuple[float, Callable[[Axes], None]]


def draw(summary: Summary, chart: Chart) -> Figure:
    """Draw what there is: pages by round, payload by channel, compressibility by block.

    A mapped-ram file has pages by block instead of rounds and channels. Raises `ProtocolError`
    where nothing was sent.
    """
    panels: list[_Panel] = []
    total = len(chart.blocks)
    blocks = sorted(chart.blocks.items(), key=lambda each: -each[1].memory_bytes)[:_MAX_BLOCKS]
    if summary.per_round:
        panels.append((1.6, lambda axes: _rounds(axes, summary)))
    if any(each.payload_bytes for each in summary.channels):
        panels.append((1.6, lambda axes: _payload(axes, chart)))
    if summary.rounds is None:
        known = sorted(summary.blocks, key=lambda each: -(each.size or 0))[:_MAX_BLOCKS]
        panels.append((_height(known), lambda axes: _pages(axes, known, len(summary.blocks))))
    if blocks:
        panels.append(
            (_height(blocks), lambda axes: _compressibility(axes, summary, blocks, total))
        )
    if not panels:
        raise ProtocolError(f"{summary.path}: no page was sent, so there is nothing to draw")
    heights = [height for height, _ in panels]
    with matplotlib.rc_context(_STYLE):
        size = 8.5, 0.4 + sum(height + _FRAME for height in heights)
        figure = Figure(figsize=size, layout="constrained")
        figure.suptitle(_title(summary), x=0.01, ha="left")
        rows = figure.subplots(len(panels), 1, squeeze=False, height_ratios=heights)
        for (_, paint), axes in zip(panels, rows[:, 0], strict=True):
            paint(axes)
    return figure


def _title(summary: Summary) -> str:
    parts = []
    if summary.rounds is not None:
        parts.append(_count(summary.rounds, "round"))
    if summary.channels:
        payload = sum(each.payload_bytes for each in summary.channels)
        memory = sum(each.memory_bytes for each in summary.channels)
        parts.append(_count(len(summary.channels), "channel"))
        parts.append(f"{_size(memory)} of normal pages as {_size(payload)} of payload")
    name = _shown(Path(summary.path).absolute().name, 40)
    return f"{name}: {', '.join(parts)}" if parts else name


def _rounds(axes: Axes, summary: Summary) -> None:
    rounds = summary.per_round
    middles = [(each.first + each.last) / 2 for each in rounds]
    counts = [each.last - each.first + 1 for each in rounds]
    normal = [each.normal_pages - (each.dirty_normal_pages or 0) for each in rounds]
    zero = [each.zero_pages - (each.dirty_zero_pages or 0) for each in rounds]
    dirty = [each.dirty_pages or 0 for each in rounds]
    kinds = [
        ("first sent, normal", _FIRST, normal),
        ("first sent, zero", _ZERO, zero),
        ("sent again (dirty)", _DIRTY, dirty),
    ]
    if rounds[0].dirty_pages is None:
        kinds = [("normal", _FIRST, normal), ("zero", _ZERO, zero)]
    tops = [0.0] * len(rounds)
    for label, colour, pages in kinds:
        heights = [page / count for page, count in zip(pages, counts, strict=True)]
        widths = [0.8 * count if count == 1 else count for count in counts]
        axes.bar(middles, heights, widths, tops, color=colour, label=label)
        tops = [top + height for top, height in zip(tops, heights, strict=True)]
    if len(rounds) <= _MAX_LABELS:
        for middle, top in zip(middles, tops, strict=True):
            axes.annotate(
                f"{top:,.0f}", (middle, top), (0, 2), textcoords="offset points", ha="center",
                fontsize=7,
            )  # fmt: skip
    axes.set_title("Pages by round")
    axes.set_xlabel("round" if max(counts) == 1 else f"round (means of {max(counts)} rounds)")
    axes.set_ylabel("pages")
    # One round alone makes no bar as wide as the picture.
    axes.set_xlim(0.4, max(rounds[-1].last, 6) + 0.6)
    axes.set_ylim(0, max(tops) * 1.15)
    if len(rounds) <= _MAX_LABELS:
        axes.set_xticks(middles)
    else:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=16))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axes.grid(axis="y")
    axes.legend(**_BESIDE)


def _payload(axes: Axes, chart: Chart) -> None:
    bins = chart.payload.bins
    channels = sorted({channel for each in bins for channel in each})
    edges = [min(place * chart.payload.width, chart.packets) for place in range(len(bins) + 1)]
    curves = [[0, *accumulate(each[channel] for each in bins)] for channel in channels]
    total = sum(curve[-1] for curve in curves)
    divisor, unit = _unit(total)
    colours = _palette(len(channels))
    bands = axes.stackplot(
        edges,
        [[value / divisor for value in curve] for curve in curves],
        colors=colours,
        edgecolor="white",
        linewidth=0.4,
    )
    labels = [f"channel {channel}" for channel in channels]
    step = -(-len(channels) // len(_COLOURS))
    # From top to bottom, as the bands lie.
    axes.legend(bands[::step][::-1], labels[::step][::-1], **_BESIDE)
    axes.set_title("Payload by channel, added up")
    axes.set_xlabel("packet, in the order of the replay")
    axes.set_ylabel(unit)
    axes.set_xlim(0, chart.packets)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axes.grid()


def _pages(axes: Axes, blocks: Sequence[BlockSummary], total: int) -> None:
    rows = range(len(blocks))
    normal = [each.normal_pages for each in blocks]
    zero = [each.zero_pages for each in blocks]
    axes.barh(rows, normal, color=_FIRST, label="normal")
    axes.barh(rows, zero, left=normal, color=_ZERO, label="zero")
    for row, each in zip(rows, blocks, strict=True):
        _note(axes, each.normal_pages + each.zero_pages, row, f"{each.normal_pages:,} normal")
    axes.set_title(f"Pages by RAM block{_of(len(blocks), total)}")
    axes.set_xlim(0, max(1, *(a + b for a, b in zip(normal, zero, strict=True))) * _ROOM)
    axes.set_xlabel("pages")
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axes.legend(**_BESIDE)
    _name_rows(axes, [each.name for each in blocks])


def _compressibility(
    axes: Axes, summary: Summary, blocks: Sequence[tuple[str, Compressed]], total: int
) -> None:
    rows = range(len(blocks))
    shares = [100 * each.payload_bytes / each.memory_bytes for _, each in blocks]
    axes.barh(rows, shares, color=_FIRST)
    for row, share, (_, block) in zip(rows, shares, blocks, strict=True):
        _note(axes, share, row, f"{share:.1f} % of {_size(block.memory_bytes)}")
    axes.axvline(100, color="black", linewidth=0.8, linestyle=":")
    codecs = sorted({codec for each in summary.channels for codec in each.codecs})
    measured = {each.measured for _, each in blocks}
    how = (
        "samples compressed by deflate, level 1"
        if measured == {True}
        else _shown(", ".join(codecs), 40)
    )
    axes.set_title(f"Compressibility of each RAM block{_of(len(blocks), total)}")
    axes.set_xlabel(f"payload of the normal pages, % of their memory ({how})")
    axes.set_xlim(0, max(100, *shares) * _ROOM)
    axes.set_xticks(range(0, 101, 20))
    _name_rows(axes, [name for name, _ in blocks])


def _of(shown: int, total: int) -> str:
    return f": the {shown} largest of {total}" if shown < total else ""


def _note(axes: Axes, x: float, y: float, text: str) -> None:
    """Write behind a bar's end."""
    axes.annotate(text, (x, y), (4, 0), textcoords="offset points", va="center", fontsize=8)


def _name_rows(axes: Axes, names: Sequence[str]) -> None:
    axes.set_yticks(range(len(names)), [_shown(name, 32) for name in names])
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.grid(axis="x")


def _height(rows: Sequence[object]) -> float:
    """The height in inches of a panel with so many rows."""
    return 0.1 + 0.22 * len(rows)


def _palette(count: int) -> list[str]:
    if count <= len(_COLOURS):
        return list(_COLOURS[:count])
    colours = matplotlib.colormaps["viridis"]
    return [matplotlib.colors.to_hex(colours(i / (count - 1))) for i in range(count)]


def _unit(size: float) -> tuple[int, str]:
    """The unit in which ``size`` bytes are best told, and its bytes."""
    for power, name in ((40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")):
        if size >= 1 << power:
            return 1 << power, name
    return 1, "bytes"


def _size(size: float) -> str:
    divisor, unit = _unit(size)
    return f"{size / divisor:,.1f} {unit}" if divisor > 1 else f"{size:.0f} {unit}"


def _count(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def _shown(name: str, longest: int) -> str:
    """A name in characters that every font has, and its end where it is long."""
    plain = name.encode("unicode_escape").decode()
    return plain if len(plain) <= longest else f"...{plain[3 - longest :]}"
