"""The control connection of a link: its preamble, its frames, its messages.

A control connection begins with a preamble of 8 bytes, the magic ``MFDC`` and a version (u32),
which tells it from a multifd channel. Then come frames, each way: type (u8), length (u32), body.
The body of DATA is raw bytes; all other bodies are JSON objects, checked field by field. Every
length is bounded by its type before anything is allocated::

    sender                             receiver
    HELLO  ─────────────────────────▶
           ◀─────────────────────────  ACCEPT (or REJECT, with reason and remedy)
    … the channels join and carry packets …
           ◀─────────────────────────  SYNCED, once all channels have passed a SYNC
    DONE   ─────────────────────────▶
           ◀─────────────────────────  ACK, once everything is stored

ERROR may come from either side at any time; so does KEEPALIVE, which shows that a side lives.
"""

from __future__ import annotations

import enum
import struct
from typing import Annotated, ClassVar, Final, TypeAlias

import msgspec
from msgspec import Meta

from codecs_core.codec import Buffer
from codecs_core.errors import ProtocolError
from codecs_core.wire.packet import BLOCK_NAME_SIZE

__all__ = [
    "FRAME_HEADER_SIZE",
    "PREAMBLE",
    "PREAMBLE_SIZE",
    "Accept",
    "Ack",
    "BlockInfo",
    "Data",
    "Done",
    "Error",
    "Hello",
    "KeepAlive",
    "Message",
    "Reject",
    "Synced",
    "Type",
    "check_preamble",
    "decode",
    "decode_frame_header",
    "encode",
]

CONTROL_MAGIC: Final = b"MFDC"
CONTROL_VERSION: Final = 1
_PREAMBLE = struct.Struct(">4sI")
PREAMBLE: Final = _PREAMBLE.pack(CONTROL_MAGIC, CONTROL_VERSION)
PREAMBLE_SIZE: Final = _PREAMBLE.size
_FRAME = struct.Struct(">BI")
FRAME_HEADER_SIZE: Final = _FRAME.size

MAX_TEXT = 4096
Count = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Text = Annotated[str, Meta(max_length=MAX_TEXT)]
BlockName = Annotated[str, Meta(min_length=1, max_length=BLOCK_NAME_SIZE - 1)]


class Type(enum.IntEnum):
    """The types of frames, as on the wire."""

    HELLO = 1
    ACCEPT = 2
    REJECT = 3
    DATA = 4
    SYNCED = 5
    DONE = 6
    ACK = 7
    ERROR = 8
    KEEPALIVE = 9


class _Body(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    type: ClassVar[Type]
    limit: ClassVar[int] = 64 * 1024
    """The longest body accepted, in bytes."""


class BlockInfo(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A block of the sender's. ``size`` in bytes; ``None`` for a stream of unknown size."""

    name: BlockName
    size: Count | None


class Hello(_Body, frozen=True):
    """The sender's offer: sizes in bytes, the codec by name with its parameters, the blocks.

    ``shared``: the one channel travels in DATA frames of this connection, because the transport
    gives no other. ``relay``: the link carries a migration between two QEMUs. DATA frames are
    then the main channel, verbatim and both ways, and an empty one ends its direction; up to
    ``channels`` channels may join, whenever they come.
    """

    type: ClassVar[Type] = Type.HELLO
    limit: ClassVar[int] = 1 << 20
    page_size: Count
    packet_size: Count
    channels: Annotated[int, Meta(ge=1, le=255)]
    codec: Annotated[str, Meta(min_length=1, max_length=64)]
    parameters: dict[Annotated[str, Meta(max_length=64)], bool | int | Text]
    blocks: list[BlockInfo]
    shared: bool = False
    relay: bool = False


class Accept(_Body, frozen=True):
    """The receiver is ready. ``token`` (32 hex digits) is the uuid that channels present.

    ``zeroed`` names the blocks that read as zero already, so that holes need not be sent.
    """

    type: ClassVar[Type] = Type.ACCEPT
    limit: ClassVar[int] = 1 << 20
    token: Annotated[str, Meta(pattern="^[0-9a-f]{32}$")]
    zeroed: list[BlockName] = []


class Reject(_Body, frozen=True):
    """The receiver does not take the offer."""

    type: ClassVar[Type] = Type.REJECT
    reason: Text


class Synced(_Body, frozen=True):
    """All channels have passed their SYNC number ``number`` (from 1), and all before is stored."""

    type: ClassVar[Type] = Type.SYNCED
    number: Count


class Done(_Body, frozen=True):
    """All is sent: how many pages of each kind, and the final sizes of the streams, in bytes.

    ``skipped_pages`` were not sent, as they are zero at both ends.
    """

    type: ClassVar[Type] = Type.DONE
    normal_pages: Count
    zero_pages: Count
    skipped_pages: Count
    sizes: dict[BlockName, Count]


class Ack(_Body, frozen=True):
    """Everything has arrived and is stored under its final name."""

    type: ClassVar[Type] = Type.ACK


class Error(_Body, frozen=True):
    """This side has failed, and why."""

    type: ClassVar[Type] = Type.ERROR
    reason: Text


class KeepAlive(_Body, frozen=True, omit_defaults=True):
    """This side lives.

    ``sent``: by channel, how many packets it has begun to send, and whether those are all. A
    channel that stands still on the way, or ends there, is noticed by that.
    """

    type: ClassVar[Type] = Type.KEEPALIVE
    sent: dict[Annotated[int, Meta(ge=0, le=255)], tuple[Count, bool]] = {}


class Data(msgspec.Struct, frozen=True):
    """Raw bytes of a stream that has no connection of its own."""

    type: ClassVar[Type] = Type.DATA
    limit: ClassVar[int] = 8 << 20
    data: bytes


Message: TypeAlias = Hello | Accept | Reject | Synced | Done | Ack | Error | KeepAlive | Data
_BODIES: Final[dict[int, type[Message]]] = {
    each.type: each for each in (Hello, Accept, Reject, Synced, Done, Ack, Error, KeepAlive, Data)
}


def check_preamble(data: Buffer) -> None:
    """Raise `ProtocolError` unless ``data`` is the preamble that this version speaks."""
    magic, version = _PREAMBLE.unpack(data)
    if magic != CONTROL_MAGIC:
        raise ProtocolError(
            f"a connection begins with {bytes(data[:4]).hex(' ')}, which is neither a control "
            f"connection nor a multifd channel"
        )
    if version != CONTROL_VERSION:
        raise ProtocolError(
            f"the peer speaks version {version} of the control protocol, this end version "
            f"{CONTROL_VERSION}; install the same release of codecs-core on both ends"
        )


def frame_header(kind: Type, length: int) -> bytes:
    """Return the 5 bytes before a body of ``length`` bytes."""
    return _FRAME.pack(kind, length)


def encode(message: Message) -> bytes:
    """Return a message as a whole frame. Raises `ProtocolError` where it exceeds its limit."""
    body = message.data if isinstance(message, Data) else msgspec.json.encode(message)
    if len(body) > message.limit:
        raise ProtocolError(
            f"a {message.type.name} of {len(body)} bytes; the limit is {message.limit}"
        )
    return frame_header(message.type, len(body)) + body


def decode_frame_header(data: Buffer) -> tuple[Type, int]:
    """Read the 5 bytes before a body: its type and length.

    Raises `ProtocolError` for an unknown type or a length above the type's limit.
    """
    kind, length = _FRAME.unpack(data)
    if kind not in _BODIES:
        raise ProtocolError(f"control message of unknown type {kind}")
    message = _BODIES[kind]
    if length > message.limit:
        raise ProtocolError(
            f"a {message.type.name} of {length} bytes; the limit is {message.limit}"
        )
    return message.type, length


def decode(kind: Type, body: Buffer) -> Message:
    """Read the body of a message. Raises `ProtocolError` naming the field that does not fit."""
    message = _BODIES[kind]
    if message is Data:
        return Data(bytes(body))
    try:
        return msgspec.json.decode(body, type=message)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ProtocolError(f"{kind.name} message: {error}") from None
