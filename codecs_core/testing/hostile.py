"""Hostile payloads: each is refused with `CorruptPayload`, and hurts nothing."""

from __future__ import annotations

import random
from typing import ClassVar

import pytest

from codecs_core.codec import DEFAULT_GEOMETRY, Codec, Geometry
from codecs_core.testing.checks import (
    SMALL,
    encode,
    outcome,
    peak_growth,
    positions,
    unhurt_by,
    within,
)
from codecs_core.testing.data import sample

__all__ = ["HostileTests"]

_MEMORY_BOUND = 64 << 20
"""More than the largest window of any codec, less than any bomb holds."""


class HostileTests:
    """Damaged, truncated, overlong, foreign and exploding payloads.

    Every decode is watched: buffers are guarded, `patience` bounds its time, and any exception
    but `CorruptPayload` fails the test.
    """

    codec: ClassVar[Codec]
    patience: ClassVar[float]

    def _two_packets(self, kind: str) -> tuple[list[bytes], list[bytes], list[int]]:
        packets = [sample(kind, SMALL.packet_size, seed) for seed in (1, 2)]
        return packets, encode(self.codec, packets, SMALL), [len(each) for each in packets]

    @pytest.mark.parametrize("kind", ["text", "memory", "random"])
    def test_flipped_bits(self, kind: str) -> None:
        """A flip may go unseen where a codec has no checksum, but does no more than that."""
        _, (first, second), sizes = self._two_packets(kind)
        chance = random.Random(0)

        def attack() -> None:
            for position in positions(len(second)):
                damaged = bytearray(second)
                damaged[position] ^= 1 << chance.randrange(8)
                outcome(self.codec, [first, bytes(damaged)], sizes, SMALL)

        within(self.patience, attack)

    @pytest.mark.parametrize("kind", ["zeros", "text", "memory"])
    def test_truncated(self, kind: str) -> None:
        """Cut short anywhere, the payload is refused, or nothing that mattered was cut off."""
        packets, (first, second), sizes = self._two_packets(kind)

        def attack() -> None:
            for length in positions(len(second)):
                result = outcome(self.codec, [first, second[:length]], sizes, SMALL)
                unhurt_by(second, f"cut to {length}", result, packets[1])

        within(self.patience, attack)

    def test_empty(self) -> None:
        """No payload at all, as the first and as a later one."""
        _, (first, _), sizes = self._two_packets("text")
        assert outcome(self.codec, [b""], sizes[:1], SMALL) is None
        assert outcome(self.codec, [first, b""], sizes, SMALL) is None

    def test_overlong(self) -> None:
        """Bytes behind the payload are refused, or at the worst do nothing."""
        packets, (first, second), sizes = self._two_packets("memory")
        room = SMALL.max_payload - len(second)

        def attack() -> None:
            for count in (1, 2, 3, 4, 100, room):
                for filling in (bytes(count), sample("random", count)):
                    result = outcome(self.codec, [first, second + filling], sizes, SMALL)
                    unhurt_by(second, f"with {count} bytes behind it", result, packets[1])

        within(self.patience, attack)

    def test_noise(self) -> None:
        """Payloads that no encoder wrote."""
        noise = [sample("random", size, size) for size in (1, 2, 5, 100, 4096, SMALL.max_payload)]
        others = [bytes(4096), b"\xff" * 4096, sample("text", 4096)]

        def attack() -> None:
            for payload in noise + others:
                outcome(self.codec, [payload], [SMALL.page_size], SMALL)

        within(self.patience, attack)

    def test_another_size_than_announced(self) -> None:
        """Pages too few or too many for the packet are refused, not cut or padded."""
        page = SMALL.page_size
        for kind in ("zeros", "memory", "random"):
            for held, announced in ((1, 2), (2, 1), (16, 15), (15, 16), (16, 1)):
                [payload] = encode(self.codec, [sample(kind, held * page)], SMALL)
                result = outcome(self.codec, [payload], [announced * page], SMALL)
                assert result is None, f"{held} pages decoded into a packet of {announced}"

    def test_bomb(self) -> None:
        """A small payload that decodes to 128 MiB fails early, in bounded memory."""
        geometry, roomy = DEFAULT_GEOMETRY, Geometry(packet_size=2 << 20)
        payloads = encode(self.codec, [bytes(roomy.packet_size)] * 64, roomy)
        bombs = [payloads[0], b"".join(payloads)]

        def attack() -> None:
            for bomb in bombs:
                payload = bomb[: geometry.max_payload]
                assert outcome(self.codec, [payload], [geometry.page_size], geometry) is None

        growth = peak_growth(lambda: within(self.patience, attack))
        assert growth < _MEMORY_BOUND, f"a bomb made the process grow by {growth >> 20} MiB"
