"""``multifd inspect``: what a recorded migration holds."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from codecs_core.cli.output import json_option, print_json, print_table, printable, size

if TYPE_CHECKING:
    from codecs_core.gateway.inspect import ChannelSummary, MainSummary, Summary

__all__ = ["command"]

_KINDS = {
    "recording": "a recorded migration",
    "channel": "one multifd channel",
    "main": "a main channel",
    "mapped-ram": "a mapped-ram file",
}


@click.command(
    "inspect",
    epilog="""\
    \b
    Examples:
      multifd inspect recording/
      multifd inspect recording/ch0.bin.zst --json
    """,
)
@click.argument("path", type=click.Path(path_type=Path))
@json_option
def command(path: Path, as_json: bool) -> None:
    """Show what a recorded migration or a mapped-ram file holds.

    PATH is a directory with main.bin, ch0.bin, ch1.bin and so on, which hold what QEMU sent on
    its main channel and on each multifd channel; or one of these files alone; or a file that
    QEMU wrote with the capability mapped-ram. Files may be compressed: FILE.zst is read where a
    codec for .zst is installed ('multifd codecs').

    The whole recording is read and checked against the wire format. Pages are counted, not
    decoded. PAYLOAD is what the normal pages took on the wire, MEMORY what they are in memory,
    RATIO the one to the other. In the table of blocks, pages count as often as they were sent.
    """
    from codecs_core.gateway.inspect import inspect
    from codecs_core.gateway.recording import Recording

    summary = inspect(Recording.open(path))
    if as_json:
        print_json(summary.as_dict())
        return
    click.echo(printable(f"{summary.path}: {_KINDS[summary.kind]}{_rounds(summary)}"))
    for number in summary.missing_channels:
        click.echo(f"channel {number} is missing")
    if summary.main is not None:
        click.echo(printable(_main(summary.main)))
    if summary.channels:
        click.echo()
        print_table(
            (
                "CHANNEL", "FILE", "CODEC", "PACKETS", "SYNCS", "NORMAL", "ZERO", "PAYLOAD",
                "MEMORY", "RATIO",
            ),
            (_channel(each) for each in summary.channels),
        )  # fmt: skip
    if summary.blocks:
        click.echo()
        print_table(
            ("BLOCK", "SIZE", "NORMAL", "ZERO"),
            (
                (
                    each.name,
                    "" if each.size is None else size(each.size),
                    str(each.normal_pages),
                    str(each.zero_pages),
                )
                for each in summary.blocks
            ),
        )


def _rounds(summary: Summary) -> str:
    if summary.rounds is None:
        return ""
    return f", pages sent in {summary.rounds} round{'' if summary.rounds == 1 else 's'}"


def _main(main: MainSummary) -> str:
    parts = [
        f"machine {main.machine or 'not named'}",
        f"pages of {size(main.page_size)}",
        "RAM complete" if main.ram_complete else "RAM not complete",
    ]
    if main.capabilities:
        parts.append(f"capabilities {', '.join(main.capabilities)}")
    if main.devices is not None:
        parts.append(f"state of {len(main.devices)} devices")
    if main.normal_pages or main.zero_pages:
        parts.append(f"{main.normal_pages} normal and {main.zero_pages} zero pages of its own")
    return f"{main.file}: {', '.join(parts)}"


def _channel(channel: ChannelSummary) -> tuple[str, ...]:
    return (
        str(channel.channel),
        channel.file,
        ", ".join(channel.codecs),
        str(channel.packets),
        str(channel.syncs),
        str(channel.normal_pages),
        str(channel.zero_pages),
        size(channel.payload_bytes),
        size(channel.memory_bytes),
        "" if channel.ratio is None else f"{channel.ratio:.2f}",
    )
