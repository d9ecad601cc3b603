"""``multifd new-codec``: a plugin to start from."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from codecs_core.cli.output import json_option, print_json, printable

__all__ = ["command"]


@click.command(
    "new-codec",
    epilog="""\
    \b
    Example:
      multifd new-codec brotli
      pip install -e 'codecs-core-brotli[testing]'
      pytest codecs-core-brotli
      multifd codecs
    """,
)
@click.argument("name")
@click.argument(
    "directory", metavar="[DIR]", required=False, type=click.Path(path_type=Path, file_okay=False)
)
@click.option(
    "--summary",
    metavar="TEXT",
    help="What the codec is good for, in one line, for the listing.",
)
@json_option
def command(name: str, directory: Path | None, summary: str | None, as_json: bool) -> None:
    """Make a plugin to start from: a distribution with a codec that works.

    NAME is the codec's, as in --multifd-compression NAME: lower-case letters, digits and single
    hyphens. DIR, codecs-core-NAME by default, gets the distribution: pyproject.toml, a module with
    a codec that packs with LZMA2, tests that hold it to the contract, and a README. It must be new
    or empty.
    """
    from codecs_core.scaffold.plugin import NewPlugin

    plugin = NewPlugin(name) if summary is None else NewPlugin(name, summary)
    place = Path(plugin.distribution) if directory is None else directory
    files = plugin.write(place)
    if as_json:
        print_json(
            {
                "name": name,
                "distribution": plugin.distribution,
                "module": plugin.module,
                "directory": str(place),
                "files": [str(path) for path in files],
            }
        )
        return
    click.echo(printable(f"{place}: {plugin.distribution}, a plugin for the codec {name}"))
    click.echo("  " + printable(f"pip install -e {shlex.quote(f'{place}[testing]')}"))
    click.echo("  " + printable(f"pytest {shlex.quote(str(place))}"))
