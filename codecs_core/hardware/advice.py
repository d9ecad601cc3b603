"""Which codec suits a host, why, and what would make a better one usable."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from codecs_core.errors import UsageError
from codecs_core.hardware.methods import KNOWN, NONE, PUBLISHED, Speed
from codecs_core.hardware.rules import OURS, Rule, Situation
from codecs_core.hardware.usable import accelerators, has_svm

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from codecs_core.accelerator import Accelerator
    from codecs_core.hardware.inventory import Inventory

__all__ = ["Advice", "Contender", "advise"]


@dataclass(frozen=True, slots=True)
class Contender:
    """A codec that was measured: how long it would take, in seconds, and that in words.

    ``seconds`` is infinite where the transfer would not end.
    """

    codec: str
    seconds: float
    said: str


@dataclass(frozen=True, slots=True)
class Advice:
    """The codec to use, why, and what would make a better one usable.

    ``reason`` is the rule that chose it, ``settings`` are QEMU's migration parameters. ``better``
    is the codec that the rules would choose if every accelerator that is present were usable,
    where that is another one; the accelerators tell what stands in the way.
    """

    codec: str
    accelerated: bool
    reason: Rule
    settings: dict[str, str | int]
    rules: tuple[Rule, ...]
    accelerators: tuple[Accelerator, ...]
    better: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Everything, for JSON."""
        return {
            "codec": self.codec,
            "accelerated": self.accelerated,
            "reason": self.reason.number,
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
    channels: int | None = None,
    more: Iterable[Accelerator] = (),
    measured: Sequence[Contender] = (),
) -> Advice:
    """Recommend a codec for a situation.

    ``bandwidth`` is the link's, in bytes a second; without it the rules about the link cannot be
    judged. ``codecs`` are the names of those that can be used there, by default all that this
    project publishes. ``speeds`` replace the published estimates, by codec. ``channels`` is their
    number, where it is settled. ``more`` are accelerators that plugins know of. ``measured`` are
    the codecs that were measured there, the best first: it overrules the other rules.

    Only codecs that can run as things are get recommended, and without a measurement a hardware
    codec only where a device for it is usable. Raises `UsageError` for a bandwidth that is not
    above 0.
    """
    if bandwidth is not None and not 0 < bandwidth < math.inf:
        raise UsageError(f"bandwidth={bandwidth}: give a number of bytes a second above 0")
    devices = (*accelerators(found), *more)
    here = frozenset(KNOWN if codecs is None else codecs) | {NONE}
    situation = Situation(
        cpus=max(1, found.cpu.count),
        svm=has_svm(found),
        counts=Counter(each.codec for each in devices if each.usable and each.codec in here),
        present=Counter(each.codec for each in devices),
        codecs=here,
        bandwidth=bandwidth,
        speeds={**PUBLISHED, **(speeds or {})},
    )
    rules = situation.judge()
    if measured:
        rules.append(_measured(measured, rules))
    reason = next(rule for rule in reversed(rules) if rule.choice)
    codec = reason.choice or NONE
    speed = situation.speeds.get(codec)
    return Advice(
        codec=codec,
        accelerated=codec in situation.counts and (speed is None or speed.accelerated),
        reason=reason,
        settings=situation.settings(codec, channels),
        rules=tuple(rules),
        accelerators=devices,
        better=situation.better(codec),
    )


def _measured(contenders: Sequence[Contender], rules: Sequence[Rule]) -> Rule:
    """The rule that a measurement is better than an estimate."""
    best = contenders[0]
    chosen = next(rule.choice for rule in reversed(rules) if rule.choice)
    statement = "measured here, another codec is done sooner, or at the same time for less work"
    said = tuple(each.said for each in contenders)
    if best.codec == chosen:
        return Rule(8, statement, OURS, False, (), said)
    return Rule(8, statement, OURS, True, said, (), best.codec)
