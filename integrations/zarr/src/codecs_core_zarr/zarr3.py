"""Bytes-to-bytes codecs of zarr 3: ``zarr.create_array(..., compressors=[Qatzip(level=1)])``.

zarr finds them by their entry points when it reads an array, or a dictionary such as
``{"name": "codecs_core.qatzip", "configuration": {"level": 1}}``. Chunks are coded in threads.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self

from zarr.abc.codec import BytesBytesCodec

from codecs_core import Codec, UsageError
from codecs_core_zarr import chunk

if TYPE_CHECKING:
    from zarr.core.array_spec import ArraySpec
    from zarr.core.buffer import Buffer

__all__ = ["CodecsCore", "Lz4", "Qatzip", "Zlib", "Zstd"]

_EXPANSION: Final = 32
"""How many times its array's bytes a chunk may decode to. Codecs before ours may add to them: a
shard of chunks of one byte has an index of 16 bytes for each."""

_ALLOWANCE: Final = 4 << 10


class CodecsCore(BytesBytesCodec):
    """Any installed codec, by its name: ``CodecsCore("xz", level=6)``.

    ``parameters`` are the codec's own, by field name. Raises `CodecError` for a codec without a
    file format, and all that `codecs_core.get_codec` raises. Two are equal that store the same.
    """

    is_fixed_size = False
    name: ClassVar[str] = chunk.ID

    _codec: Codec

    # Whatever metadata may hold is a parameter, ``self``, too.
    def __init__(self, /, codec: str | Codec | None = None, **parameters: Any) -> None:
        object.__setattr__(self, "_codec", chunk.storable(codec, parameters))

    @classmethod
    def from_dict(cls, data: Any) -> Self:
        """Make a codec of what the array's metadata holds.

        Raises `UsageError` for metadata of another codec or of no shape that metadata has, and all
        that the constructor raises.
        """
        name, configuration = data.get("name"), data.get("configuration", {})
        if name != cls.name:
            raise UsageError(f"the metadata of codec {name!r} does not make a {cls.name!r}")
        if not isinstance(configuration, Mapping):
            raise UsageError(
                f"{name}: the configuration holds parameters by name, and is not {configuration!r}"
            )
        return cls(**configuration)

    def to_dict(self) -> dict[str, Any]:
        """Return what metadata holds: the codec, and all parameters that concern the data."""
        return {"name": self.name, "configuration": self._configuration()}

    def _configuration(self) -> chunk.Stored:
        return {"codec": self._codec.name, **self._codec.wire_parameters()}

    def compute_encoded_size(self, input_byte_length: int, chunk_spec: ArraySpec) -> int:
        """Raise `NotImplementedError`: it depends on the data."""
        raise NotImplementedError

    async def _encode_single(self, chunk_data: Buffer, chunk_spec: ArraySpec) -> Buffer:
        return await asyncio.to_thread(self._encode_sync, chunk_data, chunk_spec)

    async def _decode_single(self, chunk_data: Buffer, chunk_spec: ArraySpec) -> Buffer:
        return await asyncio.to_thread(self._decode_sync, chunk_data, chunk_spec)

    # zarr calls these two itself where it codes a chunk in a thread of its own.

    def _encode_sync(self, chunk_data: Buffer, chunk_spec: ArraySpec) -> Buffer:
        encoded = chunk.encode(self._codec, chunk_data.as_numpy_array())
        return chunk_spec.prototype.buffer.from_bytes(encoded)

    def _decode_sync(self, chunk_data: Buffer, chunk_spec: ArraySpec) -> Buffer:
        decoded = chunk.decode(self._codec, chunk_data.as_numpy_array(), _most(chunk_spec))
        return chunk_spec.prototype.buffer.from_bytes(decoded)

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and self.to_dict() == other.to_dict()

    def __hash__(self) -> int:
        return hash((self.name, self._codec.name, *self._codec.wire_parameters().items()))

    def __repr__(self) -> str:
        shown = filter(None, (repr(self._codec.name), chunk.arguments(self._codec)))
        return f"{type(self).__name__}({', '.join(shown)})"


def _most(spec: ArraySpec) -> int:
    """How many bytes a chunk may decode to at most; strings of any length have none but zarr's."""
    item_size = getattr(spec.dtype, "item_size", None)
    if item_size is None:
        return chunk.MAX_BUFFER
    size = math.prod(spec.shape) * int(item_size)
    return min(_EXPANSION * size + _ALLOWANCE, chunk.MAX_BUFFER)


class _Named(CodecsCore):
    def __init__(self, /, **parameters: Any) -> None:
        object.__setattr__(self, "_codec", chunk.storable(chunk.name_of(self.name), parameters))

    def _configuration(self) -> chunk.Stored:
        return self._codec.wire_parameters()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({chunk.arguments(self._codec)})"


class Lz4(_Named):
    """Chunks as lz4 frames: ``Lz4(level=0)``."""

    name = "codecs_core.lz4"


class Qatzip(_Named):
    """Chunks as gzip files, by QuickAssist or in software: ``Qatzip(level=1)``."""

    name = "codecs_core.qatzip"


class Zlib(_Named):
    """Chunks as zlib streams: ``Zlib(level=1)``."""

    name = "codecs_core.zlib"


class Zstd(_Named):
    """Chunks as zstd frames: ``Zstd(level=1)``."""

    name = "codecs_core.zstd"
