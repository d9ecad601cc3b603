"""The codecs of codecs-core as compressions of fsspec.

fsspec knows a compression once it is registered, and has no entry points for them, so importing
this module registers every installed codec that has a file format::

    import fsspec
    import codecs_core_fsspec

    with fsspec.open("s3://bucket/ram.gz", "wb", compression="qatzip") as file: ...

Each is called ``codecs_core.NAME``, and ``NAME`` where fsspec has nothing of that name. File name
endings that fsspec leaves alone are inferred; `infer` takes others over.
"""

from __future__ import annotations

from functools import partial
from typing import Any, BinaryIO

from fsspec.compression import compr, register_compression
from fsspec.utils import compressions

import codecs_core
from codecs_core import Codec, UnknownCodec, UsageError

__all__ = ["infer", "register"]


def register(name: str, codec: str | Codec, **options: Any) -> None:
    """Make ``compression=name`` stand for ``codec``, again if need be.

    ``options`` are the codec's parameters and whatever else `codecs_core.open` takes:
    ``register("tight", "qatzip", level=9, threads=2)``.
    """
    register_compression(name, partial(_open, codec, options), [], force=True)


def infer(*names: str) -> None:
    """Let ``compression="infer"`` choose these codecs by their endings, in fsspec's place.

    ``infer("qatzip")`` takes over ``.gz``. Raises `UsageError` for a codec without an ending, and
    `UnknownCodec`.
    """
    for name in names:
        info = codecs_core.codecs().get(name)
        if info is None:
            raise UnknownCodec(
                f"no codec is called {name!r}; installed: {', '.join(codecs_core.codecs())}",
                name=name,
            )
        if info.suffix is None:
            raise UsageError(f"codec {name!r} has no file format of its own, and so no ending")
        compressions[info.suffix.removeprefix(".")] = f"codecs_core.{name}"


def _open(
    codec: str | Codec, options: dict[str, Any], infile: BinaryIO, mode: str = "rb", **more: Any
) -> Any:
    """What fsspec calls: ``mode`` is ``r`` or ``w``, with or without ``b``."""
    binary = mode.removesuffix("b") + "b"
    return codecs_core.open(infile, binary, codec=codec, **options, **more)


def _register_all() -> None:
    for name, info in codecs_core.codecs().items():
        if info.suffix is None:
            continue
        register(f"codecs_core.{name}", name)
        if name not in compr:
            register(name, name)
        compressions.setdefault(info.suffix.removeprefix("."), f"codecs_core.{name}")


_register_all()
