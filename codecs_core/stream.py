"""File objects in the manner of `gzip.open`: a codec's standard file format, by several threads."""

from __future__ import annotations

import contextlib
import io
import os
from typing import TYPE_CHECKING, Any, BinaryIO, Final, Literal, TypeAlias, overload

from codecs_core.errors import CodecError, TransferError, UsageError
from codecs_core.files.allocator import keep_freed_memory
from codecs_core.files.reader import FileReader
from codecs_core.files.source import Source, source_of
from codecs_core.files.writer import FileWriter
from codecs_core.guard import guarded_packer
from codecs_core.registry import default_registry, get_codec

if TYPE_CHECKING:
    from codecs_core.codec import Codec

__all__ = ["cpus", "open"]

_HEAD: Final = 8
_MOST_THREADS: Final = 1024

Path: TypeAlias = str | bytes | os.PathLike[str] | os.PathLike[bytes]
Reading: TypeAlias = Literal["r", "rb"]
Writing: TypeAlias = Literal["w", "wb", "a", "ab", "x", "xb"]
Text: TypeAlias = Literal["rt", "wt", "at", "xt"]


@overload
def open(
    file: Path | BinaryIO,
    mode: Reading = "rb",
    codec: str | Codec | None = None,
    *,
    threads: int | None = None,
    **parameters: Any,
) -> FileReader: ...
@overload
def open(
    file: Path | BinaryIO,
    mode: Writing,
    codec: str | Codec | None = None,
    *,
    threads: int | None = None,
    **parameters: Any,
) -> FileWriter: ...
@overload
def open(
    file: Path | BinaryIO,
    mode: Text,
    codec: str | Codec | None = None,
    *,
    threads: int | None = None,
    encoding: str | None = None,
    errors: str | None = None,
    newline: str | None = None,
    **parameters: Any,
) -> io.TextIOWrapper: ...
@overload
def open(
    file: Path | BinaryIO,
    mode: str,
    codec: str | Codec | None = None,
    *,
    threads: int | None = None,
    encoding: str | None = None,
    errors: str | None = None,
    newline: str | None = None,
    **parameters: Any,
) -> FileReader | FileWriter | io.TextIOWrapper: ...


def open(
    file: Path | BinaryIO,
    mode: str = "rb",
    codec: str | Codec | None = None,
    *,
    threads: int | None = None,
    encoding: str | None = None,
    errors: str | None = None,
    newline: str | None = None,
    **parameters: Any,
) -> FileReader | FileWriter | io.TextIOWrapper:
    """Open a compressed file: ``open("ram.zst", "wb", codec="zstd", level=3)``.

    ``file`` is a path or a binary file, which stays open when the result is closed. ``mode`` is
    ``r``, ``w``, ``a`` or ``x``, with ``b`` (the default) or ``t``; then ``encoding``, ``errors``
    and ``newline`` are those of `io.TextIOWrapper`. ``codec`` is a codec, or a name with its
    ``parameters``. Without one it is the codec whose format a file to read begins like, or whose
    suffix the path has.

    ``threads`` compress or decompress at the same time: by default as many as this process may use
    processors. One works in the caller's. Each holds a few pieces, of a MiB or a little more.

    Raises `UsageError` for what cannot be, `OSError` as `open` does, `CodecError` where the codec
    has no file format, and all that `get_codec` raises.
    """
    kind, text = _checked(mode)
    if text:
        encoding = io.text_encoding(encoding)
        # What is wrong with these is raised before a file is touched.
        io.TextIOWrapper(io.BytesIO(), encoding, errors, newline)
    elif not (encoding is errors is newline is None):
        raise UsageError(f"mode {mode!r} is binary: encoding, errors and newline need 't'")
    count = _threads(threads)
    keep_freed_memory()
    opened: FileReader | FileWriter
    if kind == "r":
        opened = _reader(file, codec, count, parameters)
    else:
        opened = _writer(file, kind, codec, count, parameters)
    if not text:
        return opened
    return _Text(opened, encoding, errors, newline)


class _Text(io.TextIOWrapper):
    def __exit__(self, *exception: object) -> None:
        """Close it; left by an exception the file below is given up, as it does itself."""
        if exception[0] is None or not isinstance(self.buffer, FileWriter) or self.closed:
            self.close()
            return
        self.buffer.give_up()
        # What is still held here is not taken any more.
        with contextlib.suppress(TransferError):
            self.close()


def cpus() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0))


def _reader(
    file: Path | BinaryIO, codec: str | Codec | None, threads: int, parameters: dict[str, Any]
) -> FileReader:
    below, owned = _opened(file, "r")
    try:
        source = source_of(below)
        chosen = get_codec(codec or _recognised(source, below), **parameters)
        _check_format(chosen)
        return FileReader(source, below, chosen, threads, owned=owned)
    except BaseException:
        if owned:
            below.close()
        raise


def _writer(
    file: Path | BinaryIO,
    kind: str,
    codec: str | Codec | None,
    threads: int,
    parameters: dict[str, Any],
) -> FileWriter:
    chosen = get_codec(codec or _by_suffix(file), **parameters)
    _check_format(chosen)
    packer = guarded_packer(chosen)
    try:
        below, owned = _opened(file, kind)
    except BaseException:
        packer.close()
        raise
    return FileWriter(below, packer, chosen, threads, mode=f"{kind}b", owned=owned)


def _checked(mode: str) -> tuple[str, bool]:
    """Split a mode into its first letter and whether it is text."""
    kind, rest = mode[:1], mode[1:]
    if kind not in ("r", "w", "a", "x") or rest not in ("", "b", "t"):
        raise UsageError(f"mode {mode!r} is none of r, w, a and x, with b or t")
    return kind, rest == "t"


def _check_format(codec: Codec) -> None:
    if not codec.has_file_format():
        raise CodecError(f"codec {codec.name!r} has no file format of its own")


def _threads(threads: int | None) -> int:
    if threads is None:
        return cpus()
    if type(threads) is not int or not 1 <= threads <= _MOST_THREADS:
        raise UsageError(f"threads={threads!r} is not a number between 1 and {_MOST_THREADS}")
    return threads


def _opened(file: Path | BinaryIO, kind: str) -> tuple[BinaryIO, bool]:
    """The file below, and whether it was opened here."""
    if isinstance(file, str | bytes | os.PathLike):
        return io.FileIO(os.fspath(file), kind), True
    if isinstance(file, io.TextIOBase):
        raise UsageError(f"{file!r} is a text file; remedy: open it in binary mode")
    if not hasattr(file, "read" if kind == "r" else "write"):
        raise UsageError(f"{file!r} is neither a path nor a binary file of mode {kind!r}")
    return file, False


def _recognised(source: Source, file: BinaryIO) -> str:
    """The codec whose format a file begins like, or at least is named like."""
    registry = default_registry()
    name = getattr(file, "name", None)
    named = registry.by_suffix(os.fsdecode(name)) if isinstance(name, str | bytes) else None
    found = registry.by_magic(source.look(0, _HEAD))
    if named in found or (named and not found):
        return named
    if found:
        return found[0]
    place = f"{os.fsdecode(name)} is" if isinstance(name, str | bytes) else "the file is"
    raise UsageError(
        f"{place} in no format of an installed codec; remedy: name the codec, or install "
        "the one that wrote it"
    )


def _by_suffix(file: Path | BinaryIO) -> str:
    """The codec that a file to write is named after."""
    if not isinstance(file, str | bytes | os.PathLike):
        raise UsageError("a file object does not tell the codec to write with; remedy: name it")
    path = os.fsdecode(file)
    name = default_registry().by_suffix(path)
    if name is None:
        raise UsageError(f"{path} does not tell the codec to write with; remedy: name it")
    return name
