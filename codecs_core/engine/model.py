"""What a byte of memory takes by each candidate: what samples tell, scaled by what packets did."""

from __future__ import annotations

import math
from typing import Final

from codecs_core.engine.costs import VERBATIM, Costs, mixed
from codecs_core.engine.pace import Pace, Window

__all__ = ["Model"]

_AGEING: Final = 0.05
"""How much nearer to what samples tell a window brings what cannot be seen at present."""
_LEAST, _MOST = 0.3, 3.0
"""How far packets may be from what samples tell of them."""


class Model:
    """For the channels of a session, with the candidate ``current`` in use.

    All results are in seconds a byte of memory, of one channel. ``contention`` and ``density`` say
    how many times as long packets are encoded, and how many times as much is left of them, as of
    samples: samples compare the candidates, packets tell how high they all are.
    """

    def __init__(self, costs: Costs, pace: Pace) -> None:
        self.current = VERBATIM
        self.costs = costs
        self.pace = pace
        self._contention = self._density = 1.0
        self._encoding = self._left = math.nan

    def see(self, window: Window) -> None:
        """Learn from the packets of a window, which `current` has encoded."""
        expected, left = self.costs.encoding[self.current], self.costs.wire[self.current]
        if window.memory and 0 < expected < math.inf:
            before = expected * self._contention if math.isnan(self._encoding) else self._encoding
            self._encoding = mixed(before, window.encoding / window.memory)
            self._contention = _bounded(self._encoding / expected)
            before = left * self._density if math.isnan(self._left) else self._left
            self._left = mixed(before, window.packed / window.memory)
            self._density = _bounded(self._left / left)
        elif self.current == VERBATIM:
            self._contention += _AGEING * (1 - self._contention)
            self._density += _AGEING * (1 - self._density)

    def use(self, candidate: int) -> None:
        """Go on with another candidate."""
        self.current = candidate
        self._encoding = self._left = math.nan
        self.pace.restart()

    def encoding(self, candidate: int) -> float:
        """How long a candidate would encode."""
        return self.costs.encoding[candidate] * self._contention

    def promise(self, candidate: int) -> float:
        """How long a candidate would take, the link included."""
        wire = self._wire(candidate)
        return max(self.encoding(candidate) + wire * self.pace.copying, wire * self.pace.link)

    def actual(self) -> float:
        """How long the candidate in use does take, once that is known."""
        if math.isnan(self.pace.drag):
            return self.promise(self.current)
        wire = self._wire(self.current)
        encoding = self._encoding
        if math.isnan(encoding):
            encoding = self.costs.encoding[self.current]
        if math.isnan(self.pace.own):
            return encoding + wire * self.pace.drag
        return max(encoding + wire * self.pace.copying, wire * self.pace.own)

    def _wire(self, candidate: int) -> float:
        if candidate == VERBATIM:
            return 1.0
        return min(1.0, self.costs.wire[candidate] * self._density)


def _bounded(factor: float) -> float:
    return min(_MOST, max(_LEAST, factor))
