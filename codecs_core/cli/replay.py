"""``multifd replay``: a recorded migration, sent to a QEMU."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from codecs_core.cli.completion import complete_uri
from codecs_core.cli.options import timeout_option
from codecs_core.cli.output import duration, json_option, print_json, printable, rate, size
from codecs_core.cli.rates import rate_of

__all__ = ["command"]


@click.command(
    "replay",
    epilog="""\
    \b
    Example:
      qemu-system-x86_64 -machine pc -m 1G -incoming defer -monitor stdio ...
      (qemu) migrate_set_capability multifd on
      (qemu) migrate_incoming unix:/run/qemu.sock
      multifd replay recording/ unix:/run/qemu.sock
    """,
)
@click.argument("path", metavar="DIR", type=click.Path(path_type=Path))
@click.argument("uri", shell_complete=complete_uri)
@click.option(
    "--rate", "limit", metavar="RATE", callback=rate_of, help="Send no faster: 100Mbit/s, 12.5MB/s."
)
@timeout_option
@json_option
def command(path: Path, uri: str, limit: float | None, timeout: float, as_json: bool) -> None:
    """Send a recorded migration to a QEMU that waits for one.

    DIR is a recording, as 'multifd record' makes them. URI is where the QEMU waits, which takes
    it for a migration like any other: it needs the machine type, the devices, the memory and the
    uuid of the recorded source, the capability multifd, and the recorded multifd-channels and
    multifd-compression, which 'multifd inspect' shows.
    """
    from codecs_core.gateway.player import Player
    from codecs_core.gateway.recording import Recording

    played = Player(Recording.open(path), uri, rate=limit, timeout=timeout).play()
    if as_json:
        print_json(asdict(played))
        return
    verdict = (
        "the guest has arrived"
        if played.arrived
        else "the recording asks for no answer; the destination's monitor tells how it went"
    )
    click.echo(
        printable(
            f"{size(played.sent_bytes)} in {duration(played.seconds)}, "
            f"{rate(played.sent_bytes / max(played.seconds, 1e-9))}; {verdict}"
        )
    )
