"""Measured advice on the terminal: what was measured, and what is predicted."""

from __future__ import annotations

import math
import os
from collections import Counter
from typing import TYPE_CHECKING, Any

import click

from codecs_core.cli.output import duration, print_table, printable, rate, size
from codecs_core.cli.plotting import save_plot
from codecs_core.cli.progress import announce
from codecs_core.forecast import (
    Plan,
    break_even,
    of_file,
    of_programs,
    plot,
    predict,
    survey,
)
from codecs_core.forecast.survey import default_channels
from codecs_core.hardware import Contender, Speed
from codecs_core.none import NoneCodec

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from codecs_core.forecast import Prediction, Survey
    from codecs_core.transport.tls import TlsCredentials

__all__ = ["contenders", "draw", "print_survey", "speeds", "take"]

SECONDS = 1.0
"""How long each codec is measured."""

_TYPICAL = tuple(gbit * 1e9 / 8 for gbit in (1, 10, 25, 100))
"""Links for which times are shown where nobody tells which it is."""


def take(
    params: Mapping[str, Any], names: Iterable[str], tls: TlsCredentials | None = None
) -> Survey:
    """Measure the codecs with these names, for what the command's options plan.

    Raises what reading the sample and reaching the receiver raise.
    """
    cpus = len(os.sched_getaffinity(0))
    plan = Plan(
        memory=params["memory"],
        channels=params["multifd_channels"] or default_channels(),
        cpus=cpus,
        peer_cpus=None if params["one_host"] else params["peer_cpus"] or cpus,
        dirty_rate=params["dirty_rate"] or 0.0,
        downtime_limit=params["downtime_limit"],
    )
    path = params["sample"]
    return survey(
        names,
        of_programs() if path is None else of_file(path),
        plan,
        bandwidth=params["bandwidth"],
        to=params["to"],
        tls=tls,
        seconds=SECONDS,
        report=announce,
    )


def draw(found: Survey, path: Path) -> None:
    """Draw times against bandwidth. Raises `TransferError` where the file cannot be written."""
    figure = plot.draw(found.codecs, found.plan, title=_title(found), bandwidth=found.bandwidth)
    save_plot(figure, path)


def contenders(found: Survey) -> tuple[Contender, ...]:
    """The predictions, for the adviser."""
    return tuple(
        Contender(
            each.codec,
            math.inf if each.seconds is None else each.seconds,
            f"{each.codec}: {_said(each)}",
        )
        for each in found.predictions()
    )


def speeds(found: Survey, devices: Iterable[str]) -> dict[str, Speed]:
    """The measured speeds, for the adviser's rules; ``devices`` names a codec for each device.

    A transfer is as fast as the slower of its ends.
    """
    units = Counter(devices)
    known = {}
    for each in found.codecs:
        slower = min(each.encode, each.decode)
        if each.hardware:
            slower *= found.plan.channels / max(1, units[each.codec])
        known[each.codec] = Speed(
            slower, each.ratio, "measured here", bool(each.hardware), found.plan.channels
        )
    return known


def print_survey(found: Survey) -> None:
    """Print what was measured, and what is predicted."""
    click.echo(
        printable(
            f"\nmeasured with {size(found.sample.size)} of {found.sample.source}; "
            f"{found.plan.zero:.0%} of its pages were zero, and are left out"
        )
    )
    print_table(
        ("CODEC", "RATIO", "COMPRESS", "DECOMPRESS", "HARDWARE", "PAYS BELOW"),
        (
            (
                each.codec,
                f"{each.ratio:.2f}",
                "-" if each.codec == NoneCodec.name else f"{rate(each.encode)} a channel",
                "-" if each.codec == NoneCodec.name else f"{rate(each.decode)} a channel",
                "-" if each.hardware is None else f"{each.hardware:.0%}",
                _bits(break_even(each, found.plan)),
            )
            for each in found.codecs
        ),
    )
    for name, reason in found.failed.items():
        click.echo(printable(f"{name} was not measured: {reason}"))
    click.echo(f"\npredicted: {_title(found)}")
    if found.bandwidth is None:
        print_table(
            ("CODEC", *map(_bits, _TYPICAL)),
            (
                (each.codec, *(_time(predict(each, found.plan, link)) for link in _TYPICAL))
                for each in found.codecs
            ),
        )
        return
    click.echo(f"over a link of {_bits(found.bandwidth)}")
    predictions = found.predictions()
    print_table(
        (
            "CODEC", "TIME", "ROUNDS", "DOWNTIME", "ON THE WIRE", "PAGES", "LIMIT",
            "SENDER'S CPU", "RECEIVER'S CPU",
        ),
        map(_row, predictions),
    )  # fmt: skip
    for each in predictions:
        if not each.converges:
            click.echo(f"{each.codec} {_said(each)}")


def _title(found: Survey) -> str:
    """The plan, in a line."""
    plan = found.plan
    dirty = f", dirtied at {rate(plan.dirty_rate)}" if plan.dirty_rate else ""
    where = (
        f"both ends on {plan.cpus} CPUs"
        if plan.peer_cpus is None
        else f"{plan.cpus} CPUs to {plan.peer_cpus} CPUs"
    )
    return f"{size(plan.memory)}{dirty}, {plan.channels} channels, {where}"


def _row(each: Prediction) -> tuple[str, ...]:
    if not each.converges:
        return (each.codec, "never", "-", "-", "-", rate(each.rate), each.limit, "-", "-")
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
    """A link's bandwidth as its users say it."""
    if not bytes_per_second:
        return "-"
    bits = bytes_per_second * 8
    unit, factor = ("Gbit/s", 1e9) if bits >= 1e9 else ("Mbit/s", 1e6)
    return f"{bits / factor:.3g} {unit}"
