"""What a contender is given, and what it reports."""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from benchmarks.compare.link import Link

LIMIT = 300.0
"""Seconds that a run may take; what takes longer hangs."""


class Missing(Exception):
    """A contender is not here; the message says what it takes."""


class Failed(Exception):
    """A contender is here and did not do it."""


@dataclass(frozen=True)
class Scene:
    """A file of whole pages to be moved over a link; ``place`` is for files of the run."""

    data: Path
    size: int
    link: Link
    place: Path
    certificates: Path


@dataclass(frozen=True)
class End:
    """What the processes at one end used: CPU seconds, and bytes of memory without the data."""

    cpu: float
    peak: int | None = None
    grown: int | None = None


@dataclass(frozen=True)
class Run:
    """One transfer of ``size`` bytes.

    ``wire`` is what the link carried, ``told`` what the contender itself says that it sent.
    """

    size: int
    seconds: float
    near: End
    far: End
    wire: int | None = None
    told: int | None = None

    def as_dict(self) -> dict[str, Any]:
        """For the results file."""
        return asdict(self)


class Contender(Protocol):
    """Moves a scene's data."""

    def run(self, scene: Scene) -> Run:
        """Do it once. Raises `Missing` or `Failed`."""


def need(*tools: str, package: str = "") -> None:
    """Raise `Missing` for a tool that is not installed."""
    for tool in tools:
        if shutil.which(tool) is None:
            raise Missing(f"{tool} is not installed: apt install {package or tool}")
