"""``multifd advise``: which codec suits a host, why, and how to apply it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from codecs_core.cli.completion import uri_option
from codecs_core.cli.devices import print_obstacles, root_option
from codecs_core.cli.output import json_option, print_json, printable
from codecs_core.cli.plotting import check_plot, plot_option
from codecs_core.cli.rates import Count, Seconds, rate_of, size_of
from codecs_core.cli.tls import tls_options
from codecs_core.errors import CodecsCoreError, UsageError
from codecs_core.hardware import accelerators, advise, inventory
from codecs_core.hardware.apply import commands
from codecs_core.hardware.methods import PUBLISHED
from codecs_core.registry import State, default_registry

if TYPE_CHECKING:
    from collections.abc import Mapping

    from codecs_core.forecast import Survey
    from codecs_core.hardware import Advice, Contender, Rule, Speed
    from codecs_core.hardware.apply import Commands
    from codecs_core.transport.tls import TlsCredentials

__all__ = ["command"]

HERE = Path("/")
_VERDICTS = {True: "applies", False: "does not apply", None: "cannot be judged"}
_OF_A_FORECAST = {
    "to", "memory", "dirty_rate", "downtime_limit", "peer_cpus", "one_host", "plot", "tls_creds",
    "tls_hostname",
}  # fmt: skip


@click.command(
    "advise",
    epilog="""\
    \b
    Examples:
      multifd advise --bandwidth 10Gbit/s
      multifd advise --root FILE.tar --bandwidth 25Gbit/s
      multifd advise --measure --bandwidth 1Gbit/s --memory 64G \\
          --dirty-rate 50MB/s --plot times.svg
      multifd advise --measure --to tcp:other:4444 --tls-creds pki
    """,
)
@click.option(
    "--bandwidth",
    metavar="RATE",
    callback=rate_of,
    help="What the link to the other host carries: 10Gbit/s, 1.2GB/s.",
)
@root_option
@click.option(
    "--sample",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Pages like those to be moved, a memory dump, say.  [default: this host's programs]",
)
@click.option(
    "--multifd-channels",
    metavar="N",
    type=Count(1, 255),
    help="How many channels there are to be.  [default: what the codec needs]",
)
@click.option("--measure", is_flag=True, help="Run every codec for a second, and predict.")
@uri_option(
    "--to",
    help="Measure the link to 'multifd recv URI - > /dev/null' on the other host.",
)
@click.option(
    "--memory",
    metavar="SIZE",
    callback=size_of,
    default="16G",
    show_default=True,
    help="What is to be moved.",
)
@click.option(
    "--dirty-rate",
    metavar="RATE",
    callback=rate_of,
    help="How fast the guest dirties pages.  [default: not at all]",
)
@click.option(
    "--downtime-limit",
    metavar="SECONDS",
    type=Seconds(min=0.001, max=2000),
    default=0.3,
    show_default=True,
    help="How long the guest may stand still.",
)
@click.option(
    "--peer-cpus",
    metavar="N",
    type=Count(1, 65536),
    help="CPUs of the other host.  [default: as many as here]",
)
@click.option("--one-host", is_flag=True, help="Both ends are on this host, and share its CPUs.")
@plot_option
@tls_options(listens=False)
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    bandwidth: float | None,
    root: Path,
    sample: Path | None,
    multifd_channels: int | None,
    measure: bool,
    to: str | None,
    memory: int,
    dirty_rate: float | None,
    downtime_limit: float,
    peer_cpus: int | None,
    one_host: bool,
    plot: Path | None,
    tls: TlsCredentials | None,
    as_json: bool,
) -> None:
    """Recommend a codec for a host: QATzip, QPL, one in software, or none.

    QEMU's document gives three rules for choosing between QATzip and QPL. They are applied in
    its order, and are followed by rules for what it leaves open. Each is shown with the evidence
    for and against it. Only what can run here as things are is recommended. Where an accelerator
    could do better, the obstacles are shown, with the commands that clear them.

    Speeds are published estimates; with --sample the ratios are the sample's. With --measure all
    codecs that are usable here are run on the sample, and the time, the CPU seconds and the bytes
    of a migration are predicted for each, its rounds included. The best of them is recommended.
    """
    _check(ctx)
    host = inventory(root)
    registry = default_registry()
    usable = [name for name, info in registry.items() if info.state is State.LOADED]
    more = registry.accelerators(root)
    speeds: Mapping[str, Speed] = {}
    measured: tuple[Contender, ...] = ()
    found: Survey | None = None
    if measure:
        from codecs_core.cli import forecast

        found = forecast.take(ctx.params, usable, tls)
        devices = [each.codec for each in (*accelerators(host), *more) if each.usable]
        speeds, measured = forecast.speeds(found, devices), forecast.contenders(found)
        bandwidth, multifd_channels = found.bandwidth, found.plan.channels
        if plot is not None:
            forecast.draw(found, plot)
    elif sample is not None:
        speeds = _packed(sample, usable)
    advice = advise(
        host,
        bandwidth=bandwidth,
        codecs=usable if root == HERE else None,
        speeds=speeds,
        channels=multifd_channels,
        more=more,
        measured=measured,
    )
    todo = commands(advice)
    if as_json:
        print_json(
            advice.as_dict()
            | {"bandwidth": bandwidth, "commands": dataclasses.asdict(todo)}
            | {"forecast": found.as_dict() if found else None}
        )
        return
    _print_advice(advice, todo, elsewhere=root != HERE)
    if found:
        forecast.print_survey(found)
    if plot:
        click.echo(f"\ndrawn: {plot}")


def _check(ctx: click.Context) -> None:
    """Raise `UsageError` where options do not go together; nothing has been done yet."""
    given = {
        name: value
        for name, value in ctx.params.items()
        if ctx.get_parameter_source(name) is not ParameterSource.DEFAULT
    }
    if "measure" not in given:
        for name in _OF_A_FORECAST & given.keys():
            option = name.replace("_", "-")
            raise UsageError(f"--{option} is about what --measure predicts; add --measure")
    elif ctx.params["root"] != HERE:
        raise UsageError("--measure measures this host; leave out --root")
    if {"bandwidth", "to"} <= given.keys():
        raise UsageError("--bandwidth tells what --to would measure; give one of them")
    if {"peer_cpus", "one_host"} <= given.keys():
        raise UsageError("with --one-host there is no other host that --peer-cpus could be of")
    if "plot" in given:
        check_plot(given["plot"])


def _packed(path: Path, usable: list[str]) -> dict[str, Speed]:
    """The published speeds, with the ratios that a sample has."""
    from codecs_core.forecast.measure import ratio_of
    from codecs_core.forecast.sample import of_file
    from codecs_core.registry import get_codec

    sample = of_file(path)
    return {
        name: speed.on(sample.source, ratio_of(get_codec(name), sample))
        for name, speed in PUBLISHED.items()
        if name in usable
    }


def _print_advice(advice: Advice, todo: Commands, *, elsewhere: bool) -> None:
    click.echo(f"recommended: {advice.codec}{', by a device' if advice.accelerated else ''}")
    click.echo(f"  by rule {advice.reason.number}: {advice.reason.statement}")
    if elsewhere:
        click.echo("  if its plugin is installed on that host, which its files do not tell")
    for rule in advice.rules:
        _print_rule(rule)
    click.echo("\nto apply it:")
    for line in todo.multifd:
        click.echo(f"  {line}")
    if todo.why:
        click.echo(f"  # {todo.why}")
    else:
        click.echo("  # or in QEMU's own monitors, at both ends and before the migration:")
    for line in todo.hmp:
        click.echo(f"  (qemu) {line}")
    for line in todo.qmp:
        click.echo(f"  {line}")
    if advice.better:
        click.echo(f"\n{advice.better} would be better. What stands in its way:")
        if not elsewhere:
            _print_plugin(advice.better)
        print_obstacles(tuple(d for d in advice.accelerators if d.codec == advice.better))


def _print_plugin(codec: str) -> None:
    """Print what is the matter with a codec's plugin, if anything is."""
    try:
        default_registry().codec_class(codec)
    except CodecsCoreError as error:
        click.echo(f"\n{printable(str(error))}")


def _print_rule(rule: Rule) -> None:
    chosen = f": {rule.choice}" if rule.choice else ""
    click.echo(f"\nrule {rule.number}: {printable(rule.statement)}")
    click.echo(f"  {_VERDICTS[rule.applies]}{chosen}  ({rule.source})")
    for sign, facts in (("+", rule.evidence), ("-", rule.against)):
        for fact in facts:
            click.echo(f"  {sign} {printable(fact)}")
