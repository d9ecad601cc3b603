"""``multifd relay``: the two relays between a source QEMU and a destination QEMU."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import click

from codecs_core.cli.completion import uri_option
from codecs_core.cli.migrations import Teller
from codecs_core.cli.monitoring import Monitoring, monitoring_options
from codecs_core.cli.options import (
    CodecCommand,
    checksum_option,
    choice_of,
    retry_option,
    timeout_option,
)
from codecs_core.cli.output import Command
from codecs_core.cli.tls import insecure_option, tls_options

if TYPE_CHECKING:
    from types import FrameType

    from codecs_core.gateway.relay import Relay
    from codecs_core.transport.tls import TlsCredentials

__all__ = ["command"]


@click.group(
    "relay",
    no_args_is_help=False,
    help="""Compress the migration of a QEMU on its way to another.

    \b
    source QEMU ─▶ egress ══ compressed ══▶ ingress ─▶ destination QEMU

    Both QEMUs need the capability multifd, and should have return-path; neither is told of the
    relays. Each relay serves one migration after another, and several at once, until it is
    stopped. SIGTERM lets those under way end; Ctrl-C ends them, and their virtual machines stay
    at the source.
    """,
)
def command() -> None:
    """Group the two sides."""


def _places(command: Command) -> Command:
    command = uri_option("--connect", required=True, help="Where connections are led on to.")(
        command
    )
    return uri_option("--listen", required=True, help="Where connections are taken in.")(command)


def _manner(command: Command) -> Command:
    command = click.option(
        "--json", "as_json", is_flag=True, help="Print a JSON object for each migration, on a line."
    )(command)
    return timeout_option(command)


@command.command(
    "egress",
    short_help="Take migrations from a source QEMU, and send them on.",
    cls=CodecCommand,
    adaptive=True,
    channels=False,
    epilog="""\
    \b
    Example, on the source's host:
      multifd relay egress --listen unix:/run/egress.sock \\
          --connect tcp:other:4444 --tls-creds /etc/pki/qemu \\
          --multifd-compression zstd
      (qemu) migrate_set_capability multifd on
      (qemu) migrate -d unix:/run/egress.sock
    """,
)
@_places
@checksum_option
@retry_option
@tls_options(listens=False)
@insecure_option
@monitoring_options("egress")
@_manner
@click.pass_context
def egress(
    ctx: click.Context,
    listen: str,
    connect: str,
    tls: TlsCredentials | None,
    insecure: bool,
    monitoring: Monitoring,
    checksum: bool,
    retry_for: float,
    timeout: float,
    as_json: bool,
) -> None:
    """Take migrations from a source QEMU, and send them compressed to 'relay ingress'.

    TLS protects what is sent to the other relay. QEMU itself is beside this one, at a unix socket
    or 127.0.0.1.
    """
    from codecs_core.gateway.egress import Egress

    teller = Teller(monitoring, as_json=as_json)
    with monitoring:
        relay = Egress(
            listen,
            connect,
            codec=choice_of(ctx),
            checksum=checksum,
            retry_for=retry_for,
            timeout=timeout,
            tls=tls,
            insecure=insecure,
            on_start=teller.begun,
            on_end=teller.ended,
            on_refusal=monitoring.refused,
        )
        _serve(relay, monitoring)


@command.command(
    "ingress",
    short_help="Take what egress sends, and hand it to a destination QEMU.",
    epilog="""\
    \b
    Example, on the destination's host:
      multifd relay ingress --listen tcp:0.0.0.0:4444 \\
          --tls-creds /etc/pki/qemu --connect unix:/run/qemu.sock
      (qemu) migrate_set_capability multifd on
      (qemu) migrate_incoming unix:/run/qemu.sock
    """,
)
@_places
@tls_options(listens=True)
@insecure_option
@monitoring_options("ingress")
@_manner
def ingress(
    listen: str,
    connect: str,
    tls: TlsCredentials | None,
    insecure: bool,
    monitoring: Monitoring,
    timeout: float,
    as_json: bool,
) -> None:
    """Take migrations from 'relay egress', and hand them to a destination QEMU.

    Where other hosts can reach the port, it takes --tls-creds, or --insecure.
    """
    from codecs_core.gateway.ingress import Ingress

    teller = Teller(monitoring, as_json=as_json)
    with monitoring:
        relay = Ingress(
            listen,
            connect,
            timeout=timeout,
            tls=tls,
            insecure=insecure,
            on_start=teller.begun,
            on_end=teller.ended,
            on_refusal=monitoring.refused,
        )
        _serve(relay, monitoring)


def _serve(relay: Relay, monitoring: Monitoring) -> None:
    def drain(number: int, frame: FrameType | None) -> None:
        relay.stop()

    before = signal.signal(signal.SIGTERM, drain)
    try:
        with relay:
            monitoring.alive = relay.is_alive
            monitoring.listening(relay.address)
            relay.serve(monitoring.stopping)
    finally:
        signal.signal(signal.SIGTERM, before)
