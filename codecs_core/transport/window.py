"""What was sent and not yet acknowledged, kept so that it can be sent again. Without I/O."""

from __future__ import annotations

from collections.abc import Sequence

from codecs_core.codec import Buffer
from codecs_core.errors import ProtocolError

__all__ = ["Window"]


class Window:
    """The last bytes of a stream. ``sent`` and ``acknowledged`` count from its beginning.

    Memory: ``size`` bytes, of which the system gives what is written to.
    """

    def __init__(self, size: int) -> None:
        self.sent = 0
        self.acknowledged = 0
        self._ring = memoryview(bytearray(size))

    @property
    def room(self) -> int:
        """How many bytes can be taken in."""
        return len(self._ring) - (self.sent - self.acknowledged)

    def append(self, buffers: Sequence[Buffer]) -> None:
        """Take in what is being sent; there must be `room` for it."""
        size = len(self._ring)
        for buffer in buffers:
            rest = memoryview(buffer)
            while rest:
                start = self.sent % size
                piece = rest[: size - start]
                self._ring[start : start + len(piece)] = piece
                self.sent += len(piece)
                rest = rest[len(piece) :]

    def acknowledge(self, count: int) -> None:
        """Let go of the stream's first ``count`` bytes; an acknowledgement may be late.

        Raises `ProtocolError` for bytes that were never sent.
        """
        if count > self.sent:
            raise ProtocolError(f"{count} bytes acknowledged of {self.sent} that were sent")
        self.acknowledged = max(self.acknowledged, count)

    def rest(self, count: int) -> list[memoryview]:
        """What follows the stream's first ``count`` bytes; valid until the next `append`.

        Raises `ProtocolError` where that is not all here any more, or was never sent.
        """
        if not self.acknowledged <= count <= self.sent:
            raise ProtocolError(
                f"the peer has {count} bytes; it has acknowledged {self.acknowledged} of "
                f"{self.sent} before"
            )
        size = len(self._ring)
        first, last = count % size, self.sent % size
        if count == self.sent:
            return []
        if first < last:
            return [self._ring[first:last]]
        return [each for each in (self._ring[first:], self._ring[:last]) if each]
