"""Where the members of a file begin, so that reading can go on at one of them."""

from __future__ import annotations

from array import array
from bisect import bisect_right

__all__ = ["Index"]

_SPACING = 1 << 20


class Index:
    """Places in a file where a member begins, in both countings: decoded bytes, and the file's.

    At most one for each MiB of decoded bytes, so that a file of many small members does not make
    it large.
    """

    def __init__(self) -> None:
        self._decoded = array("Q", [0])
        self._positions = array("Q", [0])
        self.size: int | None = None
        """How many bytes the file decodes to, once that is known."""

    def add(self, decoded: int, position: int) -> None:
        """Note that a member begins there, if none near it is known."""
        if decoded >= self._decoded[-1] + _SPACING:
            self._decoded.append(decoded)
            self._positions.append(position)

    def before(self, decoded: int) -> tuple[int, int]:
        """Return the last known place at or before a decoded byte."""
        number = bisect_right(self._decoded, decoded) - 1
        return self._decoded[number], self._positions[number]

    @property
    def last(self) -> tuple[int, int]:
        """The last known place."""
        return self._decoded[-1], self._positions[-1]
