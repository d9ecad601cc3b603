"""Which codecs the packets of a session may be encoded by, and the numbers they travel under.

A session has one codec, or several between which every channel chooses packet by packet
(`Adaptive`). Both ends hold the same map, method → codec: HELLO offers it, ACCEPT says what of it
the receiver has. What one number stands for is one codec with one set of parameters: two levels of
a codec are two methods.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from codecs_core.codec import Codec, Geometry
from codecs_core.errors import (
    ParameterError,
    PluginError,
    ProtocolError,
    UnknownCodec,
    UsageError,
)
from codecs_core.none import NoneCodec
from codecs_core.registry import AUTO, State, default_registry, get_codec
from codecs_core.wire import control as wire
from codecs_core.wire.packet import BY_NAME

__all__ = [
    "Adaptive", "Choice", "Methods", "agreed", "answered", "choice", "label", "method_of",
    "offered", "taken",
]  # fmt: skip

_TAKEN: Final = frozenset({0, 1, 2, 4, 8, 16})
"""The methods that QEMU has given away."""

Methods: TypeAlias = Mapping[int, Codec]
"""The wire methods of a session, and what each stands for."""


@dataclass(frozen=True)
class Adaptive:
    """Several codecs, between which each channel of a session chooses for every packet.

    Sending pages as they are is always among them. Raises `UsageError` for more codecs than the
    wire has numbers for.
    """

    candidates: tuple[Codec, ...]

    name = AUTO

    def __post_init__(self) -> None:
        if len(self.methods) < len({NoneCodec(), *self.candidates}):
            raise UsageError(
                f"{len(self.candidates)} candidates are more than the wire has methods"
            )

    @classmethod
    def installed(cls, parameters: Mapping[str, Mapping[str, Any]] | None = None) -> Adaptive:
        """All that is installed and can be used here, as each codec suggests itself.

        ``parameters``: those of some codecs that concern this end alone, codec → name → value.
        """
        found: list[Codec] = []
        for name, info in default_registry().items():
            if info.state is State.LOADED and info.codec is not None:
                own = (parameters or {}).get(name, {})
                found += (_made(name, _values(each), own) for each in info.candidates)
        return cls(tuple(found))

    @property
    def methods(self) -> dict[int, Codec]:
        """The numbers: QEMU's own for the first of a codec, for the others from 31 downwards."""
        methods: dict[int, Codec] = {0: NoneCodec()}
        free = (each for each in range(BY_NAME, 0, -1) if each not in _TAKEN)
        for codec in dict.fromkeys(self.candidates):
            if codec == methods[0]:
                continue
            number = codec.method
            if number is None or number in methods:
                number = next(free, None)
            if number is not None:
                methods[number] = codec
        return methods


Choice: TypeAlias = Codec | Adaptive
"""What a sender, or an egress, is told to use."""


def choice(codec: str | Choice, **parameters: Any) -> Choice:
    """Make what ``codec`` names: ``"auto"``, or as `get_codec`. Raises as that."""
    if isinstance(codec, Adaptive) or codec == AUTO:
        if parameters:
            raise UsageError(
                f"{next(iter(parameters))} is for {AUTO!r} to choose; leave it out, or name a codec"
            )
        return codec if isinstance(codec, Adaptive) else Adaptive.installed()
    return get_codec(codec, **parameters)


def method_of(codec: Codec) -> int:
    """The wire method of a session's only codec: QEMU's, or 31 where QEMU has none."""
    return BY_NAME if codec.method is None else codec.method


def label(codec: Codec) -> str:
    """A codec with those of its parameters that are not their defaults: ``zstd level 3``."""
    sent = codec.wire_parameters()
    changed = (
        f" {each.field} {sent[each.field]}"
        for each in codec.parameters()
        if each.field in sent and sent[each.field] != each.default
    )
    return codec.name + "".join(changed)


def offered(chosen: Choice) -> dict[str, Any]:
    """What HELLO says of it: its fields ``codec``, ``parameters`` and ``methods``."""
    if isinstance(chosen, Codec):
        return {"codec": chosen.name, "parameters": chosen.wire_parameters()}
    methods = [
        wire.Method(number, codec.name, codec.wire_parameters())
        for number, codec in chosen.methods.items()
    ]
    return {"codec": AUTO, "parameters": {}, "methods": methods}


def agreed(chosen: Choice, accept: wire.Accept) -> Methods:
    """What is left of an offer after the receiver's answer. Raises `ProtocolError`."""
    if isinstance(chosen, Codec):
        if accept.methods:
            raise ProtocolError("the receiver chose between methods, but one codec was offered")
        return {method_of(chosen): chosen}
    methods = chosen.methods
    if not {0} <= set(accept.methods) <= methods.keys():
        raise ProtocolError(
            f"the receiver takes the methods {sorted(accept.methods)} of {sorted(methods)}, which "
            "must be some of them, and 0 among them"
        )
    return {number: codec for number, codec in methods.items() if number in accept.methods}


def answered(
    hello: wire.Hello, parameters: Mapping[str, Mapping[str, Any]] | None = None
) -> Methods:
    """What of an offer can be used here, with this end's own ``parameters`` by codec.

    Raises `PluginError`, `UnknownCodec` or `ParameterError` for the only codec, `ParameterError`
    for own parameters, `ProtocolError` for an offer that makes no sense.
    """
    own = parameters or {}
    if hello.codec != AUTO:
        if hello.methods:
            raise ProtocolError(f"HELLO offers methods to choose from, and codec {hello.codec!r}")
        codec = _made(hello.codec, hello.parameters, own.get(hello.codec, {}))
        return {method_of(codec): codec}
    return dict(_usable(hello.methods, own, Geometry(hello.page_size, hello.packet_size)))


def taken(hello: wire.Hello, methods: Methods) -> list[int]:
    """What ACCEPT says of ``methods``, the answer to an offer."""
    return sorted(methods) if hello.codec == AUTO else []


def _usable(
    methods: list[wire.Method], own: Mapping[str, Mapping[str, Any]], geometry: Geometry
) -> Iterator[tuple[int, Codec]]:
    seen: set[int] = set()
    for each in methods:
        if each.method in seen or (each.method == 0) != (each.codec == NoneCodec.name):
            raise ProtocolError(f"HELLO offers codec {each.codec!r} as method {each.method}")
        seen.add(each.method)
        try:
            _made(each.codec, each.parameters, {})
        except (UnknownCodec, PluginError, ParameterError):
            # The sender does without what is not here, or not in its version.
            continue
        codec = _made(each.codec, each.parameters, own.get(each.codec, {}))
        # And without what cannot decode here, for want of a device say: better known now.
        with suppress(PluginError):
            codec.decoder(geometry).close()
            yield each.method, codec
    if 0 not in seen:
        raise ProtocolError("HELLO offers methods to choose from, without method 0")


def _values(codec: Codec) -> dict[str, Any]:
    return {each.field: getattr(codec, each.field) for each in codec.parameters()}


def _made(name: str, sent: Mapping[str, Any], own: Mapping[str, Any]) -> Codec:
    """A codec by the parameters that were agreed on, and this end's own."""
    codec = default_registry().codec_class(name)
    fields = {each.name: each.field for each in codec.parameters()}
    return codec.from_parameters(
        {**sent, **{fields.get(key.replace("_", "-"), key): own[key] for key in own}}
    )
