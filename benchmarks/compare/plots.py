"""Pictures of a section: bars of everybody's rate, or lines over what varies."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.compare.figures import Json, figure
from codecs_core.cli.plotting import save_plot

if TYPE_CHECKING:
    from matplotlib.figure import Figure

OURS = "#0072b2"
OTHERS = "#999999"
LINES = ("#0072b2", "#56b4e9", "#009e73", "#d55e00", "#e69f00", "#999999")
AXES = {"channels": "channels", "packets": "packet, KiB"}
"""Sections that are drawn as lines, and what varies."""


def draw_all(figures: Json, folder: Path) -> dict[str, Path]:
    """Draw every section but memory into a folder; return section → file."""
    drawn: dict[str, Path] = {}
    for section in dict.fromkeys(group["section"] for group in figures["groups"]):
        if section == "memory":
            continue
        groups = [each for each in figures["groups"] if each["section"] == section]
        picture = lines(groups, AXES[section]) if section in AXES else bars(groups)
        if picture is None:
            continue
        drawn[section] = folder / f"compare-{section}.svg"
        save_plot(picture, drawn[section])
    return drawn


def bars(groups: list[Json]) -> Figure | None:
    """A panel for each group, a bar for each row: its median, with its spread."""
    from matplotlib.figure import Figure

    panels = []
    for group in groups:
        found = [(row["name"], figure(row, "rate")) for row in group["rows"]]
        measured = [(name, rate) for name, rate in found if rate is not None]
        if measured:
            panels.append((group["name"], measured))
    if not panels:
        return None
    heights = [len(measured) + 1 for _, measured in panels]
    drawing = Figure(figsize=(9, 0.28 * sum(heights) + 0.6), layout="constrained")
    grid = drawing.subplots(len(panels), squeeze=False, height_ratios=heights)[:, 0]
    for axes, (title, measured) in zip(grid, panels, strict=True):
        names = [name for name, _ in measured]
        rates = [rate.median / 1e6 for _, rate in measured]
        spread = [
            [(rate.median - rate.least) / 1e6 for _, rate in measured],
            [(rate.most - rate.median) / 1e6 for _, rate in measured],
        ]
        colours = [OURS if name.startswith("multifd") else OTHERS for name in names]
        drawn = axes.barh(names, rates, color=colours, xerr=spread, ecolor="#444444")
        axes.bar_label(drawn, [f"{rate:.0f}" for rate in rates], padding=6, fontsize="small")
        axes.invert_yaxis()
        axes.set_xlim(0, max(rate.most / 1e6 for _, rate in measured) * 1.15)
        axes.set_title(title, loc="left", fontsize="medium")
        axes.tick_params(labelsize="small")
    grid[-1].set_xlabel("MB of memory a second")
    return drawing


def lines(groups: list[Json], label: str) -> Figure | None:
    """One line for each series: rate over what varies."""
    from matplotlib.figure import Figure

    series: dict[str, list[tuple[float, float]]] = {}
    for row in (row for group in groups for row in group["rows"]):
        rate = figure(row, "rate")
        if rate is not None and row["x"] is not None:
            series.setdefault(row["series"], []).append((row["x"], rate.median / 1e6))
    if not series:
        return None
    drawing = Figure(figsize=(7.5, 4.5), layout="constrained")
    axes = drawing.subplots()
    for colour, (name, points) in zip(LINES, series.items(), strict=False):
        axes.plot(*zip(*sorted(points), strict=True), marker="o", color=colour, label=name)
    ticks = sorted({x for points in series.values() for x, _ in points})
    axes.set_xscale("log", base=2)
    axes.set_xticks(ticks, [f"{x:g}" for x in ticks])
    axes.set_yscale("log")
    for formatted in (axes.yaxis.set_major_formatter, axes.yaxis.set_minor_formatter):
        formatted("{x:.0f}")
    axes.set(xlabel=label, ylabel="MB of memory a second")
    axes.grid(which="major", linewidth=0.4)
    axes.legend()
    return drawing
