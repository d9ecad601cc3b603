"""Snapshots: what a codec's sessions count is carried and summed."""

from __future__ import annotations

import json
from collections.abc import Mapping

from codecs_core.cli.progress import summary
from codecs_core.codec import HARDWARE_PACKETS, SOFTWARE_PACKETS, Encoder
from codecs_core.engine.progress import ChannelProgress, Counters, Progress


class Counting(Encoder):
    def __init__(self, **counts: int) -> None:
        self.counts = counts

    def encode(self, packet: memoryview, /) -> bytes:
        return bytes(packet)

    def statistics(self) -> Mapping[str, int]:
        return self.counts


def progress(*sessions: Encoder) -> Progress:
    counters = Counters()
    channels = tuple(ChannelProgress.of(n, counters, each) for n, each in enumerate(sessions))
    return Progress("fake", 4096, 1.0, None, 0, 0, channels)


def test_counters_of_all_channels_are_summed() -> None:
    done = progress(
        Counting(**{HARDWARE_PACKETS: 3, SOFTWARE_PACKETS: 1, "retries": 2}),
        Counting(**{HARDWARE_PACKETS: 6}),
    )
    assert done.statistics == {HARDWARE_PACKETS: 9, SOFTWARE_PACKETS: 1, "retries": 2}
    assert done.hardware_share == 0.9
    shown = json.loads(json.dumps(done.as_dict()))
    assert shown["hardware_share"] == 0.9
    assert shown["channels"][0]["statistics"]["retries"] == 2
    assert "90% of the packets in hardware" in summary(done)


def test_a_codec_without_a_device_has_no_share() -> None:
    class Plain(Encoder):
        def encode(self, packet: memoryview, /) -> bytes:
            return bytes(packet)

    done = progress(Plain())
    assert done.hardware_share is None
    assert done.statistics == {}
    assert "hardware" not in summary(done)


def test_a_snapshot_does_not_change_with_the_session() -> None:
    session = Counting(**{HARDWARE_PACKETS: 0, SOFTWARE_PACKETS: 0})
    before = progress(session)
    session.counts[HARDWARE_PACKETS] = 5
    assert before.statistics[HARDWARE_PACKETS] == 0
    assert before.hardware_share == 0.0


def test_packets_of_other_codecs_are_not_the_devices() -> None:
    """With ``auto`` the codec that may use a device is one of several."""
    session = Counting(**{HARDWARE_PACKETS: 3, SOFTWARE_PACKETS: 1})
    served = {"none": 8, "qatzip": 4}
    channel = ChannelProgress.of(0, Counters(), session, served)
    done = Progress("auto", 4096, 1.0, None, 0, 0, (channel,))
    assert done.hardware_share == 0.25
    assert "25% of the packets in hardware" in summary(done)
