"""What each candidate costs, as samples of the packets tell."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final

__all__ = ["SAMPLE", "VERBATIM", "WEIGHT", "Costs", "mixed"]

VERBATIM: Final = 0
"""The candidate that leaves pages as they are: it costs nothing and gains nothing."""
SAMPLE: Final = 64 << 10
"""Bytes of a packet that are encoded at least to learn what candidates cost."""
WEIGHT: Final = 0.3
"""How much what is new counts against all before."""
_WEIGHT_OF_A_PACKET: Final = 0.5
"""How much a sample of more than the least counts: it tells what a history is good for, too."""
_TELLING: Final = 0.05
"""The part of a sample that must be left of it, so that candidates differ."""


class Costs:
    """What each candidate takes, as samples have told. Shared by the channels of a session.

    Candidates are numbers from 0, `VERBATIM`. ``below`` tells of each which candidate is the next
    cheaper of the same codec, or ``None``; nothing is known of either before it was sampled.
    ``encoding`` and ``wire`` are in seconds and bytes a byte of memory. One thread at a time may
    `learn`; any may read.
    """

    def __init__(self, below: Sequence[int | None]) -> None:
        self.below = tuple(below)
        self.encoding = [math.inf] * len(self.below)
        self.wire = [math.inf] * len(self.below)
        self.encoding[VERBATIM], self.wire[VERBATIM] = 0.0, 1.0
        self.lost: set[int] = set()

    def known(self, candidate: int) -> bool:
        """Whether it was sampled, and can be used."""
        return self.encoding[candidate] < math.inf

    def unknown(self, candidate: int) -> bool:
        """Whether it was neither sampled nor lost."""
        return not self.known(candidate) and candidate not in self.lost

    def learn(self, samples: Mapping[int, tuple[float, float]], size: int = SAMPLE) -> None:
        """Take what some candidates took for the same pages: candidate → (encoding, wire).

        Candidates that are left out move with the others, so that all remain comparable. ``size``
        is that of the sample, in bytes.
        """
        samples = {each: samples[each] for each in samples if each not in self.lost}
        if any(wire < _TELLING for _, wire in samples.values()) and any(map(self.known, samples)):
            # Next to nothing is left of such pages, whatever packs them.
            samples = {each: samples[each] for each in samples if self.unknown(each)}
        weight = _WEIGHT_OF_A_PACKET if size > SAMPLE else WEIGHT
        old = [each for each in samples if self.known(each)]
        for values, part in ((self.encoding, 0), (self.wire, 1)):
            drift, level = [], []
            for each in old:
                before, sample = values[each], samples[each][part]
                values[each] = before * (sample / before) ** weight
                drift.append(values[each] / before)
                level.append(values[each] / sample)
            for each in range(1, len(values)):
                if each not in samples:
                    values[each] *= _mean(drift)
                elif each not in old:
                    values[each] = samples[each][part] * _mean(level)

    def root(self, candidate: int) -> int:
        """The first of the candidates of the same codec."""
        below = self.below[candidate]
        return candidate if below is None else self.root(below)

    def lose(self, candidate: int) -> None:
        """Use a candidate no more: it cannot encode here."""
        self.lost.add(candidate)
        self.encoding[candidate] = math.inf


def mixed(before: float, new: float, weight: float = WEIGHT) -> float:
    """Go on from ``before`` towards ``new``, of which no more than twice as much counts.

    Somebody else may have had the CPU for once.
    """
    return new if math.isnan(before) else before + weight * (min(new, 2 * before) - before)


def _mean(factors: Sequence[float]) -> float:
    return math.exp(sum(map(math.log, factors)) / len(factors)) if factors else 1.0
