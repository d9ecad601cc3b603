"""``multifd accept``: a whole migration, from the destination's side."""

from __future__ import annotations

from collections import deque
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from codecs_core.cli.completion import uri_option
from codecs_core.cli.migrate import monitor_options
from codecs_core.cli.migrations import Teller
from codecs_core.cli.monitoring import Monitoring, monitoring_options
from codecs_core.cli.options import timeout_option
from codecs_core.cli.output import json_option, print_json, printable
from codecs_core.cli.progress import live, migration, migration_summary
from codecs_core.cli.rates import Count
from codecs_core.cli.tls import insecure_option, tls_options

if TYPE_CHECKING:
    from codecs_core.gateway.side import MigrationProgress
    from codecs_core.transport.tls import TlsCredentials

__all__ = ["command"]


@click.command(
    "accept",
    epilog="""\
    \b
    Example:
      qemu-system-x86_64 -m 1G -incoming defer \\
          -qmp unix:/run/vm.qmp,server=on,wait=off ...
      multifd accept --qmp /run/vm.qmp --listen tcp:0.0.0.0:4444 \\
          --tls-creds /etc/pki/qemu
    """,
)
@monitor_options
@uri_option("--listen", required=True, help="Where 'multifd migrate' connects.")
@click.option(
    "--multifd-channels",
    type=Count(1, 255),
    metavar="N",
    default=2,
    show_default=True,
    help="The source's channels, where a plain 'relay egress' does not tell.",
)
@tls_options(listens=True)
@insecure_option
@monitoring_options("ingress")
@timeout_option
@json_option
def command(
    qmp: str,
    socket: str | None,
    listen: str,
    multifd_channels: int,
    tls: TlsCredentials | None,
    insecure: bool,
    monitoring: Monitoring,
    timeout: float,
    as_json: bool,
) -> None:
    """Take one guest in for a QEMU that was started with -incoming defer.

    Its version and capabilities are checked, and when 'multifd migrate' connects, the QEMU is
    set up as the source needs it. Codec and channels are the source's choice; the machine type,
    the devices and the memory must be those of the source.
    """
    from codecs_core.gateway.incoming import Incoming
    from codecs_core.gateway.monitor import Monitor

    seen: deque[MigrationProgress] = deque(maxlen=1)
    teller = Teller(monitoring, alone=True)
    with monitoring, Monitor(qmp) as monitor:
        incoming = Incoming(
            monitor,
            listen,
            channels=multifd_channels,
            socket=socket,
            timeout=timeout,
            tls=tls,
            insecure=insecure,
            on_refusal=monitoring.refused,
            on_start=teller.begun,
            on_end=teller.ended,
            report=seen.append,
        )
        monitoring.listening(incoming.address)
        with live(lambda: migration(seen[-1] if seen else None), monitoring.log):
            done = incoming.run()
    if as_json:
        print_json(asdict(done) | {"ratio": done.ratio, "rate": done.rate})
    else:
        click.echo(printable(f"the guest has arrived: {migration_summary(done)}"))
