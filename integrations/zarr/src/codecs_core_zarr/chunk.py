"""A chunk between an array's bytes and a codec's standard file format.

What the codecs for numcodecs and for zarr share. The metadata that is stored beside the chunks
holds a codec's name and those of its parameters that concern the data, as the handshake of a
transfer does; which backend works is each host's own affair.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numcodecs.compat import ensure_contiguous_ndarray

from codecs_core import Codec, CodecError, UsageError, get_codec

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["ID", "MAX_BUFFER", "Stored", "arguments", "decode", "encode", "name_of", "storable"]

Stored = dict[str, int | bool | str]
"""Parameters as they stand in metadata: JSON values, by field name."""

ID: Final = "codecs_core"
"""The id of the codec that is told which codec to use; the others are ``codecs_core.NAME``."""

MAX_BUFFER: Final = 2**31 - 1
"""The largest chunk in bytes, in the manner of numcodecs: more is neither encoded nor decoded."""


def name_of(identifier: str) -> str:
    """``qatzip`` of ``codecs_core.qatzip``."""
    return identifier.removeprefix(f"{ID}.")


def storable(codec: str | Codec | None, parameters: Mapping[str, Any]) -> Codec:
    """Make a codec that chunks can be stored with.

    Raises `UsageError` where none is named, `CodecError` where it has no file format of its own,
    and all that `codecs_core.get_codec` raises.
    """
    if codec is None:
        raise UsageError(f"{ID} needs the name of a codec, codec='zstd', beside its parameters")
    made = get_codec(codec, **parameters)
    if made.suffix is None:
        raise CodecError(
            f"codec {made.name!r} has no file format of its own, so nothing can be stored with it; "
            "`multifd codecs` lists those that have one"
        )
    return made


def arguments(codec: Codec) -> str:
    """What to make a codec again with: ``level=1``, and what this host chose besides."""
    return ", ".join(
        f"{each.field}={getattr(codec, each.field)!r}"
        for each in codec.parameters()
        if not each.local or getattr(codec, each.field) != each.default
    )


def encode(codec: Codec, buffer: Any) -> bytes:
    """Return the bytes of ``buffer``, which must be contiguous, in the codec's file format.

    Raises `ValueError` for a buffer that is not contiguous or larger than `MAX_BUFFER`,
    `TypeError` for one of objects, `CodecError` where the library fails.
    """
    return codec.compress(_view(buffer))


def decode(codec: Codec, buffer: Any, max_length: int = MAX_BUFFER) -> bytes:
    """Return what ``buffer``, in the codec's file format, decodes to: ``max_length`` bytes at most.

    Raises `CorruptPayload` where it is damaged, cut short, or decodes to more.
    """
    return codec.decompress(_view(buffer), max_length=max_length)


def _view(buffer: Any) -> memoryview:
    array = ensure_contiguous_ndarray(buffer, max_buffer_size=MAX_BUFFER)
    return memoryview(array.view(np.uint8))
