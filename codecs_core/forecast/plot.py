"""The plot of a forecast: predicted time against the link's bandwidth, one line a codec.

matplotlib is imported here, and only when something is drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from codecs_core.forecast.model import Measured, Plan, predict

__all__ = ["draw"]

_LEAST, _MOST = 10e6 / 8, 400e9 / 8
_POINTS = 160


def draw(
    codecs: Sequence[Measured],
    plan: Plan,
    path: Path,
    *,
    title: str,
    bandwidth: float | None = None,
) -> None:
    """Write the plot to ``path``, whose ending chooses the format.

    ``bandwidth`` is marked. A line has a gap where the transfer would not end. Raises
    `ImportError` without matplotlib, `OSError` where the file cannot be written.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    step = (_MOST / _LEAST) ** (1 / (_POINTS - 1))
    bandwidths = [_LEAST * step**number for number in range(_POINTS)]
    # Text as text, and the same bytes each time.
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "codecs_core"}):
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
        figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
