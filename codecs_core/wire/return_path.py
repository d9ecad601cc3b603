"""QEMU's return path: what a migration's destination says to its source, without I/O.

It runs on the main channel, against the stream's direction. Every message is a type (u16), a
length (u16) and so many bytes, big-endian. Source: QEMU's ``migration/migration.c``.
"""

from __future__ import annotations

import enum
import struct
from dataclasses import dataclass
from typing import Final

from codecs_core.codec import Buffer
from codecs_core.errors import ProtocolError

__all__ = ["Message", "MessageType", "ReturnPathParser"]

_HEADER: Final = struct.Struct(">HH")
MAX_LENGTH: Final = 512
"""The longest message that QEMU's source accepts, in bytes."""


class MessageType(enum.IntEnum):
    """What a message says."""

    SHUT = 1
    """The destination has ended; a u32, 0 where the guest has arrived."""
    PONG = 2
    REQ_PAGES_ID = 3
    REQ_PAGES = 4
    RECV_BITMAP = 5
    RESUME_ACK = 6
    SWITCHOVER_ACK = 7


_TYPES: Final = frozenset(MessageType)


@dataclass(frozen=True, slots=True)
class Message:
    """One message."""

    type: MessageType
    body: bytes

    @property
    def arrived(self) -> bool | None:
        """Whether the guest has arrived; ``None`` in messages that do not tell."""
        return not any(self.body) if self.type is MessageType.SHUT else None


class ReturnPathParser:
    """Turns the bytes of a return path into messages. Memory: one message."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: Buffer) -> list[Message]:
        """Take bytes of any length and return the messages they complete.

        Raises `ProtocolError` for an unknown type or a length above `MAX_LENGTH`.
        """
        self._buffer += data
        messages = []
        used = 0
        while len(self._buffer) - used >= _HEADER.size:
            number, length = _HEADER.unpack_from(self._buffer, used)
            if number not in _TYPES or length > MAX_LENGTH:
                raise ProtocolError(f"the return path has a message {number} of {length} bytes")
            end = used + _HEADER.size + length
            if len(self._buffer) < end:
                break
            body = bytes(self._buffer[used + _HEADER.size : end])
            messages.append(Message(MessageType(number), body))
            used = end
        del self._buffer[:used]
        return messages
