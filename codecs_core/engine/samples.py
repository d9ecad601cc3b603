"""Which samples are worth what they take: a credit that time earns, and waiting even more."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from codecs_core.engine.costs import SAMPLE, VERBATIM
from codecs_core.engine.model import Model
from codecs_core.engine.pace import Window

__all__ = ["Samples"]

_RESAMPLE: Final = 24
"""Windows after which samples are taken again."""
_SAMPLING: Final = 0.015
_SAMPLING_WHILE_WAITING: Final = 0.5
"""The part of the time, and of what would be waited for the link, that samples may take."""
_CREDIT: Final = 2e-3
_MOST_CREDIT: Final = 5e-3
"""Seconds of samples to begin with, and that are kept for later at most."""
_FIRST: Final = 2e-3
"""Seconds that a codec takes at most for the first of its samples: it has to be loaded."""
_AMPLE: Final = 8
"""How many times over what a sample costs there must be, to take one before it is due."""
_NEAR: Final = 1.3
"""What may take so many times as long is still compared."""
_PROMISING: Final = 1.15
"""What may take so many times as long makes the next level worth a look."""


class Samples:
    """What should be sampled, by `Model`: the candidates ``wanted``, of ``allowance`` bytes.

    With ``near``, where the link is probably faster than any codec, nothing is before the link
    shows that it is not.
    """

    def __init__(self, model: Model, *, near: bool) -> None:
        self.wanted: tuple[int, ...] = ()
        self.allowance = SAMPLE
        self._model = model
        self._near = near
        self._credit = 0.0 if near else _CREDIT
        self._since = 0
        self._patience = 1

    def earn(self, window: Window) -> None:
        """A window has passed."""
        self._since += 1
        self._credit += _SAMPLING * window.elapsed
        encoding = self._near or self._model.current != VERBATIM
        if encoding and self._model.pace.is_stalling(window):
            self._credit += _SAMPLING_WHILE_WAITING * window.blocked
        else:
            self._credit = min(self._credit, _MOST_CREDIT)

    def spend(self, seconds: float, size: int) -> None:
        """A sample of ``size`` bytes was taken, in ``seconds``."""
        self._credit -= seconds
        self._since = 0
        if size > SAMPLE:
            self._patience = min(_RESAMPLE, 2 * self._patience)

    def hurry(self) -> None:
        """What was learned may no longer hold."""
        self._patience = 1

    def review(self, *, begun: bool) -> None:
        """Think again; ``begun``: something was sent already."""
        model, costs = self._model, self._model.costs
        # Before anything was sent, nothing is known to be worth while.
        now = model.actual() if begun else 0.0
        self.wanted = ()
        fresh = [
            each
            for each, below in enumerate(costs.below)
            if costs.unknown(each) and (below is None or self._is_promising(below, now))
        ]
        if fresh:
            beside = {model.current, *(costs.below[each] for each in fresh)} - {None, VERBATIM}
            self._afford([*(each for each in beside if each is not None), *fresh], 1, begun)
        elif self._since >= min(_RESAMPLE, self._patience):
            known = [each for each in range(1, len(costs.below)) if costs.known(each)]
            near = {each for each in known if model.promise(each) < _NEAR * now}
            # At least one, for it may be only these pages that do not pack.
            near |= {model.current} & set(known) or set(sorted(known, key=model.promise)[:1])
            self._afford(sorted(near), 1 if self._since >= _RESAMPLE else _AMPLE, begun)

    def _is_promising(self, below: int, now: float) -> bool:
        """Whether the level above this one could be better than what there is."""
        model = self._model
        return (
            model.costs.known(below)
            and model.pace.measured
            and model.encoding(below) < now
            and model.promise(below) < _PROMISING * now
        )

    def _afford(self, candidates: Sequence[int], times: int, begun: bool) -> None:
        """Want these, where there is credit for ``times`` as much."""
        costs = self._model.costs
        price = once = 0.0
        for each in candidates:
            below = costs.below[each]
            if costs.known(each):
                price += SAMPLE * costs.encoding[each]
            elif below is not None:
                # Twice, as the first time it fetches its memory; and it is the slower one.
                price += 4 * SAMPLE * costs.encoding[below]
            elif self._near or begun:
                once += _FIRST
        if candidates and times * price + once <= self._credit:
            self.wanted = tuple(candidates)
            self.allowance = int(SAMPLE * (self._credit - once) / price) if price else SAMPLE
