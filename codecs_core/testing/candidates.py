"""What a codec suggests to the adaptive method."""

from __future__ import annotations

from itertools import pairwise
from typing import ClassVar

from codecs_core.codec import DEFAULT_GEOMETRY, Codec
from codecs_core.discovery import offer
from codecs_core.testing.checks import decode, encode, identical
from codecs_core.testing.data import KINDS, sample

__all__ = ["CandidateTests"]

_SLACK = 1.02
"""How much larger the payloads of a costlier candidate may be: it is one kind of data."""


class CandidateTests:
    """`Codec.candidates`: a few different ones, which work, in order."""

    codec: ClassVar[Codec]

    def test_candidates(self) -> None:
        """Instances of the codec, none twice, and at any time the same."""
        kind = type(self.codec)
        candidates = offer(kind)
        again = offer(kind)
        assert again == candidates, (
            f"{kind.__qualname__}.candidates() returned {candidates!r}, and then {again!r}"
        )

    def test_candidates_do_their_work(self) -> None:
        """Each packs and unpacks, with what the handshake carries of it alone."""
        packets = [sample(kind, DEFAULT_GEOMETRY.packet_size) for kind in KINDS]
        for each in offer(type(self.codec)):
            payloads = encode(each, packets, DEFAULT_GEOMETRY)
            there = type(each).from_parameters(each.wire_parameters())
            pages = decode(there, payloads, map(len, packets), DEFAULT_GEOMETRY)
            assert identical(pages, packets), f"{each!r} changes pages"

    def test_candidates_come_cheapest_first(self) -> None:
        """A dearer one packs tighter: it is tried when the one before it has been worth while."""
        packets = [sample("memory", DEFAULT_GEOMETRY.packet_size, seed) for seed in range(3)]
        sizes = {
            each: sum(map(len, encode(each, packets, DEFAULT_GEOMETRY)))
            for each in offer(type(self.codec))
        }
        for (cheaper, loose), (dearer, tight) in pairwise(sizes.items()):
            assert tight <= _SLACK * loose, (
                f"{dearer!r} packs into {tight} bytes what {cheaper!r}, which comes before it, "
                f"packs into {loose}; name the cheapest first, and none that gains nothing"
            )
