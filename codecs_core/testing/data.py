"""Sample data: the kinds of bytes that pages hold, the same in every run."""

from __future__ import annotations

import functools
import random
import struct
from collections.abc import Callable
from typing import Final

__all__ = ["KINDS", "sample"]

_PAGE = 4096
_WORDS = (
    b"the page of a guest travels in packets through one channel to the destination while its "
    b"memory is written again and so the same page is sent once more in another round"
).split()


def sample(kind: str, size: int, seed: int = 0) -> bytes:
    """Return ``size`` bytes of one of the `KINDS`; another ``seed`` gives other bytes."""
    return KINDS[kind](size, seed)[:size]


def _zeros(size: int, seed: int) -> bytes:
    return bytes(size)


def _random(size: int, seed: int) -> bytes:
    return random.Random(seed).randbytes(size)


def _repeated(size: int, seed: int) -> bytes:
    page = random.Random(seed).randbytes(_PAGE)
    return page * (size // _PAGE + 1)


def _sparse(size: int, seed: int) -> bytes:
    chance = random.Random(seed)
    data = bytearray(size)
    for _ in range(size // 512 + 1 if size else 0):
        data[chance.randrange(size)] = chance.randrange(1, 256)
    return bytes(data)


def _text(size: int, seed: int) -> bytes:
    chance = random.Random(seed)
    # The shortest word is a letter and a space.
    count = size // 2 + 1
    return b" ".join(chance.choices(_WORDS, k=count))


def _memory(size: int, seed: int) -> bytes:
    """Pages of a heap, a stack, text, tables and noise, as a running system has them."""
    chance = random.Random(seed)
    pages = [_memory_page(chance) for _ in range(size // _PAGE + 1)]
    return b"".join(pages)


def _memory_page(chance: random.Random) -> bytes:
    kind = chance.randrange(8)
    if kind == 0:
        return chance.randbytes(_PAGE)
    if kind == 1:
        return _text(_PAGE, chance.getrandbits(32))[:_PAGE]
    if kind == 2:
        return _sparse(_PAGE, chance.getrandbits(32))
    base = 0x7F00_0000_0000 + chance.randrange(1 << 30)
    words = [
        chance.choice((0, 0, 1, chance.randrange(64), base + 16 * chance.randrange(1 << 12)))
        for _ in range(_PAGE // 8)
    ]
    return struct.pack(f"<{len(words)}Q", *words)


KINDS: Final[dict[str, Callable[[int, int], bytes]]] = {
    name: functools.lru_cache(maxsize=32)(function)
    for name, function in (
        ("zeros", _zeros),
        ("text", _text),
        ("random", _random),
        ("repeated", _repeated),
        ("sparse", _sparse),
        ("memory", _memory),
    )
}
"""Functions from a size and a seed to at least that many bytes, by the name of the kind."""
