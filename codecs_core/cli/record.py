"""``multifd record``: a migration written down while it passes."""

from __future__ import annotations

from dataclasses import asdict

import click

from codecs_core.cli.completion import complete_file, uri_option
from codecs_core.cli.options import CodecCommand, chosen_codec, timeout_option
from codecs_core.cli.output import duration, json_option, print_json, printable, size
from codecs_core.cli.tls import insecure_option

__all__ = ["command"]


@click.command(
    "record",
    cls=CodecCommand,
    channels=False,
    epilog="""\
    \b
    Example, with a destination QEMU that waits at /run/qemu.sock:
      multifd record --listen unix:/run/record.sock \\
          --connect unix:/run/qemu.sock recording/ --multifd-compression zstd
      (qemu) migrate -d unix:/run/record.sock
    """,
)
@click.argument("directory", metavar="DIR", shell_complete=complete_file)
@uri_option("--listen", required=True, help="Where the source QEMU connects.")
@uri_option("--connect", required=True, help="Where the destination listens.")
@insecure_option
@timeout_option
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    directory: str,
    listen: str,
    connect: str,
    insecure: bool,
    timeout: float,
    as_json: bool,
) -> None:
    """Record a migration while it passes from a source QEMU to its destination.

    Every byte passes unchanged. DIR gets main.bin, and chN.bin for each multifd channel; with
    --multifd-compression they are written in that codec's file format (ch0.bin.zst). DIR appears
    when the migration has succeeded; one that fails leaves nothing. 'multifd inspect', 'extract'
    and 'replay' read it. Where nothing more can be written, the migration fails, and the guest
    goes on at its source.
    """
    from codecs_core.gateway.record import Recorder

    with Recorder(
        listen, connect, directory, codec=chosen_codec(ctx), timeout=timeout, insecure=insecure
    ) as recorder:
        click.echo(f"listening on {recorder.address}", err=True)
        recorded = recorder.record()
    if as_json:
        print_json(asdict(recorded))
        return
    click.echo(
        printable(
            f"{recorded.path}: {size(recorded.passed_bytes)} in {duration(recorded.seconds)}, "
            f"{recorded.channels} channels; the files take {size(recorded.file_bytes)}"
        )
    )
