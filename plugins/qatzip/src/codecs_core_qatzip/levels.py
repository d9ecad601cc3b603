"""Which library serves which of QATzip's levels in software.

The rule: of ISA-L and libdeflate, at any of their own levels, the fastest whose ratio is at least
0.97 of that of libqatzip's own fallback at the level; from level 7 on, which is asked for to pack
tightest, at least that ratio itself. `benchmarks/qatzip.py --candidates` measures all of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

__all__ = ["LEVELS", "Choice"]


@dataclass(frozen=True, slots=True)
class Choice:
    """A library, and the level that it is asked for."""

    library: str
    level: int


def _isal(level: int) -> Choice:
    return Choice("isal", level)


def _libdeflate(level: int) -> Choice:
    return Choice("libdeflate", level)


LEVELS: Final = {
    1: _isal(1),
    2: _isal(2),
    3: _isal(3),
    4: _libdeflate(1),
    5: _libdeflate(2),
    6: _libdeflate(2),
    7: _libdeflate(4),
    8: _libdeflate(5),
    9: _libdeflate(5),
}
