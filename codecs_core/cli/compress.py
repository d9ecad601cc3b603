"""``multifd compress``: files in a codec's own format, by several threads."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Final

import click

from codecs_core.cli.files import How, convert, epilog, file_options
from codecs_core.cli.options import CodecCommand, chosen_codec, chosen_name
from codecs_core.cli.output import Command
from codecs_core.errors import UsageError
from codecs_core.registry import default_registry

if TYPE_CHECKING:
    from codecs_core.codec import Codec

__all__ = ["command"]

DEFAULT_SUFFIX: Final = ".gz"
"""The format that is read everywhere."""

_DIGITS: Final = range(1, 10)


def _digits(command: Command) -> Command:
    """Add ``-1`` to ``-9``, of which the help shows the two ends."""
    for digit in reversed(_DIGITS):
        command = click.option(
            f"-{digit}",
            "digit",
            flag_value=digit,
            type=int,
            hidden=digit not in (1, 9),
            help={1: "Fastest …", 9: "… to tightest: the codec's levels in nine steps."}.get(digit),
        )(command)
    return command


@click.command(
    "compress",
    cls=CodecCommand,
    channels=False,
    default=None,
    otherwise="that of gzip's format",
    epilog=epilog(
        "multifd compress disk.img",
        "multifd compress -k -9 *.log --multifd-compression zstd",
        "tar -c project | multifd compress - > project.tar.gz",
    ),
)
@click.argument("files", metavar="[FILE]...", nargs=-1)
@_digits
@click.option("-d", "--decompress", is_flag=True, help="Do what 'multifd decompress' does.")
@file_options
@click.pass_context
def command(
    ctx: click.Context,
    files: tuple[str, ...],
    digit: int | None,
    decompress: bool,
    stdout: bool,
    keep: bool,
    force: bool,
    threads: int | None,
    verbose: bool,
    as_json: bool,
) -> None:
    """Compress each FILE into one with the codec's suffix, and remove it.

    Without FILE, or for '-', standard input goes to standard output. Without
    --multifd-compression the format is gzip's. The format's own tools read the result; several
    threads write it.

    A result appears when it is complete and on stable storage, with the mode, the times and,
    where that is allowed, the owner of its source; only then is the source removed. Files that
    exist are never replaced, unless by --force.
    """
    codec: Codec | None
    if decompress:
        if digit is not None:
            raise UsageError(f"-{digit} is for compressing, and -d is given")
        codec = chosen_codec(ctx) if chosen_name(ctx) else None
    else:
        codec = chosen_codec(ctx, otherwise=_default)
        if digit is not None:
            codec = _at(codec, digit)
    how = How(
        compress=not decompress, codec=codec, threads=threads, keep=keep, stdout=stdout,
        force=force, verbose=verbose,
    )  # fmt: skip
    convert(ctx, files, how, as_json=as_json)


def _default() -> str:
    name = default_registry().by_suffix(DEFAULT_SUFFIX)
    if name is None:
        raise UsageError(
            f"no installed codec writes {DEFAULT_SUFFIX} files; remedy: --multifd-compression, "
            "with one of those that 'multifd codecs' lists"
        )
    return name


def _at(codec: Codec, digit: int) -> Codec:
    """The codec at a level that is as far up its range as ``digit`` is from 1 to 9."""
    level = next((each for each in codec.parameters() if each.field == "level"), None)
    if level is None or level.maximum is None:
        raise UsageError(f"codec {codec.name!r} has no levels; -{digit} means nothing to it")
    if getattr(codec, level.field) != level.default:
        raise UsageError(f"-{digit} and --{level.name} both give the level")
    least = max(1, level.minimum or 0)
    step = (level.maximum - least) / (_DIGITS[-1] - _DIGITS[0])
    chosen = round(least + step * (digit - _DIGITS[0]))
    return dataclasses.replace(codec, **{level.field: chosen})
