"""A long series in bounded memory: neighbours are merged where it grows too long."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

__all__ = ["Bins"]

T = TypeVar("T")


class Bins(Generic[T]):
    """At most ``limit`` bins, each of ``width`` neighbouring places of a series.

    ``width`` is 1 until the series is longer than ``limit``, and doubles then. ``make`` makes an
    empty bin, ``merge`` adds the second to the first.
    """

    def __init__(self, limit: int, make: Callable[[], T], merge: Callable[[T, T], None]) -> None:
        self.width = 1
        self.bins: list[T] = []
        self._limit = limit
        self._make = make
        self._merge = merge

    def at(self, place: int) -> T:
        """The bin of ``place``, counted from 0; made where it is the series' next."""
        while place // self.width >= self._limit:
            for first, second in zip(self.bins[::2], self.bins[1::2], strict=False):
                self._merge(first, second)
            del self.bins[1::2]
            self.width *= 2
        while place // self.width >= len(self.bins):
            self.bins.append(self._make())
        return self.bins[place // self.width]
