"""Rows that are compared with each other, what is promised of them, and how some are chosen."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

from benchmarks.compare.link import LOOPBACK
from benchmarks.compare.run import Contender


@dataclass(frozen=True)
class Row:
    """A contender; ``series`` and ``x`` are where it stands in a plot of lines."""

    name: str
    contender: Contender
    series: str = ""
    x: float | None = None


@dataclass(frozen=True)
class Promise:
    """A row's figure divided by the best of some others', or the figure alone."""

    ours: str
    theirs: tuple[str, ...] = ()
    measure: str = "rate"
    least: float | None = None
    most: float | None = None


@dataclass(frozen=True)
class Group:
    """Rows that are compared with each other: in each round they run one after the other.

    ``mib`` is how much each moves, where that is not the run's, ``times`` as much; ``file_mib`` how
    large the file is, where that is not what is moved; ``rounds`` how many there are at most.
    """

    section: str
    name: str
    rows: tuple[Row, ...]
    promises: tuple[Promise, ...] = ()
    data: str = "guest"
    link: str = LOOPBACK
    mib: int | None = None
    times: int = 1
    file_mib: int | None = None
    rounds: int | None = None


def select(groups: list[Group], patterns: list[str]) -> list[Group]:
    """Only the rows whose ``section/group/row`` lies at, lies below or matches a pattern."""
    if not patterns:
        return groups
    chosen = []
    for group in groups:
        rows = tuple(row for row in group.rows if _matches(group, row, patterns))
        names = {row.name for row in rows}
        promises = tuple(each for each in group.promises if {each.ours, *each.theirs} <= names)
        if rows:
            chosen.append(replace(group, rows=rows, promises=promises))
    return chosen


def _matches(group: Group, row: Row, patterns: list[str]) -> bool:
    name = f"{group.section}/{group.name}/{row.name}"
    return any(f"{name}/".startswith(f"{each}/") or fnmatchcase(name, each) for each in patterns)
