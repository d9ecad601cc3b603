"""Rebuilds one RAM block of a recording as a file."""

from __future__ import annotations

import contextlib
import os

from codecs_core.gateway.rebuild import Rebuilt, find_block, rebuild
from codecs_core.gateway.recording import Recording
from codecs_core.memory.file import FileBlock
from codecs_core.memory.output import OutputFile

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
    found = find_block(recording, name)
    with OutputFile(path, force=force) as output:
        page_size = recording.page_size_of(found)
        block = FileBlock.create(output.partial, found.size, name, page_size, shown=path)
        with contextlib.closing(block):
            rebuilt = rebuild(recording, block, allow_unsent=allow_unsent)
        output.commit()
    return rebuilt
