"""``multifd advise``: which codec suits a host, why, and how to apply it."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

from codecs_core.cli.devices import print_obstacles, root_option
from codecs_core.cli.output import json_option, print_json, printable
from codecs_core.hardware import advise, inventory
from codecs_core.none import NoneCodec
from codecs_core.registry import State, default_registry

if TYPE_CHECKING:
    from codecs_core.hardware import Advice, Rule

__all__ = ["command"]

_PREFIXES = ("", "k", "m", "g", "t")
_VERDICTS = {True: "applies", False: "does not apply", None: "cannot be judged"}


def _bandwidth(ctx: click.Context, param: click.Parameter, value: str | None) -> float | None:
    """Read ``10Gbit/s``, ``1.2GB/s``, ``900MiB/s``, or a number of bytes a second."""
    if value is None:
        return None
    match = re.fullmatch(
        r"(\d+(?:\.\d*)?)\s*(?:([kKMGT]?)(i?)(bit/s|bit|bps|B/s|B))?", value.strip()
    )
    if match is None:
        raise click.BadParameter(
            f"{value!r} is no rate; write 10Gbit/s, 1.2GB/s, or bytes a second"
        )
    number, prefix, binary, unit = match.groups()
    power = _PREFIXES.index((prefix or "").lower())
    bits = (unit or "").startswith(("bit", "bps"))
    rate: float = float(number) * (1024 if binary else 1000) ** power / (8 if bits else 1)
    if not 0 < rate < math.inf:
        raise click.BadParameter(f"{value!r} is no link's bandwidth; give a rate above 0")
    return rate


@click.command("advise")
@click.option(
    "--bandwidth",
    metavar="RATE",
    callback=_bandwidth,
    help="What the link to the other host carries: 10Gbit/s, 1.2GB/s.",
)
@root_option
@json_option
def command(bandwidth: float | None, root: Path, as_json: bool) -> None:
    """Recommend a codec for a host: QATzip, QPL, one in software, or none.

    QEMU's document gives three rules for choosing between QATzip and QPL. They are applied in
    its order, and are followed by rules for what it leaves open. Each is shown with the evidence
    for and against it. Only what can run here as things are is recommended. Where an accelerator
    could do better, the obstacles are shown, with the commands that clear them.

    Speeds are published estimates here.
    """
    here = root == Path("/")
    registry = default_registry()
    advice = advise(
        inventory(root),
        bandwidth=bandwidth,
        codecs=[n for n, i in registry.items() if i.state is State.LOADED] if here else None,
        more=registry.accelerators(root),
    )
    if as_json:
        print_json(advice.as_dict() | {"commands": _commands(advice)})
        return
    click.echo(f"recommended: {advice.codec}{', accelerated' if advice.accelerated else ''}")
    click.echo(f"  because of rule {advice.reason}")
    for rule in advice.rules:
        _print_rule(rule)
    click.echo("\nto apply it:")
    for line in _commands(advice):
        click.echo(f"  {line}")
    if advice.better:
        click.echo(f"\n{advice.better} would be better. What stands in its way:")
        print_obstacles(tuple(d for d in advice.accelerators if d.codec == advice.better))


def _print_rule(rule: Rule) -> None:
    click.echo(f"\nrule {printable(rule.statement)}")
    verdict = _VERDICTS[rule.applies]
    chosen = f", and chooses {rule.choice}" if rule.choice else ""
    click.echo(f"  {verdict}{chosen}  ({rule.source})")
    for sign, facts in (("+", rule.evidence), ("-", rule.against)):
        for fact in facts:
            click.echo(f"  {sign} {printable(fact)}")


def _commands(advice: Advice) -> list[str]:
    """What to type: for this program, and for QEMU's monitor where QEMU knows the codec."""
    options = " ".join(f"--{name} {value}" for name, value in advice.settings.items())
    lines = [f"multifd send SOURCE tcp:HOST:PORT {options}"]
    registry = default_registry()
    info = registry.get(advice.codec)
    if info is not None and info.method is None and advice.codec != NoneCodec.name:
        lines.append(f"# QEMU itself has no codec {advice.codec}")
        return lines
    lines.append("# or in QEMU's monitor, at both ends and before the migration:")
    lines.append("migrate_set_capability multifd on")
    lines.extend(f"migrate_set_parameter {name} {value}" for name, value in advice.settings.items())
    return lines
