"""The control connection of a link: its preamble, its frames, its messages.

A control connection begins with a preamble of 8 bytes, the magic ``MFDC`` and a version (u32),
which tells it from a multifd channel. Then come frames, each way: type (u8), length (u32), body.
The body of DATA is raw bytes; all other bodies are JSON objects, checked field by field. Every
length is bounded by its type before anything is allocated::

    sender                             receiver
    HELLO  ─────────────────────────▶
           ◀─────────────────────────  ACCEPT (or REJECT, with reason and remedy)
    … the channels join …
           ◀─────────────────────────  HELD, where there is something to go on with
    … the channels carry packets …
           ◀─────────────────────────  SYNCED, once all channels have passed a SYNC
    DONE   ─────────────────────────▶
           ◀─────────────────────────  ACK, once everything is stored

ERROR may come from either side at any time; so does KEEPALIVE, which shows that a side lives.

Where both sides have agreed on repair, each connection of the session may be lost and made again.
RECEIVED and ENDED tell how much of a stream was taken, and how long it is, LOST that a connection
should be made again. The new one begins with the preamble and REJOIN, which REJOINED answers; then
the stream goes on in both directions behind what the other end has taken. The control connection
is link 255, channels have their numbers. What is counted begins behind ACCEPT, and behind a
channel's init.
"""

from __future__ import annotations

import enum
import struct
from typing import Annotated, ClassVar, Final, Literal, TypeAlias, get_args

import msgspec
from msgspec import Meta
from xxhash import xxh3_64

from codecs_core.codec import Buffer
from codecs_core.errors import ProtocolError
from codecs_core.wire.packet import BLOCK_NAME_SIZE, BY_NAME

__all__ = [
    "FRAME_HEADER_SIZE",
    "PREAMBLE",
    "PREAMBLE_SIZE",
    "Accept",
    "Ack",
    "BlockInfo",
    "Data",
    "Done",
    "Ended",
    "Error",
    "Held",
    "Hello",
    "KeepAlive",
    "Lost",
    "Message",
    "Method",
    "Received",
    "Reject",
    "Rejoin",
    "Rejoined",
    "Synced",
    "Type",
    "check_preamble",
    "decode",
    "decode_frame_header",
    "encode",
    "is_sealed",
    "seal",
]

CONTROL_MAGIC: Final = b"MFDC"
CONTROL_VERSION: Final = 1
_PREAMBLE = struct.Struct(">4sI")
PREAMBLE: Final = _PREAMBLE.pack(CONTROL_MAGIC, CONTROL_VERSION)
PREAMBLE_SIZE: Final = _PREAMBLE.size
_FRAME = struct.Struct(">BI")
FRAME_HEADER_SIZE: Final = _FRAME.size
TLS_HANDSHAKE: Final = b"\x16\x03"
TLS_ALERT: Final = b"\x15\x03"
"""What a peer begins with that speaks TLS, and what it answers who does not."""

_UNSEALED: Final = "0" * 16
MAX_TEXT = 4096
Count = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Text = Annotated[str, Meta(max_length=MAX_TEXT)]
Digest = Annotated[str, Meta(pattern="^[0-9a-f]{32}$")]
Number = Annotated[int, Meta(ge=0, le=255)]
Token = Annotated[str, Meta(pattern="^[0-9a-f]{32}$")]
MethodNumber = Annotated[int, Meta(ge=0, le=BY_NAME)]
CodecName = Annotated[str, Meta(min_length=1, max_length=64)]
Parameters = dict[Annotated[str, Meta(max_length=64)], bool | int | Text]
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
    HELD = 10
    RECEIVED = 11
    ENDED = 12
    LOST = 13
    REJOIN = 14
    REJOINED = 15


class _Body(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    type: ClassVar[Type]
    limit: ClassVar[int] = 64 * 1024
    """The longest body accepted, in bytes."""


class BlockInfo(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A block of the sender's. ``size`` in bytes; ``None`` for a stream of unknown size."""

    name: BlockName
    size: Count | None


class Method(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A wire method (0 to 31), and the codec with its parameters that it stands for."""

    method: MethodNumber
    codec: CodecName
    parameters: Parameters


class Hello(_Body, frozen=True, omit_defaults=True):
    """The sender's offer: sizes in bytes, the codec by name with its parameters, the blocks.

    ``shared``: the one channel travels in DATA frames of this connection, because the transport
    gives no other. ``relay``: the link carries a migration between two QEMUs. DATA frames are
    then the main channel, verbatim and both ways, and an empty one ends its direction; up to
    ``channels`` channels may join, whenever they come. ``checksum`` names what every packet
    carries of its header and its pages, see `codecs_core.wire.checksum`. ``verify``: DONE will
    bring the digests of whole blocks. ``resume``: this sender compares what the receiver holds.
    ``retry_for``: how many seconds a lost connection may take to be made again; 0 where the
    sender will not. ``methods``: with the codec ``auto``, what packets may be encoded by.
    """

    type: ClassVar[Type] = Type.HELLO
    limit: ClassVar[int] = 1 << 20
    page_size: Count
    packet_size: Count
    channels: Annotated[int, Meta(ge=1, le=255)]
    codec: CodecName
    parameters: Parameters
    blocks: list[BlockInfo]
    shared: bool = False
    relay: bool = False
    checksum: Literal["xxh3-64"] | None = None
    verify: Literal["full"] | None = None
    resume: bool = False
    retry_for: Annotated[float, Meta(ge=0, le=86400)] = 0
    methods: Annotated[list[Method], Meta(max_length=BY_NAME + 1)] = []


class Accept(_Body, frozen=True, omit_defaults=True):
    """The receiver is ready. ``token`` (32 hex digits) is the uuid that channels present.

    ``zeroed`` names the blocks that read as zero already, so that holes need not be sent,
    ``held`` those that an earlier transfer has left something in, of which HELD will tell.
    ``repair``: lost connections may be made again, as HELLO has offered. ``methods``: which of
    those that HELLO has offered this end has; 0 is always among them.
    """

    type: ClassVar[Type] = Type.ACCEPT
    limit: ClassVar[int] = 1 << 20
    token: Token
    zeroed: list[BlockName] = []
    held: list[BlockName] = []
    repair: bool = False
    methods: Annotated[list[MethodNumber], Meta(max_length=BY_NAME + 1)] = []


class Reject(_Body, frozen=True):
    """The receiver does not take the offer."""

    type: ClassVar[Type] = Type.REJECT
    reason: Text


class Synced(_Body, frozen=True):
    """All channels have passed their SYNC number ``number`` (from 1), and all before is stored."""

    type: ClassVar[Type] = Type.SYNCED
    number: Count


class Done(_Body, frozen=True, omit_defaults=True):
    """All is sent: how many pages of each kind, and the final sizes of the streams, in bytes.

    ``skipped_pages`` were not sent, as they are zero at both ends, ``held_pages``, as the receiver
    has proven to hold them. ``digests`` are the XXH3-128 of the blocks, where HELLO has said so.
    ``checksum``, see `seal`, covers what both ends have
    agreed on, where packets have checksums.
    """

    type: ClassVar[Type] = Type.DONE
    limit: ClassVar[int] = 2 << 20
    normal_pages: Count
    zero_pages: Count
    skipped_pages: Count
    sizes: dict[BlockName, Count]
    held_pages: Count = 0
    digests: dict[BlockName, Digest] = {}
    checksum: Annotated[str, Meta(pattern="^[0-9a-f]{16}$")] | None = None


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


class Held(_Body, frozen=True):
    """What the receiver holds of a block: the XXH3-128 of extents, from number ``first`` on.

    An extent is what a full packet holds. Extents that no message tells of read as zero. The last
    message for a block has no digests.
    """

    type: ClassVar[Type] = Type.HELD
    block: BlockName
    first: Count
    digests: Annotated[list[Digest], Meta(max_length=1024)]


class Received(_Body, frozen=True):
    """So many bytes of a link's stream were taken."""

    type: ClassVar[Type] = Type.RECEIVED
    link: Number
    count: Count


class Ended(_Body, frozen=True):
    """A link's stream has so many bytes in all."""

    type: ClassVar[Type] = Type.ENDED
    link: Number
    count: Count


class Lost(_Body, frozen=True):
    """Connection ``epoch``, from 0, of a link is lost: make another."""

    type: ClassVar[Type] = Type.LOST
    link: Number
    epoch: Count


class Rejoin(_Body, frozen=True):
    """A new connection for a link of the session with this token, of which so much was taken."""

    type: ClassVar[Type] = Type.REJOIN
    token: Token
    link: Number
    count: Count


class Rejoined(_Body, frozen=True):
    """The new connection is taken; of the other direction, so much was."""

    type: ClassVar[Type] = Type.REJOINED
    count: Count


class Data(msgspec.Struct, frozen=True):
    """Raw bytes of a stream that has no connection of its own."""

    type: ClassVar[Type] = Type.DATA
    limit: ClassVar[int] = 8 << 20
    data: bytes


Message: TypeAlias = (
    Hello | Accept | Reject | Synced | Done | Ack | Error | KeepAlive | Held | Received | Ended
    | Lost | Rejoin | Rejoined | Data
)  # fmt: skip
_BODIES: Final[dict[int, type[Message]]] = {each.type: each for each in get_args(Message)}


def seal(done: Done, agreed: xxh3_64) -> Done:
    """Return DONE with a checksum of all that was agreed on, and of itself.

    ``agreed`` has taken the bodies of HELLO, ACCEPT and every HELD. The checksum is the XXH3-64 of
    these and of the body of DONE after each other, whose own 16 digits are 0.
    """
    body = msgspec.json.encode(msgspec.structs.replace(done, checksum=_UNSEALED))
    return msgspec.structs.replace(done, checksum=_checksum(agreed, body))


def is_sealed(done: Done, body: bytes, agreed: xxh3_64) -> bool:
    """Tell whether both ends have said and heard the same; ``body`` is that of ``done``."""
    if done.checksum is None:
        return False
    unsealed = body.replace(done.checksum.encode(), _UNSEALED.encode())
    return done.checksum == _checksum(agreed, unsealed)


def _checksum(agreed: xxh3_64, body: bytes) -> str:
    whole = agreed.copy()
    whole.update(body)
    return whole.hexdigest()


def check_preamble(data: Buffer, peer: str = "a connection") -> None:
    """Raise `ProtocolError` unless ``data``, of ``peer``, is the preamble of this version."""
    magic, version = _PREAMBLE.unpack(data)
    if magic[:2] == TLS_HANDSHAKE:
        raise ProtocolError(
            f"{peer} begins with TLS, which is not asked for here; remedy: --tls-creds at both "
            "ends, or at none"
        )
    if magic != CONTROL_MAGIC:
        raise ProtocolError(
            f"{peer} begins with {bytes(data[:4]).hex(' ')}, which is neither a control "
            "connection nor a multifd channel"
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


def decode_frame_header(data: Buffer, peer: str = "the peer") -> tuple[Type, int]:
    """Read the 5 bytes before a body, of ``peer``: its type and length.

    Raises `ProtocolError` for an unknown type or a length above the type's limit.
    """
    kind, length = _FRAME.unpack(data)
    if data[:2] == TLS_ALERT:
        raise ProtocolError(f"{peer} asks for TLS; remedy: --tls-creds here, too")
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
