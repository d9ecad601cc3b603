"""What the runs come to: medians, spreads, quotients of neighbours, promises kept or not.

Everything here is pure: from the results file's values to numbers.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import Any

MIB = 1 << 20
Json = dict[str, Any]

LESS_IS_BETTER = {"cpu", "peak", "grown"}


@dataclass(frozen=True)
class Figure:
    """A median of rounds, with the least and the greatest."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: list[float]) -> Figure | None:
        """Of no values, there is none."""
        return cls(statistics.median(values), min(values), max(values)) if values else None


def value(run: Json, measure: str) -> float | None:
    """One run's figure.

    ``rate`` is in bytes a second, ``ratio`` by what the link carried where there is one, ``cpu`` in
    seconds a GB of both ends together, ``peak`` and ``grown`` in MiB of the end that has more.
    """
    near, far = run["near"], run["far"]
    if measure == "rate":
        return float(run["size"] / run["seconds"])
    if measure == "ratio":
        sent = run["wire"] or run["told"]
        return run["size"] / sent if sent else None
    if measure == "cpu":
        return float((near["cpu"] + far["cpu"]) / (run["size"] / 1e9))
    if measure in ("peak", "grown"):
        peaks = [end[measure] for end in (near, far) if end[measure] is not None]
        return max(peaks) / MIB if peaks else None
    raise ValueError(measure)


def figure(row: Json, measure: str) -> Figure | None:
    """A row's figure over all rounds."""
    values = [value(run, measure) for run in row["runs"] if run is not None]
    return Figure.of([each for each in values if each is not None])


def promised(group: Json, promise: Json) -> Figure | None:
    """What a promise comes to: the median of the rounds' quotients, not the medians' quotient."""
    rows = {row["name"]: row["runs"] for row in group["rows"]}
    measure = promise["measure"]
    best = min if measure in LESS_IS_BETTER else max
    found = []
    for number, run in enumerate(rows[promise["ours"]]):
        ours = None if run is None else value(run, measure)
        if ours is None:
            continue
        if not promise["theirs"]:
            found.append(ours)
            continue
        others = (rows[name][number] for name in promise["theirs"] if number < len(rows[name]))
        values = [value(each, measure) for each in others if each is not None]
        present = [each for each in values if each]
        if present:
            found.append(ours / best(present))
    return Figure.of(found)


def kept(promise: Json, found: Figure) -> bool | None:
    """Whether it holds, by its median; ``None`` where nothing is promised."""
    if promise["least"] is not None:
        return bool(found.median >= promise["least"])
    if promise["most"] is not None:
        return bool(found.median <= promise["most"])
    return None
