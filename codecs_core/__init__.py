"""Move memory, images and byte streams over N compressed channels.

The public API, and nothing else::

    codecs()                       the installed codecs, by name
    get_codec("zstd", level=3)     one of them, ready to use
    compress / decompress          one call, the codec's standard file format
    open("ram.gz", "rb")           file objects over it, like gzip.open, in several threads
    Sender / Receiver              N channels: blocks, pages, sync, progress
    TlsCredentials                 what encrypts them, and says who may connect
    MemoryBlock, FileBlock, …      what they move
    Codec, Encoder, Decoder, …     the contract for plugin authors
    dask                           sets of files on a Dask cluster, with codecs-core-dask

Names load on first use, so importing the package costs next to nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from codecs_core.codec import (
        Availability,
        Buffer,
        Codec,
        Decoder,
        Encoder,
        Geometry,
        Parameter,
        parameter,
    )
    from codecs_core.engine.progress import ChannelProgress, Progress
    from codecs_core.engine.receiver import Receiver
    from codecs_core.engine.sender import Sender
    from codecs_core.errors import (
        BrokenPlugin,
        ChecksumMismatch,
        CodecError,
        CodecsCoreError,
        CodecUnavailable,
        CorruptPayload,
        LinkError,
        LinkTimeout,
        ParameterError,
        PluginError,
        ProtocolError,
        RemoteError,
        TlsError,
        TransferError,
        TruncatedFile,
        TruncatedStream,
        UnknownCodec,
        UsageError,
    )
    from codecs_core.hookspecs import hookimpl
    from codecs_core.memory.block import Block, MemoryBlock
    from codecs_core.memory.file import FileBlock
    from codecs_core.memory.stream import StreamSink, StreamSource
    from codecs_core.oneshot import compress, decompress
    from codecs_core.registry import CodecInfo, codecs, get_codec
    from codecs_core.stream import open
    from codecs_core.transport.tls import TlsCredentials

_HOMES = {
    "codec": (
        "Availability", "Buffer", "Codec", "Decoder", "Encoder", "Geometry", "Parameter",
        "parameter",
    ),
    "engine.progress": ("ChannelProgress", "Progress"),
    "engine.receiver": ("Receiver",),
    "engine.sender": ("Sender",),
    "errors": (
        "BrokenPlugin", "ChecksumMismatch", "CodecError", "CodecsCoreError", "CodecUnavailable",
        "CorruptPayload", "LinkError", "LinkTimeout", "ParameterError", "PluginError",
        "ProtocolError", "RemoteError", "TlsError", "TransferError", "TruncatedFile",
        "TruncatedStream",
        "UnknownCodec", "UsageError",
    ),
    "hookspecs": ("hookimpl",),
    "memory.block": ("Block", "MemoryBlock"),
    "memory.file": ("FileBlock",),
    "memory.stream": ("StreamSink", "StreamSource"),
    "oneshot": ("compress", "decompress"),
    "registry": ("CodecInfo", "codecs", "get_codec"),
    "stream": ("open",),
    "transport.tls": ("TlsCredentials",),
}  # fmt: skip
_HOME = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("codecs-core")
    if name == "dask":
        return importlib.import_module(f"{__name__}.dask")
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME, "__version__"})


__all__ = [
    "Availability",
    "Block",
    "BrokenPlugin",
    "Buffer",
    "ChannelProgress",
    "ChecksumMismatch",
    "Codec",
    "CodecError",
    "CodecInfo",
    "CodecUnavailable",
    "CodecsCoreError",
    "CorruptPayload",
    "Decoder",
    "Encoder",
    "FileBlock",
    "Geometry",
    "LinkError",
    "LinkTimeout",
    "MemoryBlock",
    "Parameter",
    "ParameterError",
    "PluginError",
    "Progress",
    "ProtocolError",
    "Receiver",
    "RemoteError",
    "Sender",
    "StreamSink",
    "StreamSource",
    "TlsCredentials",
    "TlsError",
    "TransferError",
    "TruncatedFile",
    "TruncatedStream",
    "UnknownCodec",
    "UsageError",
    "codecs",
    "compress",
    "decompress",
    "get_codec",
    "hookimpl",
    "open",
    "parameter",
]
