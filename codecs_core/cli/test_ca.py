"""``multifd test-ca``: certificates to try TLS with."""

from __future__ import annotations

import socket
from pathlib import Path

import click

from codecs_core.cli.output import json_option, print_json, printable

__all__ = ["command"]


@click.command(
    "test-ca",
    epilog="""\
    \b
    Example:
      multifd test-ca pki --server-name host.example.org
      multifd recv --tls-creds pki tcp:0.0.0.0:4444 /srv/images/
      multifd send --tls-creds pki disk.img tcp:host.example.org:4444
    """,
)
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
@click.option(
    "--server-name",
    "server_names",
    metavar="NAME",
    multiple=True,
    help="A host name or IP address of the end that listens; may be repeated.  "
    "[default: this host's name, localhost, 127.0.0.1, ::1]",
)
@click.option(
    "--client-name",
    metavar="NAME",
    default="client",
    show_default=True,
    help="The name of the end that dials, for --tls-authz.",
)
@click.option("--days", type=click.IntRange(1, 3650), default=30, show_default=True)
@json_option
def command(
    directory: Path, server_names: tuple[str, ...], client_name: str, days: int, as_json: bool
) -> None:
    """Make a certificate authority to try TLS with, and a certificate for each end.

    DIR gets ca-cert.pem, server-cert.pem, server-key.pem, client-cert.pem and client-key.pem, for
    --tls-creds of both ends and of QEMU's tls-creds-x509, and ca-key.pem, which signs them and
    belongs to neither. The openssl command makes them.

    For real use let your own authority issue them, one client certificate for each client.
    """
    from codecs_core.transport.authority import issue, make_authority

    names = server_names or tuple(
        dict.fromkeys((socket.gethostname(), "localhost", "127.0.0.1", "::1"))
    )
    make_authority(directory, days=days)
    issue(directory, "server", names, days=days)
    issue(directory, "client", [client_name], days=days)
    if as_json:
        print_json(
            {"directory": str(directory), "server_names": list(names), "client_name": client_name}
        )
    else:
        click.echo(
            printable(
                f"{directory}: the server is {', '.join(names)}; the client is {client_name}; "
                f"valid for {days} days"
            )
        )
