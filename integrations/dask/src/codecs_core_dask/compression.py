"""Compressions of ``distributed``: what it sends between processes, and what workers spill.

``distributed`` keeps them in a dictionary and has no entry points for them. All processes of a
cluster must know a compression that one of them is told to use, which is what its preloads are for.
"""

from __future__ import annotations

from functools import cache, partial
from typing import Any, Final

import dask
from distributed.protocol.compression import Compression, compressions

import codecs_core
from codecs_core import Buffer, Codec

__all__ = ["MAX_LENGTH", "register", "settings"]

MAX_LENGTH: Final = 2**31
"""The largest message, in bytes, that ``distributed`` compresses; more is not decompressed."""

_THEIRS: Final = frozenset({"auto", "zlib", "snappy", "lz4", "zstd"})
"""What ``distributed`` means by these names is not our codecs' file formats."""

_PROCESSES: Final = ("scheduler", "nanny", "worker", "client")


def register() -> None:
    """Make every installed codec that has a file format a compression of ``distributed``.

    Each is called ``codecs_core.NAME``, and ``NAME``, too, where ``distributed`` means nothing by
    it. The configuration ``codecs-core.NAME`` has a codec's parameters, ``{level: 3}``; they are
    read when the codec is first used.
    """
    for name, info in codecs_core.codecs().items():
        if info.suffix is None:
            continue
        for alias in (f"codecs_core.{name}", *({name} - _THEIRS)):
            compressions[alias] = Compression(
                alias, partial(_compress, name), partial(_decompress, name)
            )


def settings(comm: str | None = None, *, spill: str | None = None) -> dict[str, Any]:
    """Return the configuration of Dask that has all processes use these compressions.

    ``comm`` is for connections, ``spill`` for what workers write to disk. For ``dask.config.set``,
    before a cluster or a client is made::

        with dask.config.set(settings("qatzip")), LocalCluster() as cluster: ...
    """
    chosen: dict[str, Any] = {}
    for process in _PROCESSES:
        key = f"distributed.{process}.preload"
        # Others' preloads stay; ours is there once.
        chosen[key] = list(dict.fromkeys([*dask.config.get(key, []), __package__]))
    if comm is not None:
        chosen["distributed.comm.compression"] = comm
    if spill is not None:
        chosen["distributed.worker.memory.spill-compression"] = spill
    return chosen


def _compress(name: str, data: Buffer) -> bytes:
    return _codec(name).compress(memoryview(data).cast("B"))


def _decompress(name: str, data: Buffer) -> bytes:
    return _codec(name).decompress(memoryview(data).cast("B"), max_length=MAX_LENGTH)


@cache
def _codec(name: str) -> Codec:
    return codecs_core.get_codec(name, **dask.config.get(f"codecs-core.{name}", {}))
