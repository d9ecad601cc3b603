"""The codec contract: all that a plugin author needs to know.

A codec is a **frozen dataclass whose fields are its parameters**. An instance is a codec ready
to use: comparable, hashable, picklable. It makes one `Encoder` or `Decoder` for each channel,
and each of these is used by one thread at a time. No codec knows a socket, no channel knows a
particular codec::

    @dataclass(frozen=True)
    class RleCodec(Codec):
        name = "rle"
        level: int = parameter(1, minimum=0, maximum=9, help="Effort; 0 is fastest.")

        def encoder(self, geometry): ...
        def decoder(self, geometry): ...

Whatever else shows a codec's parameters (the command line, the handshake, the listing, the
documentation) derives them from the dataclass.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

from codecs_core.errors import CorruptPayload, ParameterError, UsageError
from codecs_core.file_format import Buffer, FileFormat

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

__all__ = [
    "DEFAULT_GEOMETRY",
    "HARDWARE_PACKETS",
    "SOFTWARE_PACKETS",
    "Availability",
    "Buffer",
    "Codec",
    "Decoder",
    "Encoder",
    "Geometry",
    "Parameter",
    "exactly",
    "parameter",
]


@dataclass(frozen=True, slots=True)
class Geometry:
    """The sizes, in bytes, that both ends of a link have agreed on.

    The defaults are QEMU's on x86: 4 KiB pages, 128 of them a packet. Raises `UsageError` where
    a size is no power of two, or a packet is not 1 to 4096 whole pages.
    """

    page_size: int = 4096
    packet_size: int = 512 * 1024

    def __post_init__(self) -> None:
        for name, size, least, most in (
            ("page size", self.page_size, 512, 1 << 21),
            ("packet size", self.packet_size, self.page_size, 1 << 21),
        ):
            if size.bit_count() != 1 or not least <= size <= most:
                raise UsageError(
                    f"{name} {size} is not a power of two between {least} and {most} bytes"
                )

    @property
    def pages_per_packet(self) -> int:
        """How many pages the largest packet holds."""
        return self.packet_size // self.page_size

    @property
    def max_payload(self) -> int:
        """The largest payload a packet may carry: twice its pages, as QEMU accepts."""
        return 2 * self.packet_size


DEFAULT_GEOMETRY = Geometry()

HARDWARE_PACKETS = "hardware_packets"
SOFTWARE_PACKETS = "software_packets"
"""What a session that may use a device calls its two counters, so that its share is shown."""


@dataclass(frozen=True, slots=True)
class Availability:
    """Whether a codec can be used on this host.

    ``backend`` names what does the work (``"isal 1.9.1"``, ``"libqatzip 1.3.1, hardware"``).
    Where ``available`` is false, ``reason`` says why in a few words and ``remedy`` what to do
    about it, best as a command.
    """

    available: bool = True
    backend: str = ""
    reason: str = ""
    remedy: str = ""


class _Session:
    """What encoders and decoders share: they are closed once, by hand or by ``with``."""

    __slots__ = ()

    def statistics(self) -> Mapping[str, int]:
        """Counters of what the session has done so far, by name; none where there is no need.

        Progress shows them for each channel. They only ever rise. Another thread may ask at any
        time, also after `close`. A session that may use a device counts `HARDWARE_PACKETS` and
        `SOFTWARE_PACKETS`.
        """
        return {}

    def close(self) -> None:
        """Release what the session holds. Calling it again does nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class Encoder(_Session, ABC):
    """Compresses the packets of one channel, in order. Used by one thread at a time.

    History across packets is the encoder's own affair: the decoder at the other end sees the
    same packets in the same order, or, after a lost connection, both start afresh.
    """

    __slots__ = ()

    @abstractmethod
    def encode(self, packet: memoryview, /) -> Buffer:
        """Return the payload for one packet.

        ``packet`` holds the packet's pages, contiguous: at least one page, at most
        ``geometry.packet_size`` bytes, a whole number of pages. It may be read-only and must
        not be kept. The result is valid until the next call and may be at most
        ``geometry.max_payload`` bytes. Work on a whole packet should release the GIL.
        Raises `CodecError` where the library fails.
        """


class Decoder(_Session, ABC):
    """Decompresses the packets of one channel, in order. Used by one thread at a time."""

    __slots__ = ()

    @abstractmethod
    def decode_into(self, payload: memoryview, packet: memoryview, /) -> None:
        """Fill ``packet``, to its last byte, from ``payload``.

        ``payload`` comes from the network and may be anything, of up to
        ``geometry.max_payload`` bytes. Raises `CorruptPayload` unless it decodes to exactly
        ``len(packet)`` bytes with nothing left over; never writes past the packet, and never
        allocates by what the payload claims. After an error the decoder is not used again.
        """


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of a codec, as the command line, the handshake and the docs show it.

    ``name`` follows QEMU: field ``level`` of codec ``zstd`` is ``multifd-zstd-level``.
    ``kind`` is ``int``, ``bool`` or ``str``; bounds are inclusive, ``None`` is no bound.
    A ``local`` parameter concerns its own end alone and is not sent in the handshake.
    """

    name: str
    field: str
    kind: type
    default: Any
    minimum: int | None
    maximum: int | None
    choices: tuple[str, ...] | None
    help: str
    local: bool

    @property
    def expectation(self) -> str:
        """What a value must be, in words: ``a value between 0 and 20``."""
        if self.choices is not None:
            return "one of " + ", ".join(self.choices)
        if self.kind is bool:
            return "true or false"
        if self.kind is str:
            return "a string"
        if self.minimum is not None and self.maximum is not None:
            return f"a value between {self.minimum} and {self.maximum}"
        if self.minimum is not None:
            return f"a value of at least {self.minimum}"
        if self.maximum is not None:
            return f"a value of at most {self.maximum}"
        return "an integer"

    def check(self, value: object) -> None:
        """Raise `ParameterError` unless ``value`` has the type and lies in the range."""
        fits = type(value) is self.kind
        if fits and isinstance(value, int):
            fits = (self.minimum is None or value >= self.minimum) and (
                self.maximum is None or value <= self.maximum
            )
        if fits and self.choices is not None:
            fits = value in self.choices
        if not fits:
            raise ParameterError(
                f"{self.name} expects {self.expectation}, not {value!r} (default {self.default!r})",
                parameter=self.name,
                value=value,
            )


def parameter(
    default: int | bool | str,
    *,
    minimum: int | None = None,
    maximum: int | None = None,
    choices: tuple[str, ...] | None = None,
    help: str,
    local: bool = False,
) -> Any:
    """Declare a field of a codec's dataclass as a parameter.

    The type of ``default`` (``int``, ``bool`` or ``str``) is the parameter's type. ``minimum``
    and ``maximum`` are inclusive. ``local`` parameters choose how this end works (which backend
    serves, say) and stay out of the handshake.
    """
    return dataclasses.field(
        default=default,
        metadata={
            "minimum": minimum,
            "maximum": maximum,
            "choices": choices,
            "help": help,
            "local": local,
        },
    )


@dataclass(frozen=True)
class Codec(FileFormat, ABC):
    """A compression method with its parameters. Subclass it as a frozen dataclass.

    Construction checks every parameter and raises `ParameterError` for the first that does not
    fit.
    """

    name: ClassVar[str]
    """The value of ``multifd-compression``; also the name of the plugin's entry point."""

    method: ClassVar[int | None] = None
    """QEMU's wire method, bits 1-5 of the packet flags; ``None`` where QEMU has none. Such a
    codec travels as method 31 and is agreed by name in the handshake."""

    def __post_init__(self) -> None:
        for each in self.parameters():
            each.check(getattr(self, each.field))

    @classmethod
    def parameters(cls) -> tuple[Parameter, ...]:
        """The codec's parameters, in the order of its fields."""
        return tuple(
            Parameter(
                name=f"multifd-{cls.name}-{field.name.replace('_', '-')}",
                field=field.name,
                kind=type(field.default),
                default=field.default,
                minimum=field.metadata.get("minimum"),
                maximum=field.metadata.get("maximum"),
                choices=field.metadata.get("choices"),
                help=field.metadata.get("help", ""),
                local=field.metadata.get("local", False),
            )
            for field in dataclasses.fields(cls)
        )

    @classmethod
    def from_parameters(cls, values: Mapping[str, Any]) -> Self:
        """Make a codec from parameters under any of their spellings.

        ``level``, ``multifd_zstd_level`` and ``multifd-zstd-level`` are the same. Raises
        `ParameterError` for a parameter that the codec does not have, or that is given twice.
        """
        fields = {each.name: each.field for each in cls.parameters()}
        fields |= {field.replace("_", "-"): field for field in fields.values()}
        chosen: dict[str, Any] = {}
        for name, value in values.items():
            field = fields.get(name.replace("_", "-"))
            if field is None:
                known = ", ".join(each.name for each in cls.parameters()) or "no parameters"
                raise ParameterError(
                    f"codec {cls.name!r} has no parameter {name!r}; it has {known}",
                    parameter=name,
                    value=value,
                )
            if field in chosen:
                raise ParameterError(
                    f"{name} gives the parameter {field!r} of codec {cls.name!r} again",
                    parameter=name,
                    value=value,
                )
            chosen[field] = value
        return cls(**chosen)

    @classmethod
    def candidates(cls) -> Sequence[Self]:
        """The codec as ``--multifd-compression auto`` may use it: some levels, cheapest first.

        By default once, with its default parameters. A level is tried when the one before it has
        turned out worth while, so each should take longer and pack tighter than the one before.
        An empty sequence keeps the codec out.
        """
        return (cls(),)

    def wire_parameters(self) -> dict[str, int | bool | str]:
        """The parameters that the handshake carries, by field name: all but the local ones."""
        return {
            each.field: getattr(self, each.field) for each in self.parameters() if not each.local
        }

    @classmethod
    def availability(cls) -> Availability:
        """Tell whether the codec can work on this host, and with what. Must not raise."""
        return Availability()

    @abstractmethod
    def encoder(self, geometry: Geometry = DEFAULT_GEOMETRY) -> Encoder:
        """Make the encoder of one channel. Raises `CodecUnavailable` where it cannot."""

    @abstractmethod
    def decoder(self, geometry: Geometry = DEFAULT_GEOMETRY) -> Decoder:
        """Make the decoder of one channel. Raises `CodecUnavailable` where it cannot."""


def exactly(codec: str, produced: int, packet: memoryview) -> None:
    """Raise `CorruptPayload` unless ``produced`` bytes are exactly the packet's."""
    if produced != len(packet):
        raise CorruptPayload(
            f"{codec}: the payload decodes to {produced} bytes, the header announced {len(packet)}"
        )
