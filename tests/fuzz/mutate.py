"""Makes new inputs of old ones: the same ones, in the same order, for the same seed."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence

_NUMBERS = (0, 1, 2, 512, 4096, *(1 << bits for bits in (7, 8, 15, 16, 20, 31, 32, 63)))
_INTERESTING = [
    (value & (1 << 8 * width) - 1).to_bytes(width, order)
    for width in (1, 2, 4, 8)
    for value in (*_NUMBERS, *(~number for number in _NUMBERS), -512, -4096)
    for order in ("big", "little")
]


def mutations(
    pool: Sequence[bytes], tokens: Sequence[bytes], size: int, seed: int
) -> Iterator[bytes]:
    """Yield all of ``pool``, and then for ever one of it, changed up to eight times.

    Those have at most ``size`` bytes. ``tokens`` are put in like other interesting values.
    """
    yield from pool
    chance = random.Random(seed).random
    words = [*_INTERESTING, *(each for each in tokens for _ in range(4))]

    def below(limit: int) -> int:
        return int(chance() * limit)

    def flip(data: bytearray) -> None:
        data[below(len(data))] ^= 1 << below(8)

    def change(data: bytearray) -> None:
        data[below(len(data))] = below(256)

    def count(data: bytearray) -> None:
        at = below(len(data))
        data[at] = (data[at] + (1, -1, 8, -8)[below(4)]) & 0xFF

    def overwrite(data: bytearray) -> None:
        word = words[below(len(words))]
        at = below(len(data))
        data[at : at + len(word)] = word

    def insert(data: bytearray) -> None:
        at = below(len(data))
        data[at:at] = words[below(len(words))]

    def remove(data: bytearray) -> None:
        at = below(len(data))
        del data[at : at + 1 + below(min(64, len(data) - at))]

    def cut(data: bytearray) -> None:
        del data[below(len(data)) :]

    def repeat(data: bytearray) -> None:
        at = below(len(data))
        end = at + 1 + below(min(64, len(data) - at))
        data[at:at] = data[at:end]

    def move(data: bytearray) -> None:
        source, at = below(len(data)), below(len(data))
        length = 1 + below(16)
        data[at : at + length] = data[source : source + length]

    def splice(data: bytearray) -> None:
        other = pool[below(len(pool))]
        at = below(len(data))
        data[at:] = other[below(len(other) + 1) :]

    ways: list[Callable[[bytearray], None]] = [
        *(flip, change, change, count, overwrite, overwrite),
        *(insert, remove, repeat, move, splice, cut),
    ]
    while True:
        data = bytearray(pool[below(len(pool))])
        for _ in range(1 + below(1 + below(8))):
            if not data:
                data += words[below(len(words))]
            ways[below(len(ways))](data)
        yield bytes(data[:size])
