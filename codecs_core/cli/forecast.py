"""Measured advice: codecs and link are run, and what a migration takes is shown."""

from __future__ import annotations

import dataclasses
import math
import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import click

from codecs_core.cli.output import duration, print_table, printable, rate, size
from codecs_core.cli.progress import announce
from codecs_core.errors import CodecsCoreError
from codecs_core.forecast import Measured, Plan, Prediction, break_even, predict, rank
from codecs_core.hardware import Contender, Speed
from codecs_core.registry import get_codec

if TYPE_CHECKING:
    from collections.abc import Iterable

    from codecs_core.forecast.sample import Sample

__all__ = ["Forecast"]

_MEMORY = 16 << 30
_DOWNTIME = 0.3
_MOST_CHANNELS = 16
_SECONDS = 1.0
_TYPICAL = tuple(gbit * 1e9 / 8 for gbit in (1, 10, 25, 100))
"""Links for which times are shown where nobody tells which it is."""


@dataclass(frozen=True)
class Forecast:
    """What was measured, and the plan that it is applied to.

    ``failed`` are the codecs that failed, with the reason.
    """

    source: str
    sampled: int
    codecs: tuple[Measured, ...]
    failed: dict[str, str]
    plan: Plan
    bandwidth: float | None

    @classmethod
    def take(
        cls,
        names: Iterable[str],
        *,
        sample: Path | None,
        bandwidth: float | None,
        to: str | None,
        channels: int | None,
        memory: int | None,
        dirty_rate: float | None,
        downtime_limit: float | None,
        peer_cpus: int | None,
        one_host: bool,
    ) -> Self:
        """Measure the link, where ``to`` is given, then each codec for about a second.

        Raises what reading the sample and reaching the receiver raise.
        """
        from codecs_core.forecast.link import bandwidth_to, engine_costs
        from codecs_core.forecast.measure import measure
        from codecs_core.forecast.sample import of_file, of_programs

        pages = of_programs() if sample is None else of_file(sample)
        cpus = len(os.sched_getaffinity(0))
        channels = channels or min(max(2, cpus), _MOST_CHANNELS)
        if to is not None:
            announce(f"measuring the link to {to}")
            bandwidth = bandwidth_to(to, channels=channels)
        engine = engine_costs(channels=min(channels, cpus))
        codecs: list[Measured] = []
        failed: dict[str, str] = {}
        for name in names:
            announce(f"measuring {name}")
            try:
                codecs.append(
                    measure(get_codec(name), pages, channels=channels, cpus=cpus, seconds=_SECONDS)
                )
            except CodecsCoreError as error:
                failed[name] = str(error)
        plan = Plan(
            memory=memory or _MEMORY,
            channels=channels,
            cpus=cpus,
            peer_cpus=None if one_host else peer_cpus or cpus,
            dirty_rate=dirty_rate or 0.0,
            downtime_limit=downtime_limit or _DOWNTIME,
            zero=pages.zero,
            engine=engine,
        )
        return cls(pages.source, pages.size, tuple(codecs), failed, plan, bandwidth)

    def predictions(self) -> list[Prediction]:
        """What the plan takes with each codec, the best first; none without a bandwidth."""
        if self.bandwidth is None:
            return []
        return rank(predict(each, self.plan, self.bandwidth) for each in self.codecs)

    def contenders(self) -> list[Contender]:
        """The predictions, for the adviser."""
        return [
            Contender(
                each.codec,
                math.inf if each.seconds is None else each.seconds,
                f"{each.codec}: {_said(each)}",
            )
            for each in self.predictions()
        ]

    def speeds(self, devices: Iterable[str]) -> dict[str, Speed]:
        """The measured speeds, for the adviser's rules; ``devices`` names a codec for each device.

        A transfer is as fast as the slower of its ends.
        """
        units = Counter(devices)
        found = {}
        for each in self.codecs:
            slower = min(each.encode, each.decode)
            device = bool(each.hardware)
            if device:
                slower *= self.plan.channels / max(1, units[each.codec])
            found[each.codec] = Speed(
                slower, each.ratio, "measured here", device, self.plan.channels
            )
        return found

    def draw(self, path: Path) -> None:
        """Draw times against bandwidth."""
        from codecs_core.forecast.plot import draw

        draw(self.codecs, self.plan, path, title=self._title(), bandwidth=self.bandwidth)

    def as_dict(self) -> dict[str, Any]:
        """Everything, for JSON."""
        return {
            "sample": {"source": self.source, "bytes": self.sampled, "zero": self.plan.zero},
            "plan": dataclasses.asdict(self.plan),
            "codecs": [
                dataclasses.asdict(each) | {"break_even": break_even(each, self.plan)}
                for each in self.codecs
            ],
            "failed": self.failed,
            "predictions": [each.as_dict() for each in self.predictions()],
        }

    def print(self) -> None:
        """Print what was measured, and what is predicted."""
        click.echo(
            printable(
                f"\nmeasured with {size(self.sampled)} of {self.source}, "
                f"{self.plan.zero:.0%} of it zero pages before"
            )
        )
        print_table(
            ("CODEC", "RATIO", "COMPRESS", "DECOMPRESS", "HARDWARE", "PAYS BELOW"),
            (
                (
                    each.codec,
                    f"{each.ratio:.2f}",
                    f"{rate(each.encode)} a channel",
                    f"{rate(each.decode)} a channel",
                    "-" if each.hardware is None else f"{each.hardware:.0%}",
                    _bits(break_even(each, self.plan)),
                )
                for each in self.codecs
            ),
        )
        for name, reason in self.failed.items():
            click.echo(printable(f"{name} was not measured: {reason}"))
        click.echo(f"\npredicted: {self._title()}")
        if self.bandwidth is None:
            self._print_typical()
            return
        click.echo(f"over a link of {_bits(self.bandwidth)}")
        print_table(
            (
                "CODEC", "TIME", "ROUNDS", "DOWNTIME", "ON THE WIRE", "PAGES", "LIMIT",
                "SENDER'S CPU", "RECEIVER'S CPU",
            ),
            (_row(each) for each in self.predictions()),
        )  # fmt: skip
        for each in self.predictions():
            if not each.converges:
                click.echo(f"{each.codec}: {_said(each)}")

    def _print_typical(self) -> None:
        """Without a bandwidth: the times for several."""
        print_table(
            ("CODEC", *map(_bits, _TYPICAL)),
            (
                (each.codec, *(_time(predict(each, self.plan, link)) for link in _TYPICAL))
                for each in self.codecs
            ),
        )

    def _title(self) -> str:
        plan = self.plan
        dirty = f", dirtied at {rate(plan.dirty_rate)}" if plan.dirty_rate else ""
        where = (
            f"both ends on {plan.cpus} CPUs"
            if plan.peer_cpus is None
            else f"{plan.cpus} CPUs to {plan.peer_cpus} CPUs"
        )
        return f"{size(plan.memory)}{dirty}, {plan.channels} channels, {where}"


def _row(each: Prediction) -> tuple[str, ...]:
    if not each.converges:
        rest = ("-", "-", "-", f"{rate(each.rate)}", each.limit, "-", "-")
        return (each.codec, "never", *rest)
    return (
        each.codec,
        _time(each),
        str(each.rounds),
        duration(each.downtime or 0.0),
        size(each.wire or 0.0),
        rate(each.rate),
        each.limit,
        duration(each.sender_cpu or 0.0),
        duration(each.receiver_cpu or 0.0),
    )


def _said(each: Prediction) -> str:
    if each.seconds is None:
        return f"does not converge: pages move at {rate(each.rate)}, and are dirtied faster"
    return f"{duration(each.seconds)}, {duration(each.cpu or 0.0)} of CPU, {size(each.wire or 0)}"


def _time(each: Prediction) -> str:
    return "never" if each.seconds is None else duration(each.seconds)


def _bits(bytes_per_second: float) -> str:
    bits = bytes_per_second * 8
    if not bits:
        return "-"
    unit, factor = ("Gbit/s", 1e9) if bits >= 1e9 else ("Mbit/s", 1e6)
    return f"{bits / factor:.3g} {unit}"
