"""What ``multifd compress`` and ``multifd decompress`` do with each of their files.

A result has a temporary name until it is complete and on stable storage; the source goes after
that. What one file fails of does not keep the others from their turn.
"""

from __future__ import annotations

import io
import os
import stat
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, Final, cast

import click

from codecs_core import stream
from codecs_core.cli import PROGRAM, explain
from codecs_core.cli.log import Log
from codecs_core.cli.output import (
    Command,
    duration,
    json_option,
    print_json,
    printable,
    rate,
    size,
)
from codecs_core.cli.progress import live
from codecs_core.cli.rates import Count
from codecs_core.cli.standard import standard_input, standard_output
from codecs_core.errors import CodecsCoreError, TransferError, UsageError
from codecs_core.memory.output import OutputFile
from codecs_core.registry import default_registry

if TYPE_CHECKING:
    from rich.console import RenderableType

    from codecs_core.codec import Buffer, Codec

__all__ = ["How", "convert", "epilog", "file_options"]

STREAM: Final = "-"
_READ_SIZE: Final = 1 << 20
_PERMISSIONS: Final = 0o777


@dataclass(frozen=True)
class How:
    """What is asked for; ``codec`` is ``None`` where each file's own shall be found."""

    compress: bool
    codec: Codec | None
    threads: int | None
    keep: bool
    stdout: bool
    force: bool
    verbose: bool


@dataclass
class Done:
    """What came of a file, and while it is under way, how far it is. Sizes are in bytes."""

    source: str
    output: str
    codec: str = ""
    source_bytes: int = 0
    output_bytes: int = 0
    seconds: float = 0.0


def file_options(command: Command) -> Command:
    """Add the options that both commands share."""
    for option in reversed(
        (
            click.option("-c", "--stdout", is_flag=True, help="Write to standard output."),
            click.option("-k", "--keep", is_flag=True, help="Keep the sources."),
            click.option(
                "-f",
                "--force",
                is_flag=True,
                help="Replace files, follow links, write to a terminal.",
            ),
            click.option(
                "-p",
                "--threads",
                type=Count(1, 1024),
                metavar="N",
                help="How many threads work on a file.  [default: the processors]",
            ),
            click.option("-v", "--verbose", is_flag=True, help="Tell what came of each file."),
            json_option,
        )
    ):
        command = option(command)
    return command


def epilog(*examples: str) -> str:
    """Return what the help of both commands ends with."""
    lines = [
        "\b",
        "Examples:",
        *(f"  {each}" for each in examples),
        "",
        "\b",
        "Exit status:",
        "  0  done",
        "  1  a file failed; one line on stderr says of what",
        "  2  a file was not to be touched, or an option is wrong",
    ]
    return "\n".join(lines)


def convert(ctx: click.Context, names: Sequence[str], how: How, *, as_json: bool) -> None:
    """Compress or decompress each file, and leave with the status of gzip.

    That is 1 where a file failed, or else 2 where one was not to be touched.
    """
    names = names or (STREAM,)
    to_stdout = how.stdout or STREAM in names
    if as_json and to_stdout:
        raise UsageError("--json and the result cannot both go to standard output")
    if to_stdout and how.compress and not how.force and sys.stdout.isatty():
        raise UsageError(
            "compressed data is not for a terminal; remedy: > FILE, or --force to see it"
        )
    rows: list[dict[str, Any]] = []
    statuses = set()
    for name in names:
        try:
            done = _convert(name, how)
        except BrokenPipeError:
            raise
        except (CodecsCoreError, OSError, MemoryError) as error:
            kind, message, status = explain(error)
            if not message.startswith((f"{name} ", f"{name}: ")):
                message = f"{name}: {message}"
            click.echo(printable(f"{PROGRAM}: error: {message}"), err=True)
            rows.append({"source": name, "error": {"kind": kind, "message": message}})
            statuses.add(status)
        else:
            rows.append(asdict(done))
            if how.verbose:
                click.echo(printable(_summary(done, how)), err=True)
    if as_json:
        print_json({"files": rows})
    if statuses:
        ctx.exit(min(statuses))


def _convert(name: str, how: How) -> Done:
    with ExitStack() as stack:
        if name == STREAM:
            return _transform(_stdin(), standard_output(), Done(name, STREAM), how)
        if how.stdout:
            plain = stack.enter_context(open(name, "rb", buffering=0))
            return _transform(plain, standard_output(), Done(name, STREAM), how)
        output = _output_name(name, how)
        source, before = _open_source(name, how)
        stack.enter_context(source)
        result = stack.enter_context(OutputFile(output, force=how.force, sync=True))
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        target = stack.enter_context(
            os.fdopen(os.open(result.partial, flags, 0o600), "wb", buffering=0)
        )
        done = _transform(source, target, Done(name, output), how)
        _resemble(target.fileno(), before)
        os.fsync(target.fileno())
        _check_unchanged(name, before)
        result.commit()
    if not how.keep:
        # Storing the result took its time.
        _check_unchanged(name, before)
        os.unlink(name)
    return done


def _transform(source: BinaryIO, target: BinaryIO, done: Done, how: How) -> Done:
    """Move everything, and count."""
    started = time.monotonic()
    total = os.fstat(source.fileno()).st_size if done.source != STREAM else 0
    with live(lambda: _progress(done, total, how), Log()):
        if how.compress:
            _compress(source, target, done, how)
        else:
            _decompress(source, target, done, how)
        target.flush()
    done.seconds = time.monotonic() - started
    return done


def _compress(source: BinaryIO, target: BinaryIO, done: Done, how: How) -> None:
    assert how.codec is not None
    done.codec = how.codec.name
    counted = _Counted(target)
    # What has come already, as a pipe has it, before waiting for more.
    read = getattr(source, "read1", source.read)
    with stream.open(cast(BinaryIO, counted), "wb", how.codec, threads=how.threads) as writer:
        while data := read(_READ_SIZE):
            writer.write(data)
            done.source_bytes += len(data)
            done.output_bytes = counted.count
    done.output_bytes = counted.count


def _decompress(source: BinaryIO, target: BinaryIO, done: Done, how: How) -> None:
    with stream.open(source, "rb", how.codec, threads=how.threads) as reader:
        done.codec = reader.codec.name
        while data := reader.read1():
            rest = memoryview(data)
            while rest:
                rest = rest[target.write(rest) :]
            done.output_bytes += len(data)
            done.source_bytes = reader.taken
        done.source_bytes = reader.taken


class _Counted:
    """A file to write to, and how many bytes it took."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.count = 0

    def write(self, data: Buffer) -> int:
        count = self._file.write(data)
        self.count += count
        return count


def _stdin() -> BinaryIO:
    # Buffered, it is read to its end also where it is a regular file: others may read on behind us.
    return open(standard_input(), "rb", closefd=False)


def _output_name(name: str, how: How) -> str:
    """What the result is called."""
    if how.compress:
        assert how.codec is not None
        suffix = how.codec.suffix
        if suffix is None:
            raise UsageError(f"codec {how.codec.name!r} has no file format of its own")
        for ending in (suffix, _tar(suffix)):
            if name.endswith(ending) and not how.force:
                raise UsageError(f"{name} ends in {ending} already; --force compresses it again")
        return name + suffix
    suffixes = [each.suffix for each in default_registry().values() if each.suffix]
    for suffix in suffixes if how.codec is None else [how.codec.suffix or ""]:
        for ending, plain in ((suffix, ""), (_tar(suffix), ".tar")):
            stem = name.removesuffix(ending)
            if os.path.basename(stem) and stem != name:
                return stem + plain
    raise UsageError(
        f"{name} does not end like a compressed file ({', '.join(suffixes)}); "
        "remedy: --stdout > FILE"
    )


def _tar(suffix: str) -> str:
    """What tar files are called that are packed in a format: ``.tgz`` for ``.gz``."""
    return f".t{suffix[1:]}"


def _open_source(name: str, how: How) -> tuple[BinaryIO, os.stat_result]:
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK
    if not how.force:
        if os.path.islink(name):
            raise UsageError(f"{name} is a symbolic link; --force follows it")
        flags |= os.O_NOFOLLOW
    fd = os.open(name, flags)
    try:
        found = os.fstat(fd)
        _check_source(name, found, how)
        # Its name may tell the format.
        return io.FileIO(name, opener=lambda *_: fd), found
    except BaseException:
        os.close(fd)
        raise


def _check_source(name: str, found: os.stat_result, how: How) -> None:
    if stat.S_ISDIR(found.st_mode):
        raise UsageError(f"{name} is a directory; name the files in it")
    if not stat.S_ISREG(found.st_mode):
        raise UsageError(f"{name} is no regular file; --stdout reads it nevertheless")
    if found.st_nlink > 1 and not how.keep and not how.force:
        raise UsageError(
            f"{name} has {found.st_nlink} names, one of which would go; --keep, or --force"
        )


def _check_unchanged(name: str, before: os.stat_result) -> None:
    now = os.stat(name)
    if not os.path.samestat(now, before) or _version(now) != _version(before):
        raise TransferError(f"{name} has changed meanwhile; it stays as it is")


def _version(found: os.stat_result) -> tuple[int, int]:
    return found.st_size, found.st_mtime_ns


def _resemble(fd: int, source: os.stat_result) -> None:
    """Give a file the times, the permissions and, as far as we may, the owner of another."""
    mode = source.st_mode & _PERMISSIONS
    try:
        os.fchown(fd, -1, source.st_gid)
    except OSError:
        # Another group is not to read what its own was meant to.
        mode &= ~stat.S_IRWXG
    with suppress(OSError):
        os.fchown(fd, source.st_uid, -1)
    os.fchmod(fd, mode)
    os.utime(fd, ns=(source.st_atime_ns, source.st_mtime_ns))


def _summary(done: Done, how: How) -> str:
    plain, packed = _plain_and_packed(done, how)
    ratio = f", ratio {plain / packed:.2f}" if packed else ""
    speed = f", {rate(plain / done.seconds)}" if done.seconds else ""
    return (
        f"{done.source}: {size(done.source_bytes)} to {size(done.output_bytes)} by {done.codec}"
        f"{ratio}, in {duration(done.seconds)}{speed}; {done.output}"
    )


def _plain_and_packed(done: Done, how: How) -> tuple[int, int]:
    sizes = (done.source_bytes, done.output_bytes)
    return sizes if how.compress else sizes[::-1]


def _progress(done: Done, total: int, how: How) -> RenderableType:
    from rich.text import Text

    plain, packed = _plain_and_packed(done, how)
    share = f"{done.source_bytes / total:4.0%}  " if total else ""
    ratio = f"  ratio {plain / packed:.2f}" if packed else ""
    return Text(printable(f"{done.source}  {share}{size(plain)}{ratio}"))
