"""A device that can do a codec's work, and what keeps it from doing so."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

__all__ = ["Accelerator", "Obstacle"]


@dataclass(frozen=True, slots=True)
class Obstacle:
    """What stands in the way: the evidence, and the commands that clear it.

    ``remedy`` has one command a line; a line that begins with ``#`` is for a person to do.
    """

    evidence: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Accelerator:
    """A device for codec ``codec``, usable now if nothing stands in the way.

    ``device`` is its name or address on this host, ``kind`` what it is: ``QAT 4xxx``.
    """

    codec: str
    device: str
    kind: str
    obstacles: tuple[Obstacle, ...] = ()

    @property
    def usable(self) -> bool:
        """Whether this user can use it as things are."""
        return not self.obstacles

    def as_dict(self) -> dict[str, Any]:
        """Everything, for JSON; a remedy is a list of commands."""
        return {
            "codec": self.codec,
            "device": self.device,
            "kind": self.kind,
            "usable": self.usable,
            "obstacles": [
                {"evidence": each.evidence, "remedy": each.remedy.splitlines()}
                for each in self.obstacles
            ],
        }
