"""``multifd inspect``: what a recorded migration holds."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from codecs_core.cli.output import json_option, print_json, print_table, printable, size
from codecs_core.cli.plotting import check_plot, plot_option, save_plot
from codecs_core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from codecs_core.gateway.explain import Explained
    from codecs_core.gateway.inspect import (
        BlockSummary,
        ChannelSummary,
        MainSummary,
        RoundSummary,
        Summary,
    )

__all__ = ["command"]

_KINDS = {
    "recording": "a recorded migration",
    "channel": "one multifd channel",
    "main": "a main channel",
    "mapped-ram": "a mapped-ram file",
}

_SUMS = ("NORMAL", "ZERO", "PAYLOAD", "MEMORY", "RATIO")


@click.command(
    "inspect",
    epilog="""\
    \b
    Examples:
      multifd inspect recording/
      multifd inspect recording/ --plot recording.svg
      multifd inspect recording/ --packets | less
      multifd inspect recording/ch0.bin.zst --packets --json
    """,
)
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--packets", is_flag=True, help="Show each packet, instead of the summary.")
@plot_option
@json_option
def command(path: Path, packets: bool, plot: Path | None, as_json: bool) -> None:
    """Show what a recorded migration or a mapped-ram file holds.

    PATH is a directory with main.bin, ch0.bin, ch1.bin and so on, which hold what QEMU sent on
    its main channel and on each multifd channel; or one of these files alone; or a file that
    QEMU wrote with the capability mapped-ram. Files may be compressed: FILE.zst is read where a
    codec for .zst is installed ('multifd codecs').

    The whole recording is read and checked against the wire format. Pages are counted, not
    decoded. PAYLOAD is what the normal pages took on the wire, MEMORY what they are in memory,
    RATIO the one to the other. DIRTY pages had been sent before; that is told of whole recordings
    only. In the table of blocks, pages count as often as they were sent.

    --packets shows a line for each packet, in the order in which they make up the memory, and a
    line for each SYNC that all channels have reached. With --json each packet is an object on a
    line of its own.
    """
    from codecs_core.gateway.inspect import inspect
    from codecs_core.gateway.recording import Recording

    if plot is not None:
        check_plot(plot)
    recording = Recording.open(path)
    watchers: list[Callable[[Explained], None]] = []
    if packets:
        from codecs_core.cli.packets import PacketPrinter

        if recording.mapped:
            raise UsageError(f"{path} is a mapped-ram file; there are no packets in it")
        watchers.append(PacketPrinter(recording.geometry.page_size, as_json=as_json).take)
    chart = None
    if plot is not None:
        from codecs_core.gateway.chart import Chart

        chart = Chart()
        watchers.append(chart.take)
    summary = inspect(recording, *watchers)
    if plot is not None and chart is not None:
        from codecs_core.gateway.plot import draw

        if recording.mapped:
            chart.take_mapped(recording)
        save_plot(draw(summary, chart), plot)
    if packets:
        return
    if as_json:
        print_json(summary.as_dict())
        return
    _print_summary(summary)


def _print_summary(summary: Summary) -> None:
    click.echo(printable(f"{summary.path}: {_KINDS[summary.kind]}{_rounds(summary)}"))
    for number in summary.missing_channels:
        click.echo(f"channel {number} is missing")
    if summary.main is not None:
        click.echo(printable(_main(summary.main)))
    if summary.channels:
        click.echo()
        print_table(
            ("CHANNEL", "FILE", "CODEC", "PACKETS", "SYNCS", *_SUMS),
            (_channel(each) for each in summary.channels),
        )
    if summary.per_round:
        click.echo()
        print_table(
            ("ROUND", "PACKETS", "DIRTY", *_SUMS), (_round(each) for each in summary.per_round)
        )
    if summary.blocks:
        # A mapped-ram file has pages, but nothing that was sent.
        shown = 4 if summary.kind == "mapped-ram" else None
        click.echo()
        print_table(
            ("BLOCK", "SIZE", *_SUMS)[:shown], (_block(each)[:shown] for each in summary.blocks)
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
        *_sums(channel),
    )


def _round(each: RoundSummary) -> tuple[str, ...]:
    return (
        str(each.first) if each.first == each.last else f"{each.first}-{each.last}",
        str(each.packets),
        "" if each.dirty_pages is None else str(each.dirty_pages),
        *_sums(each),
    )


def _block(block: BlockSummary) -> tuple[str, ...]:
    return (block.name, "" if block.size is None else size(block.size), *_sums(block))


def _sums(sums: BlockSummary | ChannelSummary | RoundSummary) -> tuple[str, ...]:
    return (
        str(sums.normal_pages),
        str(sums.zero_pages),
        size(sums.payload_bytes),
        size(sums.memory_bytes),
        "" if sums.ratio is None else f"{sums.ratio:.2f}",
    )
