"""How fast a link takes what is sent, as its queue and the time of sending tell."""

from __future__ import annotations

import math
from typing import Final

from codecs_core.engine.costs import mixed

__all__ = ["STEP", "Pace", "Window"]

_WINDOW: Final = 2e-3
"""Seconds of work that are judged at once: a few fast packets, or one that took longer."""
_MEMORY: Final = 0.06
"""Seconds after which what a link was like counts a third."""
_LUMP: Final = 128 << 10
_LONG: Final = 0.5
"""Bytes that a busy link must have taken, for it takes them in lumps; or seconds."""
_BELIEF: Final = 64
_LONGEST: Final = 4096
"""Windows for which a link that is not waited for is thought to be as it was: at first, at most."""
_HOPE: Final = 3
"""Windows after which a link that was still not waited for is thought to be faster yet."""
STEP: Final = 1.5
"""How much slower twice in a row is another link, and no longer chance."""
_BOLD: Final = 0.6
"""How much faster a window without waiting makes a link that is not known yet."""
_COPYING: Final = 5e-10
"""Seconds a byte that handing it to the kernel takes at most on any host; less, once seen."""
_LEAST_COPYING: Final = 5e-11
_UNKNOWN: Final = 1e-8
"""What a link is taken for before the first packet: 100 MB/s for each channel."""


class Window:
    """What is judged at once: sums over some packets of all of a session's ``channels``.

    Times are those of all channels together. ``busy`` is the part of ``elapsed`` in which the link
    had something to take all the time, ``busy_flow`` what it took of ``flow`` then.
    """

    __slots__ = (
        "blocked", "busy", "busy_flow", "channels", "elapsed", "encoding", "flow", "memory",
        "packed", "wire",
    )  # fmt: skip

    def __init__(self, channels: int) -> None:
        self.channels = max(1, channels)
        self.memory = self.packed = self.wire = self.flow = self.busy_flow = 0
        self.encoding = self.blocked = self.elapsed = self.busy = 0.0

    @property
    def is_over(self) -> bool:
        """Whether there is enough to judge by: time, and of a busy link what it took."""
        if self.elapsed < _WINDOW * self.channels or not self.wire:
            return False
        enough = self.busy_flow >= _LUMP * self.channels or self.elapsed >= _LONG * self.channels
        return enough or not self.is_busy

    @property
    def is_busy(self) -> bool:
        """Whether the link is what was waited for."""
        return self.busy >= self.elapsed / 2

    @property
    def weight(self) -> float:
        """How much it counts against those before: by its time."""
        return 1 - math.exp(-self.elapsed / self.channels / _MEMORY)

    @property
    def pace(self) -> float:
        """Seconds a byte that a busy link took."""
        return min(self.busy / max(1, self.busy_flow), self.elapsed / max(1, self.flow))

    @property
    def drag(self) -> float:
        """Seconds a byte that sending took."""
        return self.blocked / self.wire

    def sent(self, memory: int, wire: int, encoding: float, blocked: float) -> None:
        """A packet was sent; without ``memory`` it was not encoded by the candidate in use."""
        self.memory += memory
        self.packed += wire if memory else 0
        self.wire += wire
        self.encoding += encoding
        self.blocked += blocked

    def took(self, elapsed: float, size: int, *, busy: bool) -> None:
        """The link took ``size`` bytes of one channel."""
        self.elapsed += elapsed
        self.flow += size
        if busy:
            self.busy += elapsed
            self.busy_flow += size


class Pace:
    """How fast the link is for one channel, in seconds a byte, with the candidate in use.

    ``link`` is what it is taken for, ``copying`` what sending costs where there is no waiting.
    ``own`` is how fast it is with this candidate, where it is waited for, else not a number, and
    ``drag`` how long sending takes. With ``near`` the other end is on the same host.
    """

    def __init__(self, *, near: bool = False) -> None:
        self.copying = _COPYING
        self.link = _COPYING if near else _UNKNOWN
        self.measured = False
        self.hoping = False
        self.own = self.drag = self._mean = math.nan
        self._idle = 0
        self._belief = _BELIEF
        self._suspected = False

    @property
    def waiting(self) -> bool:
        """Whether the link is what is waited for."""
        return self.measured and not self._idle

    def see(self, window: Window) -> None:
        """A window has passed."""
        self.copying = min(self.copying, max(window.drag, _LEAST_COPYING))

    def is_stalling(self, window: Window) -> bool:
        """Whether sending takes longer than it takes to copy."""
        return window.is_busy and window.drag > 3 * self.copying

    def is_odd(self, window: Window) -> bool:
        """Whether a window is so much slower than those before that it had better be passed over.

        Once is chance, or a connection that was lost and made again.
        """
        if window.is_busy and window.pace > STEP * self.own and not self._suspected:
            self._suspected = True
            return True
        return False

    def follow(self, window: Window) -> bool:
        """Learn from a window; return whether this is another link than before."""
        self.drag = mixed(self.copying if math.isnan(self.drag) else self.drag, window.drag)
        self._mean = mixed(self._mean, window.elapsed / max(1, window.flow), window.weight)
        if not window.is_busy:
            self._drift()
            return False
        self.hoping = False
        changed = self._suspected and window.pace > STEP * self.own
        if changed:
            self.own = window.pace
        self._suspected = False
        self.own = mixed(self.own, window.pace, window.weight)
        if changed:
            self._belief = _BELIEF
        self.link = self.own
        self.measured = True
        self._idle = 0
        return changed

    def restart(self) -> None:
        """Another candidate is in use now."""
        self.own = self.drag = self._mean = math.nan

    def _drift(self) -> None:
        """Learn from a link that was not waited for that it is at least so fast."""
        self._suspected = False
        self.own = math.nan
        self._idle += 1
        if not self.measured:
            # Buffers on the way may have swallowed it all.
            self.link = max(self.copying, min(self._mean, _BOLD * self.link))
        elif self._idle >= (_HOPE if self.hoping else self._belief):
            # It may have become faster, which nothing shows while it is not waited for.
            self.link = max(self.copying, self.link / 2)
            if not self.hoping:
                self._belief = min(_LONGEST, 4 * self._belief)
            self.hoping = True
            self._idle = 0
        else:
            self.link = min(self.link, self._mean)
