"""Every error this package raises on purpose, as one small tree.

Split by *who has to act*::

    CodecsCoreError
    ├── UsageError (ValueError)      the caller: an option, an address, a file name
    │   ├── ParameterError           a codec parameter of the wrong type or out of its range
    │   └── UnknownCodec             no installed distribution provides a codec of this name
    ├── PluginError                  whoever installed the plugin
    │   ├── CodecUnavailable         it is sound, but its library or device is missing
    │   └── BrokenPlugin             it has a defect, or breaks its contract; the cause is kept
    ├── CodecError                   a codec's library failed
    │   └── CorruptPayload           a payload, or a file, is not what this codec writes
    │       ├── TruncatedFile (EOFError)  a file ends too early
    │       └── ChecksumMismatch (ProtocolError)  what came is not what was sent
    ├── ProtocolError                the peer's bytes, or a file's, break the format
    │   └── TruncatedStream          they end too early
    ├── LinkError                    the network: not reachable, lost, silent
    │   ├── LinkTimeout              nothing came for too long
    │   └── TlsError                 a certificate or a name was refused, or TLS itself fails
    ├── RemoteError                  the peer ended the transfer, and this is its reason
    └── TransferError                this end cannot go on: a source changed, a disk is full

Messages name the thing, the value and, where there is one, the remedy.
"""

from __future__ import annotations

__all__ = [
    "BrokenPlugin",
    "ChecksumMismatch",
    "CodecError",
    "CodecUnavailable",
    "CodecsCoreError",
    "CorruptPayload",
    "LinkError",
    "LinkTimeout",
    "ParameterError",
    "PluginError",
    "ProtocolError",
    "RemoteError",
    "TlsError",
    "TransferError",
    "TruncatedFile",
    "TruncatedStream",
    "UnknownCodec",
    "UsageError",
]


class CodecsCoreError(Exception):
    """The root of the tree: catch this to catch all of them."""


class UsageError(CodecsCoreError, ValueError):
    """The caller asked for something that cannot be."""


class ParameterError(UsageError):
    """A codec parameter has the wrong type or lies outside its range.

    ``parameter`` is the name as QEMU spells it (``multifd-zstd-level``),
    ``value`` what was given.
    """

    def __init__(self, message: str, *, parameter: str, value: object) -> None:
        super().__init__(message)
        self.parameter = parameter
        self.value = value

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), str(self), {"parameter": self.parameter, "value": self.value})


class UnknownCodec(UsageError):
    """No installed distribution provides a codec called ``name``."""

    def __init__(self, message: str, *, name: str) -> None:
        super().__init__(message)
        self.name = name

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), str(self), {"name": self.name})


class PluginError(CodecsCoreError):
    """A codec that was asked for by name is installed but cannot be used."""

    def __init__(self, message: str, *, name: str) -> None:
        super().__init__(message)
        self.name = name

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), str(self), {"name": self.name})


class CodecUnavailable(PluginError):
    """The plugin is sound; a library or a device that it needs is missing."""


class BrokenPlugin(PluginError):
    """The plugin has a defect, or breaks its contract at work; ``__cause__`` is what it raised."""


class CodecError(CodecsCoreError):
    """A codec's library failed."""


class CorruptPayload(CodecError):
    """A payload, or a file, does not decode to what it should."""


class TruncatedFile(CorruptPayload, EOFError):
    """A file in a codec's format is cut short. An `EOFError`, as users of `gzip` expect."""


class ProtocolError(CodecsCoreError):
    """The peer's bytes, or those of a file, break the format."""


class TruncatedStream(ProtocolError):
    """A stream ends inside a header or a payload."""


class ChecksumMismatch(CorruptPayload, ProtocolError):
    """What came is not what was sent: damaged on the way, or changed while it was sent."""


class LinkError(CodecsCoreError):
    """A connection cannot be made, or was lost."""


class LinkTimeout(LinkError):
    """The peer said nothing for longer than allowed."""


class TlsError(LinkError):
    """TLS fails: one end refuses the other's certificate or name, or bytes were changed."""


class RemoteError(CodecsCoreError):
    """The peer ended the transfer; the message is the reason it gave."""


class TransferError(CodecsCoreError):
    """This end cannot go on: a source changed, a disk is full, it was interrupted."""


def _rebuild(kind: type[CodecsCoreError], message: str, fields: dict[str, object]) -> object:
    """Unpickle an error whose constructor takes keyword arguments."""
    return kind(message, **fields)
