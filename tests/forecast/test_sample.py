"""Samples: real pages, without the zero pages, or a clear word."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from codecs_core.errors import UsageError
from codecs_core.forecast.sample import of_file, of_programs

PACKET = 512 << 10


def test_zero_pages_are_set_aside(tmp_path: Path) -> None:
    pages = [bytes(4096), b"one" + bytes(4093), bytes(4096), b"two" + bytes(4093)] * 256
    path = tmp_path / "memory"
    path.write_bytes(b"".join(pages) + b"not a whole page")
    sample = of_file(path)
    assert sample.source == str(path)
    assert sample.zero == 0.5
    assert [len(each) for each in sample.packets] == [PACKET] * 4
    assert sample.size == 4 * PACKET
    assert bytes(sample.packets[0][:8192]) == pages[1] + pages[3]


def test_a_large_file_is_sampled_all_over(tmp_path: Path) -> None:
    """Stretches of it, the first and the last pages among them."""
    path = tmp_path / "memory"
    with path.open("wb") as file:
        file.truncate(1 << 30)
        for place in range(0, 1 << 30, 1 << 20):
            file.seek(place)
            file.write(place.to_bytes(8, "big") + b"x" * 4088)
        file.seek(-4096, os.SEEK_END)
        file.write(b"end!" * 1024)
    sample = of_file(path)
    places = {
        int.from_bytes(packet[at : at + 8], "big")
        for packet in sample.packets
        for at in range(0, len(packet), 4096)
    }
    assert min(places) == 0
    assert sum(each < 1 << 30 for each in places) == 64
    assert bytes(sample.packets[-1][-4:]) == b"end!"
    assert sample.zero == pytest.approx(1 - 65 / 16384)


def test_what_is_no_sample(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        of_file(tmp_path / "none")
    with pytest.raises(IsADirectoryError):
        of_file(tmp_path)
    with pytest.raises(UsageError, match="/dev/zero is neither a file nor a block device"):
        of_file("/dev/zero")
    path = tmp_path / "memory"
    for size in (0, 4096, PACKET - 1):
        path.write_bytes(random.Random(1).randbytes(size))
        with pytest.raises(UsageError, match=f"holds {size} bytes, too few for a sample"):
            of_file(path)
    path.write_bytes(bytes(PACKET))
    with pytest.raises(UsageError, match="nothing but zero pages"):
        of_file(path)


def test_programs() -> None:
    sample = of_programs()
    assert sample.source == "programs and shared objects of this host"
    assert sample.size > PACKET
    assert 0 <= sample.zero < 0.5
    assert [bytes(each[:64]) for each in of_programs().packets] == [
        bytes(each[:64]) for each in sample.packets
    ]
