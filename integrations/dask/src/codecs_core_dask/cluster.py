"""Sets of files, compressed, recompressed or verified on a Dask cluster.

A file is a task; `codecs_core_dask.file` is what a worker does with it. The client hands them out,
takes in what became of them, and clears away what dead workers left.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from distributed import Client, as_completed, get_client
from fsspec.core import url_to_fs

from codecs_core import Codec, UsageError, codecs, get_codec
from codecs_core_dask import file
from codecs_core_dask.file import File
from codecs_core_dask.report import Outcome, Report, Status, TranscodeFailed

__all__ = ["INFER", "transcode", "verify"]

INFER = "infer"
"""The source's codec follows from its file name's ending; other files are read as they are."""

Progress = Callable[[Report], None]


def transcode(
    sources: Sequence[str],
    targets: Sequence[str],
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

    ``client`` defaults to the current one. ``progress`` is called with the report so far whenever a
    file is done. ``source_options`` and ``target_options`` are fsspec's storage options.

    Raises `TranscodeFailed`, with the whole report, once the others are done, where a file failed;
    `UsageError` where sources and targets do not pair up; and all that `codecs_core.get_codec`
    raises.
    """
    _check(sources, targets)
    run = uuid.uuid4().hex[:8]
    into = None if codec is None else get_codec(codec)
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

    Arguments are as in `transcode`. Raises `TranscodeFailed` where a file is damaged or cut short.
    """
    files = [
        File(source=url, source_codec=_source_codec(url, codec), source_options=dict(options or {}))
        for url in urls
    ]
    return _run(file.verify, files, client, retries, progress)


def _check(sources: Sequence[str], targets: Sequence[str]) -> None:
    if isinstance(sources, str) or isinstance(targets, str):
        raise UsageError("sources and targets are lists of URLs, not one URL")
    if len(sources) != len(targets):
        raise UsageError(f"{len(sources)} sources, but {len(targets)} targets: give one for each")
    if len(set(targets)) != len(targets):
        twice = next(each for each in targets if list(targets).count(each) > 1)
        raise UsageError(f"{twice} is the target of several sources")
    if both := set(sources) & set(targets):
        raise UsageError(f"{min(both)} is a source and a target; give the targets other names")


def _source_codec(url: str, codec: str | Codec | None) -> Codec | None:
    if codec == INFER:
        codec = codecs().by_suffix(url)
    return None if codec is None else get_codec(codec)


def _run(
    work: Callable[[File], Outcome],
    files: list[File],
    client: Client | None,
    retries: int,
    progress: Progress | None,
) -> Report:
    client = client or _current_client()
    outcomes: list[Outcome] = []
    futures = client.map(work, files, retries=retries, pure=False)
    of = dict(zip(futures, files, strict=True))
    try:
        for future in as_completed(futures):  # type: ignore[no-untyped-call]
            outcomes.append(_outcome(future, of[future]))
            if progress is not None:
                progress(Report(len(files), tuple(outcomes)))
    except BaseException:
        client.cancel(futures)  # type: ignore[no-untyped-call]
        raise
    report = Report(len(files), tuple(outcomes))
    if report.failed:
        raise TranscodeFailed(report)
    return report


def _outcome(future: Any, its: File) -> Outcome:
    if future.status == "finished":
        outcome: Outcome = future.result()
        return outcome
    error = future.exception() if future.status == "error" else None
    reason = f"{type(error).__name__}: {error}" if error else f"the task was {future.status}"
    return Outcome(its.source, its.target, Status.FAILED, error=reason)


def _current_client() -> Client:
    try:
        return get_client()
    except ValueError as error:
        raise UsageError(
            "no Dask client is there: make one, distributed.Client(address), or give client="
        ) from error


def _clear(targets: Sequence[str], options: dict[str, Any]) -> None:
    """Remove what dead workers, of this run or an earlier one, have left beside the targets."""
    names: dict[tuple[Any, str], set[str]] = {}
    for target in targets:
        fs, path = url_to_fs(target, **options)
        parent, _, name = path.rpartition("/")
        names.setdefault((fs, parent), set()).add(name)
    for (fs, parent), its in names.items():
        with suppress(FileNotFoundError):
            for path in fs.ls(parent, detail=False, refresh=True):
                if file.temporary_of(path) in its:
                    with suppress(FileNotFoundError):
                        fs.rm_file(path)
