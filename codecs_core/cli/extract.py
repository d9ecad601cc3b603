"""``multifd extract``: a RAM block's memory, rebuilt from a recorded migration."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from codecs_core.cli.output import json_option, print_json, printable, size

__all__ = ["command"]


@click.command(
    "extract",
    epilog="""\
    \b
    Example:
      multifd extract recording/ --block pc.ram --output ram.bin
    """,
)
@click.argument("path", type=click.Path(path_type=Path))
@click.option(
    "--block", "name", metavar="NAME", required=True, help="The RAM block, for example pc.ram."
)
@click.option(
    "--output",
    metavar="FILE",
    type=click.Path(path_type=Path),
    required=True,
    help="The file to write; it appears when it is complete.",
)
@click.option("--force", is_flag=True, help="Replace FILE where it exists.")
@click.option(
    "--allow-unsent",
    is_flag=True,
    help="Leave pages zero that were never sent, as a guest's free pages are.",
)
@json_option
def command(
    path: Path, name: str, output: Path, force: bool, allow_unsent: bool, as_json: bool
) -> None:
    """Rebuild a RAM block from a recorded migration.

    PATH is a recorded migration or a mapped-ram file, as 'multifd inspect' shows it; that lists
    the blocks too. The pages are decoded and put together as the migration's destination would
    have done, so FILE holds what the block held there in the end. Zero pages are holes in it.
    """
    from codecs_core.gateway.extract import extract
    from codecs_core.gateway.recording import Recording

    rebuilt = extract(Recording.open(path), name, output, force=force, allow_unsent=allow_unsent)
    if as_json:
        print_json({"output": str(output), **asdict(rebuilt)})
        return
    line = (
        f"{output}: {size(rebuilt.size)} of RAM block {rebuilt.block}, from "
        f"{rebuilt.normal_pages} normal and {rebuilt.zero_pages} zero pages"
    )
    if rebuilt.unsent_pages:
        line += f"; {rebuilt.unsent_pages} pages were never sent"
    click.echo(printable(line))
