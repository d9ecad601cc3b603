"""Which candidate the packets of a session are encoded by: estimates and a choice, without I/O.

A channel encodes a packet, then waits until the link has taken it; the link drains what is
buffered meanwhile. So a byte of memory takes, by candidate ``c``::

    time(c) = max(encoding(c), wire(c) × link)

with ``encoding`` in seconds a byte of memory, ``wire`` in bytes on the wire a byte of memory, and
``link`` in seconds a byte on the wire. Two of these are learned beside the transfer: samples of
the packets, encoded by all candidates that matter, tell what they cost *relative to each other*,
on the same data (`Costs`). The third, and what the candidate in use really takes, the packets
themselves tell (`Pace`, `Model`): how long they were encoded, how fast the link took them.

Rules of this module:

* The model proposes, the measurement decides: a candidate that does not keep what the model
  promises (the receiver may be what is slow, or the CPUs) is left, and shunned for a while,
  twice as long each time.
* A candidate must be better by a margin, and is used for some windows before it is judged.
* What was measured on another link is forgotten: when the pace changes, all is open again.
* Channels share one link, in parts that change from moment to moment, so they choose together.
"""

from __future__ import annotations

import math
import threading
from typing import Final

from codecs_core.engine.costs import SAMPLE, VERBATIM, Costs
from codecs_core.engine.model import Model
from codecs_core.engine.pace import STEP, Pace, Window
from codecs_core.engine.samples import Samples

__all__ = ["Chooser", "Lane"]

_MARGIN: Final = 0.05
"""By how much a candidate must be better."""
_CALMING: Final = 0.96
"""With every recent switch the margin grows by as much again; so much is left after a window."""
_SETTLE: Final = 3
"""Windows that a candidate is used before it is judged."""
_PLAIN: Final = 0.6
"""What is better than this part is so plainly better that it is used at once."""
_TRIAL: Final = 8
"""Windows within which leaving a candidate again means that it has not kept its promise."""
_YOUNG: Final = 32
"""Windows in the beginning in which the buffers on the way make a link look fast."""
_WORTH: Final = 1.25
"""What may take so many times as long is not too dear to be tried."""
_SHUN: Final = 32
_TRUST: Final = 64
_LONGEST: Final = 4096
"""Windows for which what was found out holds: at first, and at most."""
_WAITS: Final = 0.3
"""The share of waiting at which the link is what is waited for, where nothing else tells."""


class Chooser:
    """Chooses for the channels of a session, each of which has a `Lane`.

    ``current`` is the candidate for the next packet. ``wanted`` are candidates by which a sample
    of a packet should be encoded, of ``allowance`` bytes at most, for `Costs.learn`; then `sampled`
    is told, by one thread at a time. Any thread may read all these, and ``switches``.

    With ``near`` the other end is on the same host: so the link is probably faster than any codec,
    and nothing is sampled before it shows that it is not.
    """

    def __init__(self, costs: Costs, *, near: bool = False) -> None:
        self.switches = 0
        self._candidates = range(len(costs.below))
        self._lock = threading.Lock()
        self._lanes: list[Lane] = []
        self._window = Window(0)
        self._pace = Pace(near=near)
        self._model = Model(costs, self._pace)
        self._samples = Samples(self._model, near=near)
        self._stale = 0
        self._windows = self._tenure = 0
        self._trust = _TRUST
        self._unrest = 0.0
        self._trial: tuple[int, float, bool] | None = None
        self._before = (VERBATIM, math.nan)
        self._shunned: dict[int, int] = {}
        self._shyness: dict[int, int] = {}
        self._samples.review(begun=False)

    @property
    def current(self) -> int:
        """The candidate for the next packet."""
        return self._model.current

    @property
    def wanted(self) -> tuple[int, ...]:
        """Candidates by which a sample should be encoded."""
        return self._samples.wanted

    @property
    def allowance(self) -> int:
        """How many bytes of a packet may be sampled."""
        return self._samples.allowance

    @property
    def link(self) -> float | None:
        """Bytes a second that the link takes from a channel; ``None`` while not known."""
        return 1 / self._pace.link if self._pace.measured else None

    @property
    def waiting(self) -> bool:
        """Whether the link is what the channels wait for."""
        return self._pace.waiting

    def lane(self) -> Lane:
        """Begin another channel."""
        with self._lock:
            lane = Lane(self)
            self._lanes.append(lane)
            self._window.channels = len(self._lanes)
            return lane

    def leave(self, lane: Lane) -> None:
        """A channel has ended. Calling it again does nothing."""
        with self._lock:
            if lane in self._lanes:
                self._lanes.remove(lane)
            self._window.channels = max(1, len(self._lanes))

    def took(self, elapsed: float, size: int, *, busy: bool) -> None:
        """In so many seconds the link has taken so much of a channel; ``busy``: it had more."""
        with self._lock:
            self._window.took(elapsed, size, busy=busy)

    def sent(self, candidate: int, memory: int, wire: int, encoding: float, blocked: float) -> None:
        """A packet was sent; see `Lane.packet`."""
        with self._lock:
            if candidate != self.current:
                # Another channel has made all switch meanwhile.
                memory, encoding = 0, 0.0
            self._window.sent(memory, wire, encoding, blocked)
            if self._window.is_over:
                window, self._window = self._window, Window(len(self._lanes))
                self._judge(window)

    def sampled(self, seconds: float, size: int = SAMPLE) -> None:
        """A sample of ``size`` bytes was encoded by all that were `wanted`, in ``seconds``."""
        with self._lock:
            self._samples.spend(seconds, size)
            if not self._windows:
                self._model.use(min(self._candidates, key=self._model.promise))
            self._samples.review(begun=self._windows > 0)

    def lose(self, candidate: int) -> None:
        """Use a candidate no more: it has failed."""
        with self._lock:
            self._model.costs.lose(candidate)
            if self._trial is not None and self._trial[0] == candidate:
                self._trial = None
            if candidate == self.current:
                self._switch(VERBATIM)

    def _judge(self, window: Window) -> None:
        self._windows += 1
        self._unrest *= _CALMING
        self._pace.see(window)
        self._samples.earn(window)
        if self._tenure >= _SETTLE and self._pace.is_odd(window):
            return
        self._model.see(window)
        if self._stale > 0:
            # What the link takes at present is what was encoded by the candidate before.
            self._stale -= window.flow
        else:
            self._tenure += 1
            if self._pace.follow(window):
                self._shunned.clear()
                self._shyness.clear()
                self._samples.hurry()
            self._decide(window)
        self._samples.review(begun=True)

    def _decide(self, window: Window) -> None:
        if self._trial is not None:
            self._end_trial(*self._trial)
        elif (
            self._tenure == _SETTLE
            and self._windows > _YOUNG
            and self._pace.own > STEP * self._before[1]
            and self._model.costs.known(self._before[0])
        ):
            # The link has not become slower just now: it is the receiver.
            self._shun_codec(self.current)
            self._switch(self._before[0])
        elif not self._choose() and window.is_busy and self._tenure >= self._trust:
            self._begin_trial()

    def _begin_trial(self) -> None:
        """See whether what is waited for is the receiver, which decodes, and not the link.

        Another codec shows it, of those that cost little should it be the link after all.
        """
        self._trust = min(_LONGEST, 4 * self._trust)
        costs, now = self._model.costs, self._model.actual()
        others = [
            each
            for each in self._candidates
            if self._is_open(each)
            and costs.root(each) != costs.root(self.current)
            and self._model.promise(each) < _WORTH * now
        ]
        if others:
            self._trial = (self.current, now, True)
            self._switch(min(others, key=self._model.promise))

    def _end_trial(self, home: int, before: float, of_receiver: bool) -> None:
        """Go back, unless the trial has shown something better."""
        if self._tenure < _SETTLE:
            return
        self._trial = None
        if self._model.actual() >= before * (1 - _MARGIN):
            self._switch(home)
        elif of_receiver:
            self._shun_codec(home)

    def _choose(self) -> bool:
        """Switch to what is better, and tell whether there is any."""
        open_ = [each for each in self._candidates if self._is_open(each)]
        if not open_:
            return False
        best, now = min(open_, key=self._model.promise), self._model.actual()
        settled = self._tenure >= _SETTLE or not self.switches
        wanted = 1 - _MARGIN * (1 + self._unrest) if settled else _PLAIN
        if self._model.promise(best) >= now * max(_PLAIN, wanted):
            return False
        if self.switches and self._tenure <= _TRIAL:
            self._shun(self.current)
        if self._pace.hoping:
            self._trial = (self.current, now, False)
        self._switch(best)
        return True

    def _is_open(self, candidate: int) -> bool:
        """Whether a candidate may be used instead."""
        return (
            candidate != self.current
            and self._model.costs.known(candidate)
            and self._shunned.get(candidate, 0) <= self._windows
        )

    def _shun(self, candidate: int) -> None:
        """Do without a candidate that has not kept what it promised; longer each time."""
        shyness = self._shyness.get(candidate, _SHUN)
        self._shunned[candidate] = self._windows + shyness
        self._shyness[candidate] = min(_LONGEST, 2 * shyness)

    def _shun_codec(self, candidate: int) -> None:
        """Do without a codec, which takes the receiver too long."""
        root = self._model.costs.root
        for each in self._candidates:
            if root(each) == root(candidate):
                self._shun(each)

    def _switch(self, candidate: int) -> None:
        self._before = (self.current, self._pace.own)
        self._stale = sum(each.queued for each in self._lanes)
        self.switches += 1
        if self._windows > _TRIAL:
            self._unrest += 1
        self._tenure = 0
        self._model.use(candidate)


class Lane:
    """What a `Chooser` is told of one channel. Used by its thread.

    Of every packet first `before` is told, then `packet` or `verbatim`. ``queued`` is how many
    bytes the link has still to take.
    """

    def __init__(self, chooser: Chooser) -> None:
        self.queued = 0
        self._chooser = chooser
        self._blocked = 0.0

    def before(self, elapsed: float, backlog: int | None) -> None:
        """A packet is about to be sent, so long after the one before it was.

        ``backlog``: how many bytes the link has still to take of those before; ``None``: nobody
        can tell.
        """
        if not self.queued:
            # The first of all: nothing was under way before.
            elapsed = 0.0
        if backlog is None:
            self._chooser.took(elapsed, self.queued, busy=self._blocked > _WAITS * elapsed)
        else:
            self._chooser.took(elapsed, self.queued - backlog, busy=backlog > 0)
        self.queued = backlog or 0

    def packet(
        self, candidate: int, memory: int, wire: int, encoding: float, blocked: float
    ) -> None:
        """A packet was encoded by ``candidate``, and sent.

        ``memory`` and ``wire`` are its bytes, before and on the wire, ``encoding`` and ``blocked``
        the seconds that it was encoded, and that sending it took.
        """
        self.queued += wire
        self._blocked = blocked
        self._chooser.sent(candidate, memory, wire, encoding, blocked)

    def verbatim(self, wire: int, blocked: float) -> None:
        """A packet was sent as it is, whatever is chosen: its pages do not compress."""
        self.packet(VERBATIM, 0, wire, 0.0, blocked)

    def leave(self) -> None:
        """The channel has ended."""
        self._chooser.leave(self)
