"""What is drawn: the panels that there is data for, with the data in them."""

from __future__ import annotations

import io
from typing import Any

import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from codecs_core.errors import ProtocolError
from codecs_core.gateway import plot
from codecs_core.gateway.chart import Chart
from codecs_core.gateway.inspect import MAX_ROUNDS, inspect
from codecs_core.gateway.recording import Recording

PAGE = 4096
ROUNDS, PAYLOAD = "Pages by round", "Payload by channel, added up"
PAGES, BLOCKS = "Pages by RAM block", "Compressibility of each RAM block"


def drawn(recording: Recording) -> Figure:
    chart = Chart()
    summary = inspect(recording, chart.take)
    if recording.mapped:
        chart.take_mapped(recording)
    figure = plot.draw(summary, chart)
    figure.savefig(io.BytesIO(), format="png")
    return figure


def panels(figure: Figure) -> dict[str, Axes]:
    return {axes.get_title(loc="left"): axes for axes in figure.axes}


def legend(axes: Axes) -> list[str]:
    found = axes.get_legend()
    assert found is not None
    return [text.get_text() for text in found.get_texts()]


def rows(axes: Axes) -> list[str]:
    return [label.get_text() for label in axes.get_yticklabels()]


def test_every_recording(recorded: Any) -> None:
    figure = drawn(Recording.open(recorded.path))
    wanted = [PAGES, BLOCKS] if recorded.meta["mapped_ram"] else [ROUNDS, PAYLOAD, BLOCKS]
    assert list(panels(figure)) == wanted


def test_the_numbers(bundled: Any) -> None:
    found = panels(drawn(Recording.open(bundled["zlib-ch4"].path)))
    rounds = found[ROUNDS]
    assert legend(rounds) == ["first sent, normal", "first sent, zero", "sent again (dirty)"]
    heights = [[bar.get_height() for bar in bars] for bars in rounds.containers]
    assert heights == [[1785, 0], [6537, 0], [0, 129]]
    assert [text.get_text() for text in rounds.texts] == ["8,322", "129"]
    # From top to bottom, as the bands lie.
    assert legend(found[PAYLOAD]) == [f"channel {number}" for number in (3, 2, 1, 0)]
    assert found[PAYLOAD].get_ylabel() == "MiB"
    blocks = found[BLOCKS]
    assert rows(blocks)[:2] == ["pc.ram", "pc.bios"]
    assert blocks.containers[0][0].get_width() == pytest.approx(19.65, abs=0.01)
    assert blocks.texts[0].get_text() == "19.6 % of 7.2 MiB"
    assert blocks.get_xlabel().endswith("(zlib)")


def test_what_is_measured_is_said(bundled: Any) -> None:
    for name in ("none-ch2", "mappedram-multifd-ch2"):
        found = panels(drawn(Recording.open(bundled[name].path)))
        assert found[BLOCKS].get_xlabel().endswith("(samples compressed by deflate, level 1)")


def test_one_channel_alone(bundled: Any) -> None:
    found = panels(drawn(Recording.open(bundled["zlib-ch4"].path / "ch1.bin.zst")))
    assert list(found) == [ROUNDS, PAYLOAD, BLOCKS]
    assert legend(found[ROUNDS]) == ["normal", "zero"]
    assert legend(found[PAYLOAD]) == ["channel 1"]


def test_the_main_channel_alone(bundled: Any) -> None:
    found = panels(drawn(Recording.open(bundled["qemu72-zstd-ch2"].path / "main.bin.zst")))
    assert list(found) == [ROUNDS]


def test_many_rounds_channels_and_blocks(channel: Any, record: Any) -> None:
    channels = [channel(number) for number in range(20)]
    for round_number in range(MAX_ROUNDS + 1):
        for number, each in enumerate(channels):
            each.send({round_number: 1}, block=f"block{number:02}", number=round_number).sync()
    found = panels(drawn(record(None, *channels)))
    assert found[ROUNDS].get_xlabel() == "round (means of 2 rounds)"
    heights = [bar.get_height() for bar in found[ROUNDS].containers[0]]
    assert heights == [20] * (MAX_ROUNDS // 2 + 1)
    assert legend(found[PAYLOAD]) == [f"channel {number}" for number in range(18, -1, -3)]
    assert len(rows(found[f"{BLOCKS}: the 12 largest of 20"])) == 12


def test_names_are_text_and_no_formulas(channel: Any, record: Any) -> None:
    names = ["$\\frac$", "\x1b[2J", "\u6f22", "a" * 200, "$x$"]
    one = channel(0)
    for name in names:
        one.send({0: 1}, block=name)
    found = panels(drawn(record(None, one)))
    assert rows(found[BLOCKS]) == [
        "$\\\\frac$", "\\x1b[2J", "\\u6f22", "..." + "a" * 29, "$x$",
    ]  # fmt: skip


def test_nothing_to_draw(channel: Any, record: Any) -> None:
    with pytest.raises(ProtocolError, match="no page was sent, so there is nothing to draw"):
        drawn(record(None, channel(0).sync()))
