"""Which library serves which level of zlib."""

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


def _isal(level: int) -> Choice:
    # Six is ISA-L's middle buffer size.
    return Choice("isal.isal_zlib", level, 6)


def _zlib_ng(level: int) -> Choice:
    return Choice("zlib_ng.zlib_ng", level)


LEVELS: Final = (
    _zlib_ng(0),
    _isal(1),
    _isal(2),
    _isal(3),
    _zlib_ng(3),
    _zlib_ng(5),
    _zlib_ng(6),
    _zlib_ng(7),
    _zlib_ng(9),
    _zlib_ng(9),
)
