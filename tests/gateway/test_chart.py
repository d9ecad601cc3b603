from __future__ import annotations

import os
from typing import Any

import pytest

from codecs_core.gateway import chart as module
from codecs_core.gateway.chart import Chart
from codecs_core.gateway.inspect import inspect
from codecs_core.gateway.recording import Recording

PAGE = 4096


def charted(recording: Recording) -> Chart:
    chart = Chart()
    inspect(recording, chart.take)
    if recording.mapped:
        chart.take_mapped(recording)
    return chart


def test_every_recording(recorded: Any) -> None:
    recording = Recording.open(recorded.path)
    chart, summary = charted(recording), inspect(recording)
    assert chart.packets == sum(each.packets for each in summary.channels)
    for channel in summary.channels:
        payload = sum(each[channel.channel] for each in chart.payload.bins)
        assert payload == channel.payload_bytes
    raw = recorded.meta["compression"] == "none"
    for block in summary.blocks:
        if not block.normal_pages:
            assert block.name not in chart.blocks
            continue
        compressed = chart.blocks[block.name]
        assert compressed.memory_bytes == PAGE * block.normal_pages
        assert compressed.measured is raw
        assert 0 < compressed.payload_bytes < compressed.memory_bytes
        if not raw:
            assert compressed.payload_bytes == block.payload_bytes


def test_the_estimate_is_near_what_a_codec_made_of_it(bundled: Any) -> None:
    """The recordings are of guests alike, so their RAM compresses alike."""
    estimate, real, mapped = (
        charted(Recording.open(bundled[name].path)).blocks["pc.ram"]
        for name in ("none-ch2", "zlib-ch4", "mappedram-multifd-ch2")
    )
    share = real.payload_bytes / real.memory_bytes
    assert estimate.payload_bytes / estimate.memory_bytes == pytest.approx(share, rel=0.25)
    assert mapped.payload_bytes / mapped.memory_bytes == pytest.approx(share, rel=0.25)


def test_a_sample_stands_for_its_packet(channel: Any, record: Any) -> None:
    noise = os.urandom(PAGE)
    one = channel(0)
    one.send(dict.fromkeys(range(64), 1))
    header = len(one.data) - 64 * PAGE
    # Only what lies in the sample counts.
    one.data[header + module.SAMPLE :] = noise * (64 - module.SAMPLE // PAGE)
    (block,) = charted(record(None, one)).blocks.values()
    assert (block.memory_bytes, block.measured) == (64 * PAGE, True)
    assert block.payload_bytes < 0.02 * block.memory_bytes


def test_a_long_recording_has_a_bounded_number_of_points(
    channel: Any, record: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_POINTS", 4)
    one, two = channel(0), channel(1)
    for number in range(0, 10, 2):
        one.send({0: 1}, number=number)
        two.send({1: 1, 2: 1}, number=number + 1)
    chart = charted(record(None, one, two))
    assert (chart.packets, chart.payload.width) == (10, 4)
    assert [dict(each) for each in chart.payload.bins] == [
        {0: 2 * PAGE, 1: 4 * PAGE},
        {0: 2 * PAGE, 1: 4 * PAGE},
        {0: PAGE, 1: 2 * PAGE},
    ]
