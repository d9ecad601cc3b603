"""One call: bytes ⇄ a codec's standard file format."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from codecs_core.registry import get_codec

if TYPE_CHECKING:
    from codecs_core.codec import Buffer, Codec


def compress(data: Buffer, *, codec: str | Codec, **parameters: Any) -> bytes:
    """Return ``data`` in the standard file format of ``codec``.

    ``codec`` is a name, with parameters (``level=3``), or a codec made before. The result is
    what the format's own tools read: a zstd frame, an lz4 frame, a zlib stream. Raises
    `CodecError` where the codec has no such format, and all that `get_codec` raises.
    """
    return get_codec(codec, **parameters).compress(data)


def decompress(data: Buffer, *, codec: str | Codec, max_length: int | None = None) -> bytes:
    """Return what ``data``, in the standard file format of ``codec``, decodes to.

    ``max_length`` bounds the result, in bytes: give one wherever the data comes from elsewhere.
    Raises `CorruptPayload` where the data is damaged, cut short, or decodes to more.
    """
    return get_codec(codec).decompress(data, max_length=max_length)


__all__ = ["compress", "decompress"]
