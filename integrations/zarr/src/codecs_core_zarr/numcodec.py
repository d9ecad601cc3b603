"""Codecs of numcodecs: for zarr's format 2, and whatever else uses numcodecs.

``numcodecs.get_codec({"id": "codecs_core.qatzip", "level": 1})`` finds them by their entry points.
"""

from __future__ import annotations

from typing import Any, ClassVar

from numcodecs.abc import Codec as Numcodec
from numcodecs.compat import ensure_contiguous_ndarray, ndarray_copy

from codecs_core import Codec, CorruptPayload
from codecs_core_zarr import chunk

__all__ = ["CodecsCore", "Lz4", "Qatzip", "Zlib", "Zstd"]


class CodecsCore(Numcodec):  # type: ignore[misc]  # numcodecs has no types
    """Any installed codec, by its name: ``CodecsCore("xz", level=6)``.

    ``parameters`` are the codec's own, by field name. Raises `CodecError` for a codec without a
    file format, and all that `codecs_core.get_codec` raises.
    """

    codec_id: ClassVar[str] = chunk.ID

    # Whatever a configuration may hold is a parameter, ``self``, too.
    def __init__(self, /, codec: str | Codec | None = None, **parameters: Any) -> None:
        self._codec = chunk.storable(codec, parameters)

    def encode(self, buf: Any) -> bytes:
        """Return a contiguous buffer in the codec's standard file format."""
        return chunk.encode(self._codec, buf)

    def decode(self, buf: Any, out: Any = None) -> Any:
        """Return what ``buf`` decodes to, at most 2 GiB; in ``out``, if given, to its last byte.

        Raises `CorruptPayload` where ``buf`` is damaged, cut short, or does not decode to exactly
        the size of ``out``.
        """
        if out is None:
            return chunk.decode(self._codec, buf)
        size = ensure_contiguous_ndarray(out).nbytes
        decoded = chunk.decode(self._codec, buf, size)
        if len(decoded) != size:
            raise CorruptPayload(
                f"{self._codec.name}: the chunk decodes to {len(decoded)} bytes, not to the {size} "
                "of the buffer it is for"
            )
        return ndarray_copy(decoded, out)

    def get_config(self) -> dict[str, Any]:
        """Return what metadata holds: the codec, and all parameters that concern the data."""
        return {"id": self.codec_id, "codec": self._codec.name, **self._codec.wire_parameters()}

    def __repr__(self) -> str:
        shown = filter(None, (repr(self._codec.name), chunk.arguments(self._codec)))
        return f"{type(self).__name__}({', '.join(shown)})"


class _Named(CodecsCore):
    def __init__(self, /, **parameters: Any) -> None:
        self._codec = chunk.storable(chunk.name_of(self.codec_id), parameters)

    def get_config(self) -> dict[str, Any]:
        return {"id": self.codec_id, **self._codec.wire_parameters()}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({chunk.arguments(self._codec)})"


class Lz4(_Named):
    """Chunks as lz4 frames: ``Lz4(level=0)``."""

    codec_id = "codecs_core.lz4"


class Qatzip(_Named):
    """Chunks as gzip files, by QuickAssist or in software: ``Qatzip(level=1)``."""

    codec_id = "codecs_core.qatzip"


class Zlib(_Named):
    """Chunks as zlib streams: ``Zlib(level=1)``."""

    codec_id = "codecs_core.zlib"


class Zstd(_Named):
    """Chunks as zstd frames: ``Zstd(level=1)``."""

    codec_id = "codecs_core.zstd"
