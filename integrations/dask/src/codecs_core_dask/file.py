"""One file, as a worker deals with it: in pieces, so that memory does not depend on its size.

Each file is one thread's work: a worker has as many at a time as Dask gives it threads.
"""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from io import BufferedIOBase
from typing import Any, BinaryIO, Final, TypeAlias

import xxhash
from fsspec import AbstractFileSystem
from fsspec.core import url_to_fs

import codecs_core
from codecs_core import Codec, TransferError
from codecs_core_dask.report import Outcome, Status

__all__ = ["File", "temporary_of", "transcode", "verify"]

Opened: TypeAlias = BinaryIO | BufferedIOBase

_PIECE: Final = 1 << 20
_TEMPORARY: Final = re.compile(r"\.(.+)\.[0-9a-f]{8}\.[0-9a-f]{8}\.part")


@dataclass(frozen=True)
class File:
    """A file to work on. A codec of ``None`` is a file as it is; ``run`` marks temporary files."""

    source: str
    source_codec: Codec | None
    target: str = ""
    target_codec: Codec | None = None
    run: str = ""
    source_options: dict[str, Any] = field(default_factory=dict)
    target_options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class _Content:
    size: int
    digest: bytes


def temporary_of(path: str) -> str | None:
    """The name of the target that ``path`` is a temporary file for."""
    found = _TEMPORARY.fullmatch(path.rpartition("/")[2])
    return found[1] if found else None


def verify(its: File) -> Outcome:
    """Decode the source to its end. Raises `CorruptPayload`, `OSError`."""
    started = time.perf_counter()
    fs, path = url_to_fs(its.source, **its.source_options)
    content = _read(fs, path, its.source_codec)
    return Outcome(
        its.source,
        None,
        Status.VERIFIED,
        source_size=fs.size(path),
        size=content.size,
        seconds=time.perf_counter() - started,
    )


def transcode(its: File) -> Outcome:
    """Write the target, unless it holds already what the source holds.

    Raises `CorruptPayload`, `OSError`, and `TransferError` where what was written reads otherwise.
    """
    started = time.perf_counter()
    source_fs, source = url_to_fs(its.source, **its.source_options)
    fs, path = url_to_fs(its.target, **its.target_options)
    content, status = _kept(its, source_fs, source, fs, path), Status.SKIPPED
    if content is None:
        status = Status.WRITTEN
        content = _write(its, source_fs, source, fs, path)
    return Outcome(
        its.source,
        its.target,
        status,
        source_size=source_fs.size(source),
        size=content.size,
        target_size=fs.size(path),
        seconds=time.perf_counter() - started,
    )


def _kept(its: File, source_fs: Any, source: str, fs: Any, path: str) -> _Content | None:
    """What the target holds, where that is what the source holds."""
    if not fs.exists(path):
        return None
    try:
        there = _read(fs, path, its.target_codec)
    except (codecs_core.CorruptPayload, FileNotFoundError):
        # Not there any more: listings are cached.
        return None
    return there if there == _read(source_fs, source, its.source_codec) else None


def _write(its: File, source_fs: Any, source: str, fs: Any, path: str) -> _Content:
    parent, slash, name = path.rpartition("/")
    temporary = f"{parent}{slash}.{name}.{its.run}.{uuid.uuid4().hex[:8]}.part"
    if parent and not fs.isdir(parent):
        fs.makedirs(parent, exist_ok=True)
    try:
        with (
            _reader(source_fs, source, its.source_codec) as reader,
            fs.open(temporary, "wb") as raw,
            _writer(raw, its.target_codec) as writer,
        ):
            content = _copy(reader, writer)
        if _read(fs, temporary, its.target_codec) != content:
            raise TransferError(
                f"{its.target}: what was written reads otherwise; is the disk sound?"
            )
        _rename(fs, temporary, path)
    except BaseException:
        # Why it failed is what is told, and not that there is nothing to remove.
        with suppress(Exception):
            fs.rm_file(temporary)
        raise
    return content


def _rename(fs: Any, path: str, name: str) -> None:
    if type(fs).mv is AbstractFileSystem.mv:
        # It would copy and remove likewise, but take a path with brackets for a pattern.
        fs.cp_file(path, name)
        fs.rm_file(path)
    else:
        fs.mv(path, name)


def _read(fs: Any, path: str, codec: Codec | None) -> _Content:
    with _reader(fs, path, codec) as reader:
        return _copy(reader, None)


def _copy(reader: Opened, writer: Opened | None) -> _Content:
    digest, size = xxhash.xxh3_128(), 0
    while piece := reader.read(_PIECE):
        digest.update(piece)
        size += len(piece)
        if writer is not None:
            writer.write(piece)
    return _Content(size, digest.digest())


@contextmanager
def _reader(fs: Any, path: str, codec: Codec | None) -> Iterator[Opened]:
    with fs.open(path, "rb") as raw:
        if codec is None:
            yield raw
        else:
            with codecs_core.open(raw, "rb", codec=codec, threads=1) as reader:
                yield reader


@contextmanager
def _writer(raw: BinaryIO, codec: Codec | None) -> Iterator[Opened]:
    if codec is None:
        yield raw
    else:
        with codecs_core.open(raw, "wb", codec=codec, threads=1) as writer:
            yield writer
