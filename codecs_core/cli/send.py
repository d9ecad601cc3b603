"""``multifd send``: files, or a byte stream, to a receiver."""

from __future__ import annotations

import os
import shlex
from collections import Counter
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from codecs_core.cli.completion import complete_source, complete_uri
from codecs_core.cli.monitoring import Monitoring, monitoring_options
from codecs_core.cli.options import (
    CodecCommand,
    checksum_option,
    choice_of,
    retry_option,
    timeout_option,
)
from codecs_core.cli.output import json_option, print_json
from codecs_core.cli.standard import standard_input
from codecs_core.cli.tls import tls_options
from codecs_core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from codecs_core.engine.sender import Sender, Verify
    from codecs_core.transport.tls import TlsCredentials

__all__ = ["command"]

STREAM = "-"
STREAM_NAME = "stdin"


@click.command(
    "send",
    cls=CodecCommand,
    adaptive=True,
    epilog="""\
    \b
    Examples:
      multifd send disk.img tcp:host:4444
      multifd send --tls-creds /etc/pki/qemu disk.img tcp:host:4444
      multifd send a.img b.img tcp:host:4444 --multifd-compression zstd
      tar -c project | multifd send - tcp:host:4444 --multifd-compression zstd
      multifd send --multifd-channels 1 a.img 'exec:ssh host multifd recv fd:0 .'
    """,
)
@click.argument(
    "sources", metavar="SOURCE...", nargs=-1, required=True, shell_complete=complete_source
)
@click.argument("uri", shell_complete=complete_uri)
@checksum_option
@retry_option
@click.option(
    "--verify",
    type=click.Choice(["none", "full"]),
    default="none",
    show_default=True,
    help="In the end, read every file again at both ends, and compare.",
)
@click.option(
    "--resume/--no-resume",
    default=True,
    show_default=True,
    help="Leave out what the receiver proves to hold from an earlier transfer.",
)
@tls_options(listens=False)
@monitoring_options("sender", listens=False)
@timeout_option
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    sources: tuple[str, ...],
    uri: str,
    multifd_channels: int,
    checksum: bool,
    retry_for: float,
    verify: Verify,
    resume: bool,
    tls: TlsCredentials | None,
    monitoring: Monitoring,
    timeout: float,
    as_json: bool,
) -> None:
    """Send files, or a byte stream, to a receiver.

    SOURCE is a file or a block device, or '-' for a byte stream from standard input. Several go
    in one transfer. 'multifd recv' must be listening at URI: tcp:HOST:PORT, unix:PATH, fd:N (a
    connected socket) or exec:COMMAND (started once for the control connection and once for each
    channel; with --multifd-channels 1 once in all).

    When the command ends with status 0, everything has arrived and is stored. Holes of sparse
    files are not sent.
    """
    from codecs_core.cli.progress import drawn
    from codecs_core.engine.sender import Sender

    _check_names(sources)
    chosen = ctx.get_parameter_source("multifd_channels") is not ParameterSource.DEFAULT
    sender = Sender(
        uri,
        codec=choice_of(ctx),
        channels=multifd_channels if chosen else None,
        timeout=timeout,
        checksum=checksum,
        retry_for=retry_for,
        verify=verify,
        resume=resume,
        tls=tls,
    )
    with monitoring, sender:
        for source in sources:
            _add(sender, source)
        with (
            monitoring.session(uri, sender.progress, None if as_json else "sent"),
            drawn(sender.progress, monitoring.log),
        ):
            sender.send()
            done = sender.finish()
    if as_json:
        print_json({"sources": list(sources), **done.as_dict()})


def _name(source: str) -> str:
    """What the receiver may call it."""
    return STREAM_NAME if source == STREAM else os.path.basename(source)


def _check_names(sources: Sequence[str]) -> None:
    (name, times), *_ = Counter(map(_name, sources)).most_common(1)
    if times > 1:
        raise UsageError(
            f"{times} sources have the name {name!r}; remedy: a transfer for each of them"
        )


def _add(sender: Sender, source: str) -> None:
    from codecs_core.memory.file import FileBlock
    from codecs_core.memory.stream import StreamSource

    if source == STREAM:
        sender.add_block(STREAM_NAME, StreamSource(STREAM_NAME, standard_input()))
        return
    if os.path.isdir(source):
        place, name = os.path.split(os.path.abspath(source))
        raise UsageError(
            f"{source} is a directory; remedy: tar -C {shlex.quote(place)} -c "
            f"{shlex.quote(name or '.')} | multifd send - URI, and multifd recv URI - | tar -x"
        )
    name = _name(source)
    sender.add_block(name, FileBlock.open(source, name))
