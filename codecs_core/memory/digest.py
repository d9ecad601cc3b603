"""Digests of whole blocks: XXH3-128, taken piece by piece, so that memory stays bounded."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from xxhash import xxh3_128

__all__ = ["PIECE", "digest_of"]

PIECE: Final = 1 << 20
"""How many bytes are read at once."""


def digest_of(pieces: Iterable[memoryview], check: Callable[[], None]) -> str:
    """Return the digest of ``pieces`` after each other, in hex.

    ``check`` is called before each of them, and raises where going on has become pointless.
    """
    hasher = xxh3_128()
    for piece in pieces:
        check()
        hasher.update(piece)
    return hasher.hexdigest()
