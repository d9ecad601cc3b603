"""Sound packets: whatever the pages hold, they come back."""

from __future__ import annotations

import dataclasses
import gc
from typing import ClassVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from codecs_core.codec import DEFAULT_GEOMETRY, Codec, Geometry
from codecs_core.errors import CodecUnavailable
from codecs_core.guard import guarded_decoder, guarded_encoder
from codecs_core.testing.checks import SMALL, decode, encode, guarded, identical
from codecs_core.testing.data import KINDS, sample

__all__ = ["PacketTests"]

_PAGE_KINDS = st.tuples(st.sampled_from(sorted(KINDS)), st.integers(0, 7))
_PACKETS = st.lists(st.lists(_PAGE_KINDS, min_size=1, max_size=16), min_size=1, max_size=12)


class PacketTests:
    """Round trips over sizes, kinds of data, sequences, geometries and parameters."""

    codec: ClassVar[Codec]
    geometries: ClassVar[tuple[Geometry, ...]]

    def _round_trip(self, packets: list[bytes], geometry: Geometry) -> None:
        payloads = encode(self.codec, packets, geometry)
        assert identical(decode(self.codec, payloads, map(len, packets), geometry), packets)

    def test_one_packet(self) -> None:
        """Before all others: where it fails, they are skipped."""
        pages = sample("text", SMALL.packet_size)
        [packet] = decode(
            self.codec, encode(self.codec, [pages], SMALL), [SMALL.packet_size], SMALL
        )
        assert identical(packet, pages), (
            f"codec {self.codec.name!r} gives other pages back than it was given"
        )

    @pytest.mark.parametrize("kind", KINDS)
    def test_round_trip_of_every_size(self, kind: str) -> None:
        """From one page to a full packet, up and down again."""
        full = DEFAULT_GEOMETRY.pages_per_packet
        pages = (1, 2, 3, full // 2, full - 1, full, full, 2, 1)
        sizes = [count * DEFAULT_GEOMETRY.page_size for count in pages]
        self._round_trip(
            [sample(kind, size, seed) for seed, size in enumerate(sizes)], DEFAULT_GEOMETRY
        )

    def test_round_trip_of_every_geometry(self) -> None:
        """Other page and packet sizes."""
        for geometry in self.geometries:
            packets = [
                sample(kind, size)
                for kind in KINDS
                for size in (geometry.packet_size, geometry.page_size)
            ]
            self._round_trip(packets, geometry)

    def test_round_trip_of_a_long_sequence(self) -> None:
        """More packets than any history reaches back, of changing kinds and sizes."""
        sizes = (SMALL.packet_size, SMALL.page_size, SMALL.packet_size // 2)
        kinds = sorted(KINDS)
        packets = [
            sample(kinds[number % len(kinds)], sizes[number % len(sizes)], number % 17)
            for number in range(200)
        ]
        self._round_trip(packets, SMALL)

    @given(_PACKETS)
    @settings(
        max_examples=30,
        deadline=None,
        database=None,
        # Every subclass runs this very function.
        suppress_health_check=[HealthCheck.differing_executors, HealthCheck.too_slow],
    )
    def test_round_trip_of_any_pages(self, packets: list[list[tuple[str, int]]]) -> None:
        """Any pages, in any order."""
        self._round_trip(
            [
                b"".join(sample(kind, SMALL.page_size, seed) for kind, seed in pages)
                for pages in packets
            ],
            SMALL,
        )

    def test_incompressible_pages_fit_a_payload(self) -> None:
        """Noise grows by less than `Geometry.max_payload` allows."""
        for geometry in self.geometries:
            for size in (geometry.page_size, geometry.packet_size):
                encode(self.codec, [sample("random", size, seed) for seed in range(2)], geometry)

    def test_read_only_and_unaligned_views(self) -> None:
        """Encoders and decoders take any contiguous view, at any address."""
        pages = sample("memory", SMALL.packet_size)
        with (
            guarded_encoder(self.codec, SMALL) as encoder,
            guarded_decoder(self.codec, SMALL) as decoder,
        ):
            for odd in (0, 1, 3):
                shifted = memoryview(bytes(odd) + pages).toreadonly()[odd:]
                payload = bytearray(odd) + encoder.encode(shifted)
                buffer = bytearray(odd + len(pages))
                decoder.decode_into(
                    memoryview(payload).toreadonly()[odd:], memoryview(buffer)[odd:]
                )
                assert identical(buffer[odd:], pages)

    def test_payload_is_valid_until_the_next_call(self) -> None:
        """Nothing but the encoder's next call may change a payload that it has returned."""
        pages = sample("memory", SMALL.packet_size)
        with (
            guarded_encoder(self.codec, SMALL) as encoder,
            guarded_encoder(self.codec, SMALL) as other,
        ):
            payload = encoder.encode(memoryview(pages))
            kept = bytes(payload)
            other.encode(memoryview(sample("random", SMALL.packet_size)))
            decode(self.codec, [kept], [len(pages)], SMALL)
            gc.collect()
            assert identical(bytes(payload), kept)

    def test_no_buffer_is_kept(self) -> None:
        """Between calls the caller does with packets and payloads what it likes."""
        first, second = (sample("memory", SMALL.packet_size, seed) for seed in (1, 2))
        with (
            guarded_encoder(self.codec, SMALL) as encoder,
            guarded_decoder(self.codec, SMALL) as decoder,
        ):
            for pages in (first, second, first):
                source = bytearray(pages)
                payload = bytearray(encoder.encode(memoryview(source)))
                with guarded(len(pages)) as packet:
                    decoder.decode_into(memoryview(payload), packet)
                    assert identical(packet, pages)
                for buffer in (source, payload):
                    buffer[:] = bytes(len(buffer))
                    # Raises BufferError where somebody still holds a view.
                    buffer.clear()

    def test_round_trip_at_the_bounds_of_every_parameter(self) -> None:
        """Every choice, and the least and the greatest value of every number."""
        packets = [sample(kind, SMALL.packet_size) for kind in KINDS]
        for parameter in self.codec.parameters():
            values = parameter.choices or (
                (False, True)
                if parameter.kind is bool
                else [v for v in (parameter.minimum, parameter.maximum) if v is not None]
            )
            for value in values:
                codec = dataclasses.replace(self.codec, **{parameter.field: value})
                try:
                    payloads = encode(codec, packets, SMALL)
                # A choice of backend, say, whose device is not here.
                except CodecUnavailable:
                    continue
                assert identical(decode(codec, payloads, map(len, packets), SMALL), packets), codec
