"""Which candidate a channel's next packet is encoded by: estimates and a choice, without I/O.

A channel encodes a packet, then waits until the link has taken it; the link drains what is
buffered meanwhile. So a byte of memory takes, by candidate ``c``::

    time(c) = max(encoding(c), wire(c) × link)

with ``encoding`` in seconds a byte of memory, ``wire`` in bytes on the wire a byte of memory, and
``link`` in seconds a byte on the wire. Two of these are learned beside the transfer: small samples
of the packets, encoded by all candidates that matter, tell what they cost *relative to each
other*, on the same data (`Costs`). The third, and what the candidate in use really takes, the
packets themselves tell (`Chooser`): how long they were encoded, how long the link made them wait.

Rules of this module:

* The model proposes, the measurement decides: a candidate that does not keep what the model
  promises (the receiver may be what is slow, or the CPUs) is left, and shunned for a while,
  twice as long each time.
* A candidate must be better by a margin, and is used for some windows before it is judged.
* What was measured on another link is forgotten: when the pace changes, all is open again.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final

__all__ = ["SAMPLE", "VERBATIM", "Chooser", "Costs"]

VERBATIM: Final = 0
"""The candidate that leaves pages as they are: it costs nothing and gains nothing."""

_WINDOW: Final = 2e-3
"""Seconds of work that are judged at once: a few fast packets, or one that took longer."""
_LUMP: Final = 128 << 10
_LONG: Final = 0.5
"""Bytes that a busy link must have taken, for it takes them in lumps; or seconds."""
_WEIGHT: Final = 0.3
"""How much a new window, or a new sample, counts against all before."""
_MARGIN: Final = 0.05
"""By how much a candidate must be better."""
_CALMING: Final = 0.98
"""With every recent switch the margin grows by as much again; so much is left after a window."""
_SETTLE: Final = 3
"""Windows that a candidate is used before it is judged."""
_PLAIN: Final = 0.6
"""What is better than this part is so plainly better that it is used at once."""
_BURST: Final = 384 << 10
"""Bytes that a slow link may well swallow before it shows how slow it is."""
_TRIAL: Final = 8
"""Windows within which leaving a candidate again means that it has not kept its promise."""
_WORTH: Final = 1.4
"""What may take so many times as long is not too dear to be tried."""
_SHUN: Final = 32
_RECENT: Final = 64
"""Windows for which it is remembered how fast the link was with a candidate."""
_TRUST: Final = 48
_BELIEF: Final = 16
_LONGEST: Final = 4096
"""Windows for which what was found out holds: at first, and at most."""
_STEP: Final = 1.5
"""How much slower twice in a row is another link, and no longer chance."""
_WAITS: Final = 0.3
"""The share of waiting at which the link is what is waited for, where nothing else tells."""
_COPYING: Final = 5e-10
"""Seconds a byte that handing it to the kernel takes at most on any host; less, once seen."""
_LEAST_COPYING: Final = 5e-11
_UNKNOWN_LINK: Final = 1e-8
"""What a link is taken for before the first packet: 100 MB/s for each channel."""
_TELLING: Final = 0.05
"""The part of a sample that must be left of it, so that candidates differ."""
_RESAMPLE: Final = 24
"""Windows after which samples are taken again."""
_SAMPLING: Final = 0.015
_SAMPLING_WHILE_WAITING: Final = 0.5
"""The part of the time, and of what would be waited for the link, that samples may take."""
_CREDIT: Final = 2e-3
"""Seconds of samples to begin with."""
SAMPLE: Final = 64 << 10
"""Bytes of a packet that are encoded to learn what candidates cost."""


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

    def learn(self, samples: Mapping[int, tuple[float, float]]) -> None:
        """Take what some candidates took for the same pages: candidate → (encoding, wire).

        Candidates that are left out move with the others, so that all remain comparable.
        """
        if any(wire < _TELLING for _, wire in samples.values()) and any(map(self.known, samples)):
            # Next to nothing is left of such pages, whatever packs them.
            samples = {each: samples[each] for each in samples if self.unknown(each)}
        old = [each for each in samples if self.known(each)]
        for values, part in ((self.encoding, 0), (self.wire, 1)):
            drift, level = [], []
            for each in old:
                before, sample = values[each], samples[each][part]
                values[each] = before * (sample / before) ** _WEIGHT
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

    def unknown(self, candidate: int) -> bool:
        """Whether it was neither sampled nor lost."""
        return not self.known(candidate) and candidate not in self.lost


def _mean(factors: Sequence[float]) -> float:
    return math.exp(sum(map(math.log, factors)) / len(factors)) if factors else 1.0


class Chooser:
    """Chooses for one channel. Used by its thread; any may read ``current`` and ``switches``.

    ``current`` is the candidate for the next packet. Of every packet first `before` is told, then
    `packet` or `verbatim`. ``wanted`` are candidates by which a sample of the next packet should
    be encoded, for `Costs.learn`; then `sampled` is told.
    """

    def __init__(self, costs: Costs) -> None:
        self.current = VERBATIM
        self.switches = 0
        self.wanted: tuple[int, ...] = ()
        self._costs = costs
        self._candidates = range(len(costs.below))
        self._window = _Window()
        self._queued = self._stale = self._flow = 0
        self._blocked = 0.0
        self._windows = self._tenure = self._idle = self._last_sample = 0
        self._belief = _BELIEF
        self._trust = _TRUST
        self._suspected = False
        self._measured = False
        self._link = _UNKNOWN_LINK
        self._copying = _COPYING
        self._pace = self._drag = self._own = math.nan
        self._contention = 1.0
        self._unrest = 0.0
        self._paces: dict[int, tuple[float, int]] = {}
        self._home: tuple[int, float] | None = None
        self._credit = _CREDIT
        self._shunned: dict[int, int] = {}
        self._shyness: dict[int, int] = {}
        self._want()

    @property
    def link(self) -> float | None:
        """Bytes a second that the link takes from this channel; ``None`` while not known."""
        return 1 / self._link if self._measured else None

    @property
    def waiting(self) -> bool:
        """Whether the link is what the channel waits for."""
        return self._measured and not self._idle

    def before(self, elapsed: float, backlog: int | None) -> None:
        """A packet is about to be sent, so long after the one before it was.

        ``backlog``: how many bytes the link has still to take of those before; ``None``: nobody
        can tell.
        """
        if not self._queued:
            # The first of all: nothing was under way before.
            elapsed = 0.0
        if backlog is None:
            self._window.flow(elapsed, self._queued, busy=self._blocked > _WAITS * elapsed)
        else:
            self._window.flow(elapsed, self._queued - backlog, busy=backlog > 0)
        self._stale = max(0, self._stale - self._queued + (backlog or 0))
        self._queued = backlog or 0

    def packet(self, memory: int, wire: int, encoding: float, blocked: float) -> None:
        """A packet was encoded by `current`, and sent.

        ``memory`` and ``wire`` are its bytes, before and on the wire, ``encoding`` and ``blocked``
        the seconds that it was encoded, and that sending it took.
        """
        self._window.memory += memory
        self._window.encoding += encoding
        self.verbatim(wire, blocked)

    def verbatim(self, wire: int, blocked: float) -> None:
        """A packet was sent as it is, whatever `current` is: its pages do not compress."""
        self._queued += wire
        self._blocked = blocked
        self._window.wire += wire
        self._window.blocked += blocked
        if self._window.is_over:
            window, self._window = self._window, _Window()
            self._judge(window)

    def review(self) -> None:
        """Think again of what is `wanted`: another channel may have sampled it."""
        self._want()
        if not self.wanted:
            self.sampled(0.0)

    def sampled(self, seconds: float) -> None:
        """A sample was encoded by all that were `wanted`, which took so long."""
        self._credit -= seconds
        self._last_sample = self._windows
        if not self._windows:
            self.current = min(self._candidates, key=self._promise)
        self._want()

    def _judge(self, window: _Window) -> None:
        self._windows += 1
        self._unrest *= _CALMING
        self._flow += window.flow_
        self._credit += _SAMPLING * window.elapsed
        drag = window.blocked / window.wire
        self._copying = min(self._copying, max(drag, _LEAST_COPYING))
        busy = window.busy >= window.elapsed / 2
        pace = window.busy / max(1, window.busy_flow)
        if busy and self.current != VERBATIM and drag > 3 * self._copying:
            self._credit += _SAMPLING_WHILE_WAITING * window.blocked
        settled = self._tenure >= _SETTLE
        if busy and settled and pace > _STEP * self._pace and not self._suspected:
            # Once is chance, or a connection that was lost and made again.
            self._suspected = True
            return
        expected = self._costs.encoding[self.current]
        if window.memory and 0 < expected < math.inf:
            before = expected * self._contention if math.isnan(self._own) else self._own
            self._own = _mixed(before, window.encoding / window.memory)
            self._contention = min(3.0, max(0.5, self._own / expected))
        if self._stale:
            # What the link takes at present is what was encoded by the candidate before.
            self._want()
            return
        self._tenure += 1
        self._drag = _mixed(self._copying if math.isnan(self._drag) else self._drag, drag)
        if busy:
            self._follow(pace)
        else:
            self._drift(window.elapsed / max(1, window.flow_))
        if self._home is not None:
            self._end_trial(*self._home)
        elif not self._choose() and busy and self._tenure >= self._trust:
            self._begin_trial()
        self._want()

    def _follow(self, pace: float) -> None:
        """Learn from a link that was waited for how fast it is."""
        if self._suspected and pace > _STEP * self._pace:
            self._pace = pace
            self._paces.clear()
            self._shunned.clear()
            self._shyness.clear()
            self._belief = _BELIEF
        self._suspected = False
        self._pace = _mixed(self._pace, pace)
        if self._tenure > 1 or self.current in self._paces:
            self._paces[self.current] = (self._pace, self._windows + _RECENT)
        # Where another candidate was faster, it is not the link that is slow, but the receiver.
        recent = [seen for seen, until in self._paces.values() if until >= self._windows]
        self._link = min([self._pace, *recent])
        self._measured = True
        self._idle = 0

    def _drift(self, pace: float) -> None:
        """Learn from a link that was not waited for that it is at least so fast."""
        self._suspected = False
        self._pace = math.nan
        self._idle += 1
        if not self._measured:
            if self._flow >= _BURST or self._windows >= _SETTLE:
                self._link = self._copying
        elif self._idle >= self._belief:
            # It may have become faster, which nothing shows while it is not waited for.
            self._link = self._copying
            self._paces.clear()
            self._idle = 0
            self._belief = min(_LONGEST, 4 * self._belief)
        else:
            self._link = min(self._link, pace)

    def _promise(self, candidate: int) -> float:
        """Seconds a byte of memory that a candidate would take."""
        wire = self._costs.wire[candidate]
        encoding = self._costs.encoding[candidate] * self._contention
        return max(encoding + wire * self._copying, wire * self._link)

    def _actual(self) -> float:
        """Seconds a byte of memory that the candidate in use does take, once that is known."""
        if not self._tenure:
            return self._promise(self.current)
        wire = self._costs.wire[self.current]
        own = self._own
        if math.isnan(own):
            own = self._costs.encoding[self.current]
        if math.isnan(self._pace):
            return own + wire * self._drag
        return max(own + wire * self._copying, wire * self._pace)

    def _begin_trial(self) -> None:
        """See whether what is waited for is the receiver, which decodes, and not the link.

        Another codec shows it, of those that cost little should it be the link after all.
        """
        self._trust = min(_LONGEST, 4 * self._trust)
        now = self._actual()
        others = [
            each
            for each in self._candidates
            if self._is_open(each)
            and self._costs.root(each) != self._costs.root(self.current)
            and self._promise(each) < _WORTH * now
        ]
        if others:
            self._home = (self.current, now)
            self._switch(min(others, key=self._promise))

    def _end_trial(self, home: int, before: float) -> None:
        """Go back, unless the trial has shown something better."""
        if self._tenure < _SETTLE:
            return
        self._home = None
        if self._actual() < before * (1 - _MARGIN):
            for each in self._candidates:
                if self._costs.root(each) == self._costs.root(home):
                    self._shun(each)
        else:
            self._switch(home)

    def _choose(self) -> bool:
        """Switch to what is better, and tell whether there is any."""
        open_ = [each for each in self._candidates if self._is_open(each)]
        if not open_:
            return False
        best = min(open_, key=self._promise)
        settled = self._tenure >= _SETTLE or not self.switches
        wanted = 1 - _MARGIN * (1 + self._unrest) if settled else _PLAIN
        if self._promise(best) >= self._actual() * max(_PLAIN, wanted):
            return False
        if self.switches and self._tenure <= _TRIAL:
            self._shun(self.current)
        self._switch(best)
        return True

    def _is_open(self, candidate: int) -> bool:
        """Whether a candidate may be used instead."""
        return (
            candidate != self.current
            and self._costs.known(candidate)
            and self._shunned.get(candidate, 0) <= self._windows
        )

    def _shun(self, candidate: int) -> None:
        """Do without a candidate that has not kept what it promised; longer each time."""
        shyness = self._shyness.get(candidate, _SHUN)
        self._shunned[candidate] = self._windows + shyness
        self._shyness[candidate] = min(_LONGEST, 2 * shyness)

    def _switch(self, candidate: int) -> None:
        self.current = candidate
        self._stale = self._queued
        self.switches += 1
        if self._windows > _TRIAL:
            self._unrest += 1
        self._tenure = 0
        self._pace = self._drag = self._own = math.nan

    def _want(self) -> None:
        """Say what should be sampled, where that is worth what it takes."""
        # Before anything was sent, nothing is known to be worth while.
        now = self._actual() if self._windows else 0.0
        costs = self._costs
        fresh = [
            each
            for each, below in enumerate(costs.below)
            if costs.unknown(each) and (below is None or self._promising(below, now))
        ]
        self.wanted = ()
        if fresh:
            beside = {self.current, *(costs.below[each] for each in fresh)} - {None, VERBATIM}
            self._afford([*(each for each in beside if each is not None), *fresh])
        elif self._windows - self._last_sample >= _RESAMPLE:
            near = [c for c in self._candidates if costs.known(c) and self._promise(c) < 1.3 * now]
            self._afford(sorted({self.current, *near} - {VERBATIM}))

    def _promising(self, below: int, now: float) -> bool:
        """Whether the level above this one could be better than what there is."""
        return self._costs.known(below) and (
            self._costs.encoding[below] * self._contention < now
            and self._promise(below) < 1.15 * now
        )

    def _afford(self, candidates: Sequence[int]) -> None:
        price = 0.0
        for each in candidates:
            below = self._costs.below[each]
            if self._costs.known(each):
                price += SAMPLE * self._costs.encoding[each]
            elif below is not None:
                # Twice, as the first time it fetches its memory; and it is the slower one.
                price += 4 * SAMPLE * self._costs.encoding[below]
        if candidates and price <= self._credit:
            self.wanted = tuple(candidates)


class _Window:
    """What is judged at once: sums over some packets.

    ``busy`` is the part of the time ``elapsed`` in which the link had something to take all the
    time, ``busy_flow`` what it took of ``flow_`` then.
    """

    __slots__ = (
        "blocked", "busy", "busy_flow", "elapsed", "encoding", "flow_", "memory", "wire",
    )  # fmt: skip

    def __init__(self) -> None:
        self.memory = self.wire = self.flow_ = self.busy_flow = 0
        self.encoding = self.blocked = self.elapsed = self.busy = 0.0

    @property
    def is_over(self) -> bool:
        """Whether there is enough to judge by: time, and of a busy link what it took."""
        if self.elapsed < _WINDOW:
            return False
        mostly_idle = self.busy < self.elapsed / 2
        return mostly_idle or self.busy_flow >= _LUMP or self.elapsed >= _LONG

    def flow(self, elapsed: float, size: int, *, busy: bool) -> None:
        """The link took ``size`` bytes."""
        self.elapsed += elapsed
        self.flow_ += size
        if busy:
            self.busy += elapsed
            self.busy_flow += size


def _mixed(before: float, new: float) -> float:
    """Go on from ``before`` towards ``new``, of which no more than twice as much counts.

    Somebody else may have had the CPU for once.
    """
    return new if math.isnan(before) else before + _WEIGHT * (min(new, 2 * before) - before)
