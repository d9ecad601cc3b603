"""Everything that a forecast rests on, measured on this host, and the forecast."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from codecs_core.errors import CodecsCoreError
from codecs_core.forecast.link import bandwidth_to, engine_costs
from codecs_core.forecast.measure import measure
from codecs_core.forecast.model import Measured, Plan, Prediction, break_even, predict, rank
from codecs_core.forecast.sample import Sample
from codecs_core.registry import get_codec

if TYPE_CHECKING:
    from codecs_core.transport.tls import TlsCredentials

__all__ = ["Survey", "default_channels", "survey"]

_MOST_CHANNELS = 16


@dataclass(frozen=True)
class Survey:
    """What was measured, and the plan that it is applied to.

    ``failed`` are the codecs that failed, with the reason. ``bandwidth`` is the link's, in bytes a
    second, ``None`` where it is not known.
    """

    sample: Sample
    codecs: tuple[Measured, ...]
    failed: dict[str, str]
    plan: Plan
    bandwidth: float | None

    def predictions(self) -> list[Prediction]:
        """What the plan takes with each codec, the best first; none without a bandwidth."""
        if self.bandwidth is None:
            return []
        return rank(predict(each, self.plan, self.bandwidth) for each in self.codecs)

    def as_dict(self) -> dict[str, Any]:
        """Everything but the pages, for JSON."""
        return {
            "sample": {
                "source": self.sample.source,
                "bytes": self.sample.size,
                "zero": self.sample.zero,
            },
            "plan": dataclasses.asdict(self.plan),
            "codecs": [
                dataclasses.asdict(each) | {"break_even": break_even(each, self.plan)}
                for each in self.codecs
            ],
            "failed": self.failed,
            "predictions": [each.as_dict() for each in self.predictions()],
        }


def survey(
    names: Iterable[str],
    sample: Sample,
    plan: Plan,
    *,
    bandwidth: float | None = None,
    to: str | None = None,
    tls: TlsCredentials | None = None,
    seconds: float = 1.0,
    report: Callable[[str], None] = lambda step: None,
) -> Survey:
    """Measure the link, where the URI ``to`` is given, the engine, and each codec with a name.

    Each takes about so many ``seconds``; ``report`` is told what comes. ``tls`` protects the link
    to ``to``. The plan's zero pages and the engine's costs are replaced by what is found. Raises
    what reaching the receiver raises; a codec that fails is left out.
    """
    if to is not None:
        report(f"measuring the link to {to}")
        bandwidth = bandwidth_to(to, channels=plan.channels, seconds=seconds, tls=tls)
    engine = engine_costs(channels=min(plan.channels, plan.cpus), seconds=seconds / 3)
    codecs: list[Measured] = []
    failed: dict[str, str] = {}
    for name in names:
        report(f"measuring {name}")
        try:
            codecs.append(
                measure(
                    get_codec(name),
                    sample,
                    channels=plan.channels,
                    cpus=plan.cpus,
                    seconds=seconds,
                    one_host=plan.peer_cpus is None,
                )
            )
        except CodecsCoreError as error:
            failed[name] = str(error)
    plan = dataclasses.replace(plan, zero=sample.zero, engine=engine)
    return Survey(sample, tuple(codecs), failed, plan, bandwidth)


def default_channels() -> int:
    """One channel a CPU, 2 at least, and 16 at most."""
    return min(max(2, len(os.sched_getaffinity(0))), _MOST_CHANNELS)
