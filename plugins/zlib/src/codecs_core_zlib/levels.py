"""Which library serves which level of zlib.

The rule: of ISA-L and zlib-ng, at any of their own levels, the fastest whose ratio is at least
0.97 of zlib's at the level. Where shared objects and guest RAM leave a candidate a hair's breadth
above the bound, other data (source code, one large library) decided.
`benchmarks/zlib_levels.py` measures all candidates; its figures stand in the plugin's README.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

__all__ = ["LEVELS", "Choice"]


@dataclass(frozen=True, slots=True)
class Choice:
    """A module with zlib's interface, and the level that it is asked for."""

    module: str
    level: int
    mem_level: int = 8


def _isal(level: int, mem_level: int) -> Choice:
    # A smaller buffer makes ISA-L end its deflate blocks earlier, so that their Huffman tables
    # fit the pages better: one or two percent of ratio for a few percent of speed.
    return Choice("isal.isal_zlib", level, mem_level)


def _zlib_ng(level: int) -> Choice:
    return Choice("zlib_ng.zlib_ng", level)


LEVELS: Final = (
    _zlib_ng(0),
    _isal(2, 6),
    _isal(3, 3),
    _zlib_ng(3),
    _zlib_ng(3),
    _zlib_ng(5),
    _zlib_ng(5),
    _zlib_ng(7),
    _zlib_ng(7),
    _zlib_ng(7),
)
"""The choice for each level, 0 to 9."""
