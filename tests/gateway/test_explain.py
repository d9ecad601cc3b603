"""Rounds and dirty pages, step by step, held against a plain account of the replay."""

from __future__ import annotations

import struct
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from codecs_core.errors import ProtocolError
from codecs_core.gateway.explain import Explained, explain
from codecs_core.gateway.inspect import MAX_ROUNDS, inspect
from codecs_core.gateway.recording import Recording
from codecs_core.gateway.replay import Packet, replay
from codecs_core.wire import qemu

PAGE = 4096


def sent(recording: Recording) -> list[Explained]:
    """The steps that send pages; their payloads are copied, so that they stay."""
    return [step for step in explain(recording) if step.block is not None]


def by_hand(recording: Recording) -> dict[int, Counter[str]]:
    """Pages by round, counted one by one with a set of all that were sent."""
    rounds: dict[int, Counter[str]] = {}
    seen: set[tuple[str, int]] = set()
    number = 1
    for step in replay(recording):
        match step:
            case qemu.SyncPoint():
                number = len(rounds) + 1
                continue
            case Packet():
                block, offsets = step.header.block, step.header.offsets
                normal = step.header.normal_pages
            case qemu.ZeroPages():
                block, offsets, normal = step.block, step.offsets, 0
            case qemu.Page():
                block, offsets, normal = step.block, step.offset.to_bytes(8), 1
            case _:
                continue
        for place, (offset,) in enumerate(struct.iter_unpack(">Q", offsets)):
            kind = "normal" if place < normal else "zero"
            counts = rounds.setdefault(number, Counter())
            counts[kind] += 1
            counts[f"dirty {kind}"] += (block, offset) in seen
            seen.add((block, offset))
    return rounds


def test_every_recording_by_hand(recorded: Any) -> None:
    recording = Recording.open(recorded.path)
    rounds = inspect(recording).per_round
    assert {
        each.first: (
            each.normal_pages, each.zero_pages, each.dirty_normal_pages, each.dirty_zero_pages
        )
        for each in rounds
    } == {
        number: tuple(counts[kind] for kind in ("normal", "zero", "dirty normal", "dirty zero"))
        for number, counts in by_hand(recording).items()
    }  # fmt: skip


def test_rounds_of_the_bundled_recordings(bundled: Any) -> None:
    def rounds(name: str) -> list[tuple[int | None, ...]]:
        summary = inspect(Recording.open(bundled[name].path))
        return [(e.packets, e.normal_pages, e.zero_pages, e.dirty_pages) for e in summary.per_round]

    assert rounds("zlib-ch4") == [(69, 1785, 6537, 0), (2, 113, 16, 129)]
    assert rounds("none-ch2") == [(69, 1785, 6537, 0), *[(2, 113, 16, 129)] * 4]
    # QEMU 7.2 sent one page of the first round twice in it; its zero pages are on the main channel.
    assert rounds("qemu72-zstd-ch2")[0] == (3, 257, 1058, 1)
    assert rounds("qemu72-zstd-ch2")[-3:] == [
        (1, 113, 16, 129),
        (1, 48, 16, 64),
        (1, 48, 16, 64),
    ]
    assert rounds("mappedram-multifd-ch2") == []


def test_sums_by_round_and_block_are_those_by_channel(recorded: Any) -> None:
    summary = inspect(Recording.open(recorded.path))
    if summary.kind == "mapped-ram":
        return
    for name in ("payload_bytes", "memory_bytes"):
        by_channel = sum(getattr(each, name) for each in summary.channels)
        assert sum(getattr(each, name) for each in summary.per_round) == by_channel
        assert sum(getattr(each, name) for each in summary.blocks) == by_channel
    assert summary.per_round[-1].last == summary.rounds == len(summary.per_round)


def test_a_step_tells_its_round_codec_and_dirty_pages(
    main_stream: Any, channel: Any, record: Any
) -> None:
    main = main_stream().start({"pc.ram": 8 * PAGE}).part().end().devices("cpu")
    one = channel(0).sync().send({0: 1, 1: 1, 2: 0}, number=1).sync(2)
    one.send({1: 1, 3: 1, 2: 0, 0: 0}, number=3).sync(4)
    steps = [step for step in explain(record(main, one)) if isinstance(step.step, Packet)]
    assert [(s.round, s.codec, s.dirty_normal_pages, s.dirty_zero_pages) for s in steps] == [
        (1, None, None, None),
        (1, "none", 0, 0),
        (1, None, None, None),
        (2, "none", 1, 2),
        (2, None, None, None),
    ]
    assert [(s.normal_pages, s.zero_pages, s.memory_bytes) for s in steps[1::2]] == [
        (2, 1, 2 * PAGE),
        (2, 2, 2 * PAGE),
    ]


def test_sync_on_a_data_packet_ends_its_round(main_stream: Any, channel: Any, record: Any) -> None:
    """As QEMU 7.2 sends it: the packet behind it repeats its number."""
    main = main_stream().start({"pc.ram": 8 * PAGE}).part().end().devices("cpu")
    one = channel(0).send({0: 1}, sync=True, number=5).send({}, number=5, method=0)
    one.send({1: 1}, number=6, sync=True).send({0: 1, 1: 1}, sync=True, number=6)
    steps = sent(record(main, one))
    assert [(s.round, s.dirty_normal_pages) for s in steps] == [(1, 0), (2, 0), (3, 2)]


def test_pages_on_the_main_channel(main_stream: Any, channel: Any, record: Any) -> None:
    main = main_stream()
    main.start({"pc.ram": 8 * PAGE}, main.zero(0, "pc.ram"), main.page(PAGE, "pc.ram", b"x" * PAGE))
    main.end(main.zero(PAGE, "pc.ram")).devices("cpu")
    steps = sent(record(main))
    assert [(s.round, s.normal_pages, s.dirty_normal_pages, s.dirty_zero_pages) for s in steps] == [
        (1, 0, 0, 0),
        (1, 1, 0, 0),
        (2, 0, 0, 1),
    ]
    assert [len(s.payload) for s in steps] == [0, PAGE, 0]


def test_dirty_pages_are_not_told_where_something_is_missing(bundled: Any, tmp_path: Path) -> None:
    recorded = bundled["none-ch2"]
    for place, files in enumerate((["ch0.bin", "ch1.bin"], ["main.bin", "ch1.bin"], ["ch0.bin"])):
        path = recorded.unpack(tmp_path / str(place), *files)
        for each in inspect(Recording.open(path if len(files) > 1 else path / files[0])).per_round:
            assert each.dirty_pages is each.dirty_normal_pages is each.dirty_zero_pages is None
            assert each.normal_pages + each.zero_pages


@pytest.mark.parametrize("offset", [8 * PAGE, 5, (1 << 64) - PAGE])
def test_an_offset_that_is_no_page(
    main_stream: Any, channel: Any, record: Any, offset: int
) -> None:
    main = main_stream().start({"pc.ram": 8 * PAGE}).end().devices("cpu")
    one = channel(0).send({0: 1}, number=3, offsets=struct.pack(">Q", offset)).sync().sync()
    message = rf"^ch0\.bin: packet 3: offset {offset:#x} is not a page of block 'pc\.ram'"
    with pytest.raises(ProtocolError, match=message):
        inspect(record(main, one))


def test_the_largest_guest_costs_only_what_it_sends(
    main_stream: Any, channel: Any, record: Any
) -> None:
    size = qemu.MAX_PAGES * PAGE
    main = main_stream().start({"pc.ram": size}).end().devices("cpu")
    last = struct.pack(">QQ", size - PAGE, size - PAGE)
    one = channel(0).send({0: 0, 1: 0}, offsets=last).sync().sync()
    (only,) = inspect(record(main, one)).per_round
    assert (only.zero_pages, only.dirty_zero_pages) == (2, 1)


def test_of_a_larger_one_dirty_pages_are_not_told(
    main_stream: Any, channel: Any, record: Any
) -> None:
    size = qemu.MAX_PAGES * PAGE
    main = main_stream().start({"pc.ram": size, "more": PAGE}).end().devices("cpu")
    (only,) = inspect(record(main, channel(0).send({0: 1}).sync().sync())).per_round
    assert (only.normal_pages, only.dirty_pages) == (1, None)


def test_very_many_rounds_are_put_together(channel: Any, record: Any) -> None:
    one = channel(0)
    for _ in range(2 * MAX_ROUNDS + 1):
        one.send({0: 0}).sync()
    summary = inspect(record(None, one))
    assert summary.rounds == 2 * MAX_ROUNDS + 1
    assert [(e.first, e.last, e.zero_pages, e.packets) for e in summary.per_round] == [
        *((first, first + 3, 4, 4) for first in range(1, 2 * MAX_ROUNDS, 4)),
        (2 * MAX_ROUNDS + 1, 2 * MAX_ROUNDS + 1, 1, 1),
    ]
