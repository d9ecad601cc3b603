"""Measurements count what is there: every packet, each half, threads, devices."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest

from codecs_core import Codec, CorruptPayload, Decoder, Encoder, get_codec
from codecs_core.codec import DEFAULT_GEOMETRY, Geometry
from codecs_core.errors import CodecError
from codecs_core.forecast.measure import measure, ratio_of
from codecs_core.forecast.sample import Sample

PACKET = 512 << 10
HEADER = 1344
SAMPLE = Sample(
    "test", tuple(memoryview(bytes([number + 1]) * PACKET) for number in range(7)), zero=0.0
)


class Half(Encoder):
    """Halves packets, each with its number in the session."""

    def __init__(self, log: Log) -> None:
        self.log = log
        self.count = 0
        log.threads.add(threading.get_ident())

    def encode(self, packet: memoryview) -> bytes:
        self.log.encoded.append((self.count, packet[0]))
        self.count += 1
        return bytes([self.count]) + bytes(packet[: PACKET // 2 - 1])

    def statistics(self) -> Mapping[str, int]:
        return (
            {
                "hardware_packets": self.count - self.count // 4,
                "software_packets": self.count // 4,
            }
            if self.log.device
            else {}
        )

    def close(self) -> None:
        self.log.closed += 1


class Whole(Decoder):
    def __init__(self, log: Log) -> None:
        self.log = log
        self.count = 0

    def decode_into(self, payload: memoryview, packet: memoryview) -> None:
        self.count += 1
        if payload[0] != self.count:
            raise CorruptPayload("packets in another order, or of another session")
        self.log.decoded += 1

    def close(self) -> None:
        self.log.closed += 1


class Log:
    def __init__(self, device: bool = False) -> None:
        self.device = device
        self.encoded: list[tuple[int, int]] = []
        self.decoded = 0
        self.closed = 0
        self.threads: set[int] = set()


@dataclass(frozen=True)
class HalfCodec(Codec):
    name = "half"
    log: ClassVar[Log]

    def encoder(self, geometry: Geometry = DEFAULT_GEOMETRY) -> Half:
        return Half(self.log)

    def decoder(self, geometry: Geometry = DEFAULT_GEOMETRY) -> Whole:
        return Whole(self.log)


@pytest.fixture
def log(request: pytest.FixtureRequest) -> Log:
    HalfCodec.log = Log(getattr(request, "param", False))
    return HalfCodec.log


def test_sessions_begin_afresh_and_see_packets_in_order(log: Log) -> None:
    found = measure(HalfCodec(), SAMPLE, channels=2, cpus=2, seconds=0.05)
    assert found.codec == "half"
    assert found.ratio == pytest.approx(PACKET / (PACKET // 2 + HEADER))
    assert found.hardware is None
    assert log.decoded > 0
    # Each channel has every other packet.
    odd, even = ({0: 1, 1: 3, 2: 5, 3: 7}, {0: 2, 1: 4, 2: 6})
    assert all(first in (odd.get(at), even.get(at)) for at, first in log.encoded)
    assert min(found.encode, found.decode) > 0
    assert min(found.encode_cpu, found.decode_cpu) > 0


@pytest.mark.parametrize(("channels", "cpus", "threads"), [(1, 8, 1), (4, 2, 2), (2, 2, 2)])
def test_threads_are_no_more_than_cpus(log: Log, channels: int, cpus: int, threads: int) -> None:
    measure(HalfCodec(), SAMPLE, channels=channels, cpus=cpus, seconds=0.02)
    # One of them is this test's, which asks whether there is a device.
    assert len(log.threads - {threading.get_ident()}) == threads


@pytest.mark.parametrize("log", [True], indirect=True)
def test_a_device_gets_all_channels(log: Log) -> None:
    found = measure(HalfCodec(), SAMPLE, channels=5, cpus=1, seconds=0.02)
    assert len(log.threads - {threading.get_ident()}) == 5
    assert found.hardware is not None
    assert 0.7 <= found.hardware <= 1


def test_both_ends_at_once_on_one_host(log: Log) -> None:
    found = measure(HalfCodec(), SAMPLE, channels=2, cpus=2, seconds=0.05, one_host=True)
    assert found.ratio == pytest.approx(PACKET / (PACKET // 2 + HEADER))
    assert found.encode == pytest.approx(1 / found.encode_cpu)
    assert found.decode == pytest.approx(1 / found.decode_cpu)
    assert log.decoded > 0


def test_nothing_stays_open(log: Log) -> None:
    before = threading.active_count()
    measure(HalfCodec(), SAMPLE, channels=2, cpus=2, seconds=0.02)
    assert threading.active_count() == before
    assert log.closed > 2


def test_more_channels_than_packets(log: Log) -> None:
    found = measure(HalfCodec(), SAMPLE, channels=12, cpus=12, seconds=0.02)
    assert found.ratio == pytest.approx(PACKET / (PACKET // 2 + HEADER))


def test_what_a_codec_raises_is_raised(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: Any, payload: memoryview, packet: memoryview) -> None:
        raise CodecError("the device has gone")

    monkeypatch.setattr(Whole, "decode_into", fail)
    with pytest.raises(CodecError, match="the device has gone"):
        measure(HalfCodec(), SAMPLE, channels=2, cpus=2, seconds=0.02)


def test_the_ratio_alone(log: Log) -> None:
    assert ratio_of(HalfCodec(), SAMPLE) == pytest.approx(PACKET / (PACKET // 2 + HEADER))


def test_pages_that_go_as_they_are_cost_nothing_but_their_way() -> None:
    found = measure(get_codec("none"), SAMPLE, channels=2, cpus=2, seconds=60)
    assert found.ratio == pytest.approx(PACKET / (PACKET + HEADER))
    assert min(found.encode, found.decode) > 1e12
    assert max(found.encode_cpu, found.decode_cpu) < 1e-12


@pytest.mark.parametrize("name", ["zlib", "zstd", "lz4", "qatzip"])
def test_real_codecs(name: str) -> None:
    found = measure(get_codec(name), SAMPLE, channels=2, cpus=2, seconds=0.02)
    assert found.encode > 0
    assert found.ratio > 20
    assert found.hardware in (None, 0)
