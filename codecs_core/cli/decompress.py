"""``multifd decompress``: files in the format of any codec, by several threads."""

from __future__ import annotations

import click

from codecs_core.cli.files import How, convert, epilog, file_options
from codecs_core.cli.options import CodecCommand, chosen_codec, chosen_name

__all__ = ["command"]


@click.command(
    "decompress",
    cls=CodecCommand,
    channels=False,
    default=None,
    otherwise="told by how a file begins",
    epilog=epilog(
        "multifd decompress disk.img.gz",
        "multifd decompress -c backup.tar.zst | tar -x",
    ),
)
@click.argument("files", metavar="[FILE]...", nargs=-1)
@file_options
@click.pass_context
def command(
    ctx: click.Context,
    files: tuple[str, ...],
    stdout: bool,
    keep: bool,
    force: bool,
    threads: int | None,
    verbose: bool,
    as_json: bool,
) -> None:
    """Decompress each FILE into one without the suffix, and remove it.

    Without FILE, or for '-', standard input goes to standard output. The codec is the one whose
    format a file begins like; --multifd-compression names it nevertheless. Files of the format's
    own tools are read like ours; those whose parts tell their sizes, by several threads.

    A result appears when it is complete and on stable storage, with the mode, the times and,
    where that is allowed, the owner of its source; only then is the source removed. Files that
    exist are never replaced, unless by --force.
    """
    codec = chosen_codec(ctx) if chosen_name(ctx) else None
    how = How(
        compress=False, codec=codec, threads=threads, keep=keep, stdout=stdout, force=force,
        verbose=verbose,
    )  # fmt: skip
    convert(ctx, files, how, as_json=as_json)
