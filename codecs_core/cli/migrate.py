"""``multifd migrate``: a whole migration, from the source's side."""

from __future__ import annotations

from collections import deque
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from codecs_core.cli.completion import uri_option
from codecs_core.cli.migrations import Teller
from codecs_core.cli.monitoring import Monitoring, monitoring_options
from codecs_core.cli.options import CodecCommand, choice_of, retry_option, timeout_option
from codecs_core.cli.output import Command, json_option, print_json, printable
from codecs_core.cli.progress import live, migration, migration_summary
from codecs_core.cli.rates import Seconds, rate_of
from codecs_core.cli.tls import tls_options

if TYPE_CHECKING:
    from codecs_core.gateway.side import MigrationProgress
    from codecs_core.transport.tls import TlsCredentials

__all__ = ["command", "monitor_options"]


def monitor_options(command: Command) -> Command:
    """Add ``--qmp`` and ``--socket``: how a QEMU is reached, and where it meets its relay."""
    command = click.option(
        "--socket",
        metavar="PATH",
        help="Where QEMU and its relay meet; by default beside the monitor's socket.",
    )(command)
    return click.option(
        "--qmp",
        required=True,
        metavar="SOCKET",
        type=click.Path(exists=True),
        help="The monitor of the QEMU: -qmp unix:SOCKET,server=on,wait=off",
    )(command)


@click.command(
    "migrate",
    cls=CodecCommand,
    adaptive=True,
    epilog="""\
    \b
    Example, with 'multifd accept' waiting on the other host:
      multifd migrate --qmp /run/vm.qmp --to tcp:other:4444 \\
          --tls-creds /etc/pki/qemu \\
          --multifd-compression zstd --multifd-channels 4
    """,
)
@monitor_options
@uri_option("--to", required=True, help="Where 'multifd accept' or 'relay ingress' listens.")
@click.option(
    "--max-bandwidth",
    metavar="RATE",
    callback=rate_of,
    help="QEMU's limit, of memory before compression; by default none.",
)
@click.option(
    "--downtime-limit",
    metavar="SECONDS",
    type=Seconds(min=0.001, max=2000),
    help="How long the guest may stand still; by default as it is set.",
)
@tls_options(listens=False)
@monitoring_options("egress", listens=False)
@retry_option
@timeout_option
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    multifd_channels: int,
    qmp: str,
    socket: str | None,
    to: str,
    max_bandwidth: float | None,
    downtime_limit: float | None,
    tls: TlsCredentials | None,
    monitoring: Monitoring,
    retry_for: float,
    timeout: float,
    as_json: bool,
) -> None:
    """Move a QEMU's guest to another host, compressed.

    Everything is done through the monitor: the QEMU's version and capabilities are checked,
    multifd and return-path are switched on, the relay is started in here, and the migration runs.
    The QEMU needs no codec. Afterwards its settings are as they were.

    Where the migration fails, and at Ctrl-C, it is cancelled and the guest runs on here. The
    guest leaves only when the destination has said that it has arrived.
    """
    from codecs_core.gateway.monitor import Monitor
    from codecs_core.gateway.outgoing import Outgoing

    codec = choice_of(ctx)
    seen: deque[MigrationProgress] = deque(maxlen=1)
    teller = Teller(monitoring, alone=True)
    with monitoring, Monitor(qmp) as monitor:
        outgoing = Outgoing(
            monitor,
            to,
            codec=codec,
            channels=multifd_channels,
            max_bandwidth=max_bandwidth,
            downtime_limit=downtime_limit,
            socket=socket,
            retry_for=retry_for,
            timeout=timeout,
            tls=tls,
            on_start=teller.begun,
            on_end=teller.ended,
            report=seen.append,
        )
        try:
            with live(lambda: migration(seen[-1] if seen else None), monitoring.log):
                done = outgoing.run()
        except KeyboardInterrupt:
            monitoring.log.tell("guest", outgoing.whereabouts())
            raise
    if as_json:
        print_json(asdict(done) | {"ratio": done.ratio, "rate": done.rate})
    else:
        click.echo(printable(f"the guest has arrived: {migration_summary(done)}"))
