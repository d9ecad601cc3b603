"""Sets of files, compressed, recompressed or verified on a Dask cluster.

A file is a task; `codecs_core_dask.file` is what a worker does with it. The client hands them out,
takes in what became of them, and clears away what dead workers left.
"""

from __future__ import annotations

import logging
import math
import os
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from distributed import Client, as_completed, get_client
from fsspec import get_filesystem_class
from fsspec.core import split_protocol, url_to_fs
from fsspec.implementations.local import LocalFileSystem

from codecs_core import Codec, CodecError, UsageError, codecs, get_codec
from codecs_core_dask import file
from codecs_core_dask.file import File
from codecs_core_dask.report import Outcome, Report, Status, TranscodeFailed

__all__ = ["INFER", "transcode", "verify"]

INFER = "infer"
"""The source's codec follows from its file name's ending; other files are read as they are."""

Progress = Callable[[Report], None]

_INTERVAL: Final = 0.1
"""Seconds between two reports of progress: each takes in all files so far, of which there may be
a hundred thousand."""

_log = logging.getLogger(__name__)


def transcode(
    sources: Iterable[str],
    targets: Iterable[str],
    codec: str | Codec | None,
    *,
    source_codec: str | Codec | None = INFER,
    client: Client | None = None,
    retries: int = 2,
    progress: Progress | None = None,
    source_options: Mapping[str, Any] | None = None,
    target_options: Mapping[str, Any] | None = None,
) -> Report:
    """Write what each source holds to the target of the same place, by the workers of a cluster.

    Sources and targets are URLs of fsspec that the workers reach. ``codec`` is the targets' codec,
    ``None`` for files as they are; ``source_codec`` that of the sources, ``None`` likewise, by
    default by their endings. A target is written under a temporary name, read back and compared,
    and then given its name. A target that is there already and decodes to what its source holds is
    skipped, any other replaced: the same call again does what is left. A task that raises is tried
    ``retries`` times more; the tasks of a worker that dies go to others.

    ``client`` defaults to the current one. ``progress`` is called with the report so far when a
    file is done, the first and the last in any case, and at most ten times a second.
    ``source_options`` and ``target_options`` are fsspec's storage options.

    Raises `TranscodeFailed`, with the whole report, once the others are done, where a file failed;
    `UsageError` where sources and targets do not pair up, or two of them are one file; `CodecError`
    for a codec without a file format; and all that `codecs_core.get_codec` raises.
    """
    sources, targets = _list(sources), _list(targets)
    _check(sources, targets)
    run = uuid.uuid4().hex[:8]
    into = _with_files(codec)
    files = [
        File(
            source=source,
            source_codec=_source_codec(source, source_codec),
            target=target,
            target_codec=into,
            run=run,
            source_options=dict(source_options or {}),
            target_options=dict(target_options or {}),
        )
        for source, target in zip(sources, targets, strict=True)
    ]
    try:
        return _run(file.transcode, files, client, retries, progress)
    finally:
        _clear(targets, dict(target_options or {}))


def verify(
    urls: Iterable[str],
    codec: str | Codec | None = INFER,
    *,
    client: Client | None = None,
    retries: int = 2,
    progress: Progress | None = None,
    options: Mapping[str, Any] | None = None,
) -> Report:
    """Decode each file to its end, by the workers of a cluster; nothing is written.

    Arguments are as in `transcode`, but a file whose ending tells no codec needs one: read as it
    is, nothing of it would be verified. Raises `UsageError` for such a file, `TranscodeFailed`
    where a file is damaged or cut short.
    """
    files = []
    for url in _list(urls):
        chosen = _source_codec(url, codec)
        if chosen is None and codec == INFER:
            raise UsageError(
                f"{url} does not tell its codec by its ending; give codec=, or None for files to "
                "be read as they are"
            )
        files.append(File(source=url, source_codec=chosen, source_options=dict(options or {})))
    return _run(file.verify, files, client, retries, progress)


def _list(urls: Iterable[str]) -> list[str]:
    if isinstance(urls, str | os.PathLike):
        raise UsageError(f"{urls} is one URL, where a list of them is expected")
    return [os.fspath(each) for each in urls]


def _check(sources: Sequence[str], targets: Sequence[str]) -> None:
    if len(sources) != len(targets):
        raise UsageError(f"{len(sources)} sources, but {len(targets)} targets: give one for each")
    read = {_place(source) for source in sources}
    written: dict[object, str] = {}
    for target in targets:
        place = _place(target)
        if place in written:
            raise UsageError(f"{target} is the target of several sources")
        if place in read:
            raise UsageError(f"{target} is a source and a target; give the targets other names")
        written[place] = target


def _place(url: str) -> object:
    """What tells whether two URLs are one file, without a connection to where they lead."""
    if "::" in url:
        return url
    protocol, _ = split_protocol(url)
    try:
        kind = get_filesystem_class(protocol or "file")
    except (ImportError, ValueError):
        # A worker will say so.
        return url
    path = kind._strip_protocol(url)
    if issubclass(kind, LocalFileSystem):
        path = os.path.realpath(path)
    # The host, where the path does not have it.
    return kind, path, tuple(sorted(kind._get_kwargs_from_urls(url).items()))


def _with_files(codec: str | Codec | None) -> Codec | None:
    if codec is None:
        return None
    made = get_codec(codec)
    if not made.has_file_format():
        raise CodecError(f"codec {made.name!r} has no file format of its own")
    return made


def _source_codec(url: str, codec: str | Codec | None) -> Codec | None:
    return _with_files(codecs().by_suffix(url) if codec == INFER else codec)


def _run(
    work: Callable[[File], Outcome],
    files: list[File],
    client: Client | None,
    retries: int,
    progress: Progress | None,
) -> Report:
    client = client or _current_client()
    if client.asynchronous:
        raise UsageError("the client is asynchronous; give one made with asynchronous=False")
    outcomes: list[Outcome] = []
    futures = client.map(work, files, retries=retries, pure=False)
    of = dict(zip(futures, files, strict=True))
    told = -math.inf
    try:
        for future in as_completed(futures):  # type: ignore[no-untyped-call]
            outcomes.append(_outcome(future, of[future]))
            now = time.monotonic()
            if progress and (now - told >= _INTERVAL or len(outcomes) == len(files)):
                told = now
                progress(Report(len(files), tuple(outcomes)))
    except BaseException:
        client.cancel(futures)  # type: ignore[no-untyped-call]
        raise
    report = Report(len(files), tuple(outcomes))
    if report.failed:
        raise TranscodeFailed(report)
    return report


def _outcome(future: Any, its: File) -> Outcome:
    try:
        outcome: Outcome = future.result()
    # Whatever a task may raise; and a worker that dies may take a result along.
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        return Outcome(its.source, its.target or None, Status.FAILED, error=reason)
    return outcome


def _current_client() -> Client:
    try:
        return get_client()
    except ValueError as error:
        raise UsageError(
            "no Dask client is there: make one, distributed.Client(address), or give client="
        ) from error


def _clear(targets: Sequence[str], options: dict[str, Any]) -> None:
    """Remove what dead workers, of this run or an earlier one, have left beside the targets.

    As far as this host reaches them: what became of the files does not depend on it.
    """
    names: dict[tuple[Any, str], set[str]] = {}
    try:
        for target in targets:
            # Where a URL leads nowhere, a worker has said so.
            with suppress(ImportError, ValueError):
                fs, path = url_to_fs(target, **options)
                parent, _, name = path.rpartition("/")
                names.setdefault((fs, parent), set()).add(name)
        for (fs, parent), its in names.items():
            fs.invalidate_cache(parent)
            with suppress(FileNotFoundError, NotADirectoryError):
                for path in fs.ls(parent, detail=False):
                    if file.temporary_of(path) in its:
                        with suppress(FileNotFoundError):
                            fs.rm_file(path)
    except Exception as error:
        _log.warning(
            "%s: temporary files beside the targets may be left: %s", type(error).__name__, error
        )
