"""Rebuilds one RAM block of a recording as a file."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from codecs_core.errors import TransferError, UsageError
from codecs_core.gateway.rebuild import Rebuilt, find_block, rebuild
from codecs_core.gateway.recording import Recording
from codecs_core.memory.file import FileBlock

__all__ = ["extract"]


def extract(
    recording: Recording,
    name: str,
    path: str | os.PathLike[str],
    *,
    force: bool = False,
    allow_unsent: bool = False,
) -> Rebuilt:
    """Rebuild RAM block ``name`` into a sparse file, which appears at ``path`` when it is whole.

    ``force`` replaces a file that is there already. Raises what `rebuild` raises, `UsageError`
    where ``path`` exists, `TransferError` where no file can be made there.
    """
    path = Path(path)
    found = find_block(recording, name)
    if path.is_dir():
        raise UsageError(f"{path} is a directory; name the file to write")
    if path.exists() and not force:
        raise UsageError(f"{path} exists; --force replaces it")
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        block = FileBlock.create(partial, found.size, name, recording.page_size_of(found))
    except OSError as error:
        raise TransferError(f"{path} cannot be made: {error.strerror}") from error
    try:
        with contextlib.closing(block):
            rebuilt = rebuild(recording, block, allow_unsent=allow_unsent)
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    return rebuilt
