"""The plot of a forecast: predicted time against the link's bandwidth, one line a codec.

matplotlib is imported here, and only when something is drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from codecs_core.forecast.model import Measured, Plan, predict

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["draw"]

_LEAST, _MOST = 10e6 / 8, 400e9 / 8
_POINTS = 80


def draw(
    codecs: Sequence[Measured], plan: Plan, *, title: str, bandwidth: float | None = None
) -> Figure:
    """Draw the plot; ``bandwidth`` is marked.

    A line ends where the transfer would not. Raises `ImportError` without matplotlib.
    """
    from matplotlib.figure import Figure

    step = (_MOST / _LEAST) ** (1 / (_POINTS - 1))
    bandwidths = [_LEAST * step**number for number in range(_POINTS)]
    figure = Figure(figsize=(7.5, 4.5), layout="constrained")
    axes = figure.subplots()
    for codec in codecs:
        times = [predict(codec, plan, each).seconds for each in bandwidths]
        axes.plot(
            [each * 8 / 1e9 for each in bandwidths],
            [float("nan") if each is None else each for each in times],
            label=codec.codec,
        )
    if bandwidth is not None:
        axes.axvline(bandwidth * 8 / 1e9, color="grey", linestyle=":", linewidth=1)
    axes.set(xscale="log", yscale="log", xlabel="bandwidth, Gbit/s", ylabel="time, s")
    axes.set_title(title, fontsize="medium")
    axes.grid(which="major", linewidth=0.4)
    axes.legend()
    return figure
