"""What stands between the core and the code of a codec.

A plugin is a stranger's code. Whatever its encoders, decoders and packers raise or return against
the contract becomes one `BrokenPlugin` that names the codec, its distribution and what it did. What
the contract lets them raise passes, and so do Ctrl-C and the lack of memory.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, TypeVar

from codecs_core.codec import Buffer, Codec, Decoder, Encoder
from codecs_core.discovery import described, words
from codecs_core.errors import BrokenPlugin, CodecError, CodecsCoreError, CorruptPayload
from codecs_core.file_format import FilePacker
from codecs_core.registry import AUTHOR, default_registry

if TYPE_CHECKING:
    from codecs_core.codec import Geometry

__all__ = ["blamed", "guarded_decoder", "guarded_encoder", "guarded_packer"]

_Result = TypeVar("_Result")


def guarded_encoder(codec: Codec, geometry: Geometry) -> Encoder:
    """Make the encoder of one channel, and hold it to the contract.

    Raises `CodecUnavailable` as the codec does, `BrokenPlugin` where what it makes is no encoder.
    """
    encoder = _called(codec, "encoder()", lambda: codec.encoder(geometry))
    if not isinstance(encoder, Encoder):
        raise _broken(codec, f"encoder() returned {_kind(encoder)}, which is no Encoder")
    return _GuardedEncoder(codec, encoder, geometry.max_payload)


def guarded_decoder(codec: Codec, geometry: Geometry) -> Decoder:
    """Make the decoder of one channel, and hold it to the contract. Raises as `guarded_encoder`."""
    decoder = _called(codec, "decoder()", lambda: codec.decoder(geometry))
    if not isinstance(decoder, Decoder):
        raise _broken(codec, f"decoder() returned {_kind(decoder)}, which is no Decoder")
    return _GuardedDecoder(codec, decoder)


def guarded_packer(codec: Codec) -> FilePacker:
    """Make what packs one file, and hold it to the contract. Raises `BrokenPlugin`."""
    packer = _called(codec, "file_packer()", codec.file_packer)
    if not isinstance(packer, FilePacker):
        raise _broken(codec, f"file_packer() returned {_kind(packer)}, which is no FilePacker")
    size: object = packer.piece_size
    if type(size) is not int or size < 1:
        raise _broken(codec, f"its packer's piece_size is {size!r}, not a number of bytes")
    return _GuardedPacker(codec, packer)


def blamed(error: BaseException) -> str:
    """Say what an unexpected error is, and which plugin's code it comes from, if from any's."""
    for frame, _ in reversed(list(traceback.walk_tb(error.__traceback__))):
        package = _package(str(frame.f_globals.get("__name__")))
        for info in default_registry().known():
            if info.codec and package == _package(info.codec.__module__) != "codecs_core":
                what = described(error, package)
                return f"{what} in the plugin for codec {info.name!r} ({info.provider}); {AUTHOR}"
    return described(error, "")


class _GuardedEncoder(Encoder):
    """Payloads are bytes, and as many as are allowed."""

    def __init__(self, codec: Codec, encoder: Encoder, max_payload: int) -> None:
        self._codec = codec
        self._encoder = encoder
        self._encode = encoder.encode
        self._max_payload = max_payload

    def encode(self, packet: memoryview, /) -> Buffer:
        # Not `_called`: once a packet.
        try:
            payload = self._encode(packet)
        except BaseException as error:
            _account(self._codec, "encode()", error)
            raise
        if type(payload) is not bytes:
            payload = _flat(self._codec, "encode()", payload)
        if not 0 < len(payload) <= self._max_payload:
            raise _broken(
                self._codec,
                f"encode() made {len(payload)} bytes of a packet of {len(packet)}; "
                f"1 to {self._max_payload} are allowed",
            )
        return payload

    def statistics(self) -> Mapping[str, int]:
        return _counters(self._encoder)

    def close(self) -> None:
        _called(self._codec, "close()", self._encoder.close)


class _GuardedDecoder(Decoder):
    """Packets are written to, and nothing is returned."""

    def __init__(self, codec: Codec, decoder: Decoder) -> None:
        self._codec = codec
        self._decoder = decoder
        self._decode_into: Callable[[memoryview, memoryview], object] = decoder.decode_into

    def decode_into(self, payload: memoryview, packet: memoryview, /) -> None:
        try:
            left = self._decode_into(payload, packet)
        except BaseException as error:
            _account(self._codec, "decode_into()", error)
            raise
        if left is not None:
            raise _broken(
                self._codec,
                f"decode_into() returned {_kind(left)}; it writes to the packet that it is given, "
                "and returns nothing",
            )

    def statistics(self) -> Mapping[str, int]:
        return _counters(self._decoder)

    def close(self) -> None:
        _called(self._codec, "close()", self._decoder.close)


class _GuardedPacker(FilePacker):
    """What is written to a file is bytes."""

    def __init__(self, codec: Codec, packer: FilePacker) -> None:
        self._codec = codec
        self._packer = packer
        self.piece_size = packer.piece_size

    def pack(self, piece: memoryview, /) -> Buffer:
        return self._bytes("pack()", lambda: self._packer.pack(piece))

    def join(self, packed: Buffer, /) -> Buffer:
        return self._bytes("join()", lambda: self._packer.join(packed))

    def end(self) -> Buffer:
        return self._bytes("end()", self._packer.end)

    def break_off(self) -> Buffer:
        return self._bytes("break_off()", self._packer.break_off)

    def close(self) -> None:
        _called(self._codec, "close()", self._packer.close)

    def _bytes(self, call: str, function: Callable[[], Buffer]) -> Buffer:
        result = _called(self._codec, call, function)
        _flat(self._codec, call, result)
        # As it came: `join` gets what `pack` has returned.
        return result


def _flat(codec: Codec, call: str, result: Buffer) -> memoryview:
    try:
        return memoryview(result).cast("B")
    except TypeError:
        raise _broken(codec, f"{call} returned {_kind(result)}, not contiguous bytes") from None


def _counters(session: Encoder | Decoder) -> Mapping[str, int]:
    """Return a session's counters: those that are some. No transfer fails for an ornament."""
    try:
        return {
            name: count
            for name, count in session.statistics().items()
            if isinstance(name, str) and type(count) is int
        }
    except Exception:
        return {}


def _called(codec: Codec, what: str, function: Callable[[], _Result]) -> _Result:
    try:
        return function()
    except BaseException as error:
        _account(codec, what, error)
        raise


def _account(codec: Codec, call: str, error: BaseException) -> None:
    """Raise `BrokenPlugin` for an ``error`` that the contract does not know."""
    if isinstance(error, (KeyboardInterrupt, GeneratorExit, MemoryError)):
        return
    if isinstance(error, CodecsCoreError):
        # Others make the error anew, with the packet's number; one of the plugin's own kind may
        # take anything for that.
        if isinstance(error, CodecError) and type(error).__module__ != CodecError.__module__:
            kind = CorruptPayload if isinstance(error, CorruptPayload) else CodecError
            raise kind(words(error)) from error
        return
    raise _broken(codec, f"{call} raised {described(error, type(codec).__module__)}") from error


def _broken(codec: Codec, what: str) -> BrokenPlugin:
    info = next((i for i in default_registry().known() if i.codec is type(codec)), None)
    provider = info.provider if info else type(codec).__module__
    return BrokenPlugin(
        f"codec {codec.name!r} ({provider}) breaks its contract: {what}; {AUTHOR}", name=codec.name
    )


def _package(module: str) -> str:
    return module.partition(".")[0]


def _kind(value: object) -> str:
    return "None" if value is None else f"an object of type {type(value).__name__!r}"
