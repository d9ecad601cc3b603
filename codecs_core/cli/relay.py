"""``multifd relay``: the two relays between a source QEMU and a destination QEMU."""

from __future__ import annotations

import json
import signal
import threading
import time
from typing import TYPE_CHECKING, Any

import click

from codecs_core.cli.completion import uri_option
from codecs_core.cli.options import (
    CodecCommand,
    checksum_option,
    chosen_codec,
    retry_option,
    timeout_option,
)
from codecs_core.cli.output import Command, duration, printable, size
from codecs_core.cli.tls import insecure_option, refused, tls_options

if TYPE_CHECKING:
    from types import FrameType

    from codecs_core.gateway.relay import Migration, Relay
    from codecs_core.transport.tls import TlsCredentials

__all__ = ["command"]


@click.group(
    "relay",
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
    command = uri_option("--listen", required=True, help="Where connections are taken in.")(command)
    return click.option(
        "--json", "as_json", is_flag=True, help="Print a JSON object for each migration, on a line."
    )(timeout_option(command))


@command.command(
    "egress",
    cls=CodecCommand,
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
@click.pass_context
def egress(
    ctx: click.Context,
    listen: str,
    connect: str,
    tls: TlsCredentials | None,
    insecure: bool,
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

    _serve(
        Egress(
            listen,
            connect,
            codec=chosen_codec(ctx),
            checksum=checksum,
            retry_for=retry_for,
            timeout=timeout,
            tls=tls,
            insecure=insecure,
            on_end=_Teller(as_json),
            on_refusal=refused,
        )
    )


@command.command(
    "ingress",
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
def ingress(
    listen: str,
    connect: str,
    tls: TlsCredentials | None,
    insecure: bool,
    timeout: float,
    as_json: bool,
) -> None:
    """Take migrations from 'relay egress', and hand them to a destination QEMU.

    Where other hosts can reach the port, it takes --tls-creds, or --insecure.
    """
    from codecs_core.gateway.ingress import Ingress

    _serve(
        Ingress(
            listen,
            connect,
            timeout=timeout,
            tls=tls,
            insecure=insecure,
            on_end=_Teller(as_json),
            on_refusal=refused,
        )
    )


def _serve(relay: Relay) -> None:
    def drain(number: int, frame: FrameType | None) -> None:
        relay.stop()

    before = signal.signal(signal.SIGTERM, drain)
    try:
        with relay:
            click.echo(f"listening on {relay.address}", err=True)
            relay.serve()
    finally:
        signal.signal(signal.SIGTERM, before)


class _Teller:
    """Prints a line for each migration that has ended."""

    def __init__(self, as_json: bool) -> None:
        self._as_json = as_json
        self._lock = threading.Lock()

    def __call__(self, migration: Migration) -> None:
        seconds = time.monotonic() - migration.started
        facts: dict[str, Any] = {
            "peer": migration.peer,
            "seconds": seconds,
            "channels": len(migration.numbers),
            "error": None if migration.error is None else str(migration.error),
        }
        if migration.bridge is not None:
            bridge = migration.bridge
            facts |= {
                "packets": bridge.packets,
                "pages": bridge.pages,
                "channel_bytes": bridge.wire_bytes,
                "main_bytes": bridge.main_bytes,
            }
        with self._lock:
            if self._as_json:
                print(json.dumps(facts), flush=True)
            elif migration.error is not None:
                line = f"migration from {migration.peer} failed: {migration.error}"
                click.echo(printable(line), err=True)
            else:
                click.echo(
                    printable(
                        f"migration from {migration.peer} passed in {duration(seconds)}: "
                        f"{facts['pages']} pages in {facts['packets']} packets, "
                        f"{size(facts['channel_bytes'])} on {facts['channels']} channels"
                    ),
                    err=True,
                )
