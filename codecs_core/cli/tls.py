"""How connections are protected, as options of the commands that make or take them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import click

from codecs_core.cli.output import Command
from codecs_core.errors import UsageError
from codecs_core.transport.tls import TlsCredentials

__all__ = ["insecure_option", "tls_options"]


def tls_options(*, listens: bool) -> Callable[[Command], Command]:
    """Add ``--tls-creds``, and what goes with it where a command ``listens``, or where it dials.

    The callback receives ``tls: TlsCredentials | None``.
    """

    def decorate(command: Command) -> Command:
        @functools.wraps(command)
        def with_tls(
            *args: Any,
            tls_creds: str | None,
            tls_hostname: str | None = None,
            tls_authz: tuple[str, ...] = (),
            **values: Any,
        ) -> Any:
            if tls_creds is None and (tls_hostname or tls_authz):
                given = "--tls-hostname" if tls_hostname else "--tls-authz"
                raise UsageError(f"{given} needs --tls-creds DIR; without, there is no TLS")
            tls = None if tls_creds is None else TlsCredentials(tls_creds, tls_hostname, tls_authz)
            return command(*args, tls=tls, **values)

        return _creds(listens)((_authz if listens else _hostname)(with_tls))  # type: ignore[return-value]

    return decorate


def insecure_option(command: Command) -> Command:
    """Add ``--insecure``; the callback receives ``insecure: bool``."""
    return click.option(
        "--insecure",
        is_flag=True,
        help="Listen to other hosts without TLS: in networks where everybody is trusted.",
    )(command)


def _creds(listens: bool) -> Callable[[Command], Command]:
    role = "server" if listens else "client"
    return click.option(
        "--tls-creds",
        metavar="DIR",
        type=click.Path(file_okay=False),
        help=f"TLS with this directory's ca-cert.pem, {role}-cert.pem and {role}-key.pem.",
    )


def _hostname(command: Command) -> Command:
    return click.option(
        "--tls-hostname",
        metavar="NAME",
        help="What the server's certificate must be valid for; by default the host dialled.",
    )(command)


def _authz(command: Command) -> Command:
    return click.option(
        "--tls-authz",
        metavar="NAME",
        multiple=True,
        help="Let in only this client, by its certificate's name; may be repeated.",
    )(command)
