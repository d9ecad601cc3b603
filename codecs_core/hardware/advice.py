"""Which codec suits a host, why, and what would make a better one usable."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from codecs_core.errors import UsageError
from codecs_core.hardware.methods import KNOWN, NONE, PUBLISHED, Speed
from codecs_core.hardware.rules import Rule, Situation
from codecs_core.hardware.usable import accelerators, has_svm

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from codecs_core.accelerator import Accelerator
    from codecs_core.hardware.inventory import Inventory

__all__ = ["Advice", "advise"]


@dataclass(frozen=True, slots=True)
class Advice:
    """The codec to use, why, and what would make a better one usable.

    ``settings`` are QEMU's migration parameters. ``better`` is the codec that the rules would
    choose if every accelerator that is present were usable, where that is another one; the
    accelerators tell what stands in the way.
    """

    codec: str
    accelerated: bool
    reason: str
    settings: dict[str, str | int]
    rules: tuple[Rule, ...]
    accelerators: tuple[Accelerator, ...]
    better: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Everything, for JSON."""
        return {
            "codec": self.codec,
            "accelerated": self.accelerated,
            "reason": self.reason,
            "settings": self.settings,
            "better": self.better,
            "rules": [dataclasses.asdict(each) for each in self.rules],
            "accelerators": [each.as_dict() for each in self.accelerators],
        }


def advise(
    found: Inventory,
    *,
    bandwidth: float | None = None,
    codecs: Collection[str] | None = None,
    speeds: Mapping[str, Speed] | None = None,
    more: Iterable[Accelerator] = (),
) -> Advice:
    """Recommend a codec for a situation.

    ``bandwidth`` is the link's, in bytes a second; without it the rules about the link cannot be
    judged. ``codecs`` are the names of those that can be used there, by default all that this
    project publishes. ``speeds`` replace the published estimates, by codec. ``more`` are
    accelerators that plugins know of. Only codecs that can run as things are get recommended, and
    a hardware codec only where a device for it is usable.

    Raises `UsageError` for a bandwidth that is not above 0.
    """
    if bandwidth is not None and not bandwidth > 0:
        raise UsageError(f"bandwidth={bandwidth}: give a number of bytes a second above 0")
    devices = (*accelerators(found), *more)
    here = frozenset(KNOWN if codecs is None else codecs) | {NONE}
    situation = Situation(
        cpus=max(1, found.cpu.count),
        svm=has_svm(found),
        counts=_count(each for each in devices if each.usable and each.codec in here),
        present=_count(devices),
        codecs=here,
        bandwidth=bandwidth,
        speeds={**PUBLISHED, **(speeds or {})},
    )
    rules = situation.judge()
    codec, reason = next((r.choice, r.statement) for r in reversed(rules) if r.choice)
    return Advice(
        codec=codec,
        accelerated=codec in situation.counts,
        reason=reason,
        settings=situation.settings(codec),
        rules=tuple(rules),
        accelerators=devices,
        better=situation.better(codec),
    )


def _count(devices: Iterable[Accelerator]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for each in devices:
        counts[each.codec] = counts.get(each.codec, 0) + 1
    return counts
