from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from codecs_core.errors import ProtocolError, TruncatedStream
from codecs_core.gateway.inspect import BlockSummary, inspect
from codecs_core.gateway.recording import Recording

PAGE = 4096


def test_every_recording(recorded: Any) -> None:
    summary = inspect(Recording.open(recorded.path))
    decoded = recorded.meta["decoded"]
    main = summary.main
    assert main is not None
    assert main.machine == decoded["main"]["machine"]
    assert main.ram_complete
    assert main.devices is not None
    assert len(main.devices) == decoded["main"]["devices"]
    assert main.zero_pages == decoded["main"]["events"].get("zero", 0)
    assert [(b.name, b.size) for b in summary.blocks] == [
        (b["name"], b["size"]) for b in recorded.meta["blocks"]
    ]
    if recorded.meta["mapped_ram"]:
        assert (summary.kind, summary.rounds, summary.channels) == ("mapped-ram", None, [])
        assert main.capabilities == ["mapped-ram"]
        assert all(b.size == PAGE * (b.normal_pages + b.zero_pages) for b in summary.blocks)
        return
    channels = summary.channels
    packets = decoded["packets"]
    assert (summary.kind, len(channels)) == ("recording", recorded.meta["channels"])
    assert sum(each.packets for each in channels) == packets["packets"]
    assert sum(each.syncs for each in channels) == packets["sync_packets"]
    assert sum(each.normal_pages for each in channels) == packets["normal_pages"]
    assert sum(each.zero_pages for each in channels) == packets["zero_pages"]
    assert sum(each.payload_bytes for each in channels) == packets["payload_bytes"]
    assert sum(each.memory_bytes for each in channels) == PAGE * packets["normal_pages"]
    sent = packets["normal_pages"] + packets["zero_pages"] + main.zero_pages
    assert sum(b.normal_pages + b.zero_pages for b in summary.blocks) == sent


def test_rounds_and_codecs(bundled: Any) -> None:
    summaries = {name: inspect(Recording.open(recorded.path)) for name, recorded in bundled.items()}
    assert {name: summary.rounds for name, summary in summaries.items()} == {
        "none-ch2": 5,
        "zlib-ch4": 2,
        "qemu72-zstd-ch2": 11,
        "mappedram-multifd-ch2": None,
    }
    assert {name: [c.codecs for c in s.channels] for name, s in summaries.items()} == {
        "none-ch2": [["none"]] * 2,
        "zlib-ch4": [["zlib"]] * 4,
        "qemu72-zstd-ch2": [["zstd"]] * 2,
        "mappedram-multifd-ch2": [],
    }
    assert all(channel.ratio == 1 for channel in summaries["none-ch2"].channels)
    assert all((channel.ratio or 0) > 2 for channel in summaries["zlib-ch4"].channels)


def test_without_the_main_channel(bundled: Any, tmp_path: Path) -> None:
    summary = inspect(
        Recording.open(bundled["none-ch2"].unpack(tmp_path / "unpacked", "ch0.bin", "ch1.bin"))
    )
    assert (summary.kind, summary.main, summary.rounds) == ("recording", None, 5)
    assert BlockSummary("pc.ram", None, 2185, 6523, 8949760, 8949760) in summary.blocks


def test_a_channel_is_missing(bundled: Any, tmp_path: Path) -> None:
    summary = inspect(
        Recording.open(bundled["none-ch2"].unpack(tmp_path / "unpacked", "main.bin", "ch1.bin"))
    )
    assert summary.missing_channels == [0]
    assert [(c.channel, c.normal_pages) for c in summary.channels] == [(1, 906)]


@pytest.mark.parametrize(("file", "kind"), [("main.bin.zst", "main"), ("ch1.bin.zst", "channel")])
def test_one_file(bundled: Any, file: str, kind: str) -> None:
    summary = inspect(Recording.open(bundled["zlib-ch4"].path / file))
    assert (summary.kind, summary.missing_channels) == (kind, [])
    assert summary.as_dict()["path"].endswith(file)


def test_a_device_before_the_end_of_the_ram(main_stream: Any, channel: Any, record: Any) -> None:
    main = main_stream().start({"pc.ram": PAGE}).devices("vfio")
    summary = inspect(record(main, channel(0).send({0: 1}).sync().send({0: 2})))
    assert summary.main is not None
    assert not summary.main.ram_complete
    assert summary.rounds == 2


def test_codecs_that_are_not_here(channel: Any, record: Any) -> None:
    one = channel(0).send({0: 1}, method=29).send({1: 0}, method=31).send({2: 1}, method=29)
    recording = record(None, one)
    assert inspect(recording).channels[0].codecs == ["method 29", "method 31"]
    recording = record(None, one, meta={"compression": "lz4"})
    assert inspect(recording).channels[0].codecs == ["method 29", "lz4"]


def test_nothing_was_sent(channel: Any, record: Any) -> None:
    summary = inspect(record(None, channel(0)))
    assert (summary.rounds, summary.blocks) == (0, [])
    assert summary.as_dict()["channels"][0]["ratio"] is None


def test_block_names_are_bounded(channel: Any, record: Any) -> None:
    one = channel(0)
    for number in range(4097):
        one.send({0: 0}, block=f"block{number}")
    with pytest.raises(
        ProtocolError, match=r"ch0\.bin: packet 0: there is no RAM block 'block4096'"
    ):
        inspect(record(None, one))


def test_a_block_that_is_not_listed(main_stream: Any, channel: Any, record: Any) -> None:
    main = main_stream().start({"pc.ram": PAGE}).end().devices("cpu")
    with pytest.raises(ProtocolError, match=r"ch0\.bin: packet 3: there is no RAM block 'pc\.rom'"):
        inspect(record(main, channel(0).send({0: 1}, block="pc.rom", number=3)))


def test_cut_short(bundled: Any, tmp_path: Path) -> None:
    directory = bundled["zlib-ch4"].unpack(tmp_path / "unpacked")
    path = directory / "ch2.bin"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(TruncatedStream, match=r"^ch2\.bin: the channel ends after 345714 bytes"):
        inspect(Recording.open(directory))


def test_a_mapped_ram_file_that_is_cut_short(bundled: Any, tmp_path: Path) -> None:
    path = bundled["mappedram-multifd-ch2"].unpack(tmp_path / "unpacked") / "file.mig"
    data = path.read_bytes()
    for end in (100, 110, 1000, 1 << 20, 20 << 20, len(data) - (80 << 10)):
        path.write_bytes(data[:end])
        with pytest.raises(TruncatedStream, match=rf"^file\.mig: the main stream ends after {end}"):
            inspect(Recording.open(path))
