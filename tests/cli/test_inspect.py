from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest


def test_a_recording(bundled: Any, multifd: Any) -> None:
    result = multifd("inspect", str(bundled["zlib-ch4"].path))
    assert result.status == 0
    first, second, _, columns, *rows = result.out.splitlines()
    assert first.endswith("zlib-ch4: a recorded migration, pages sent in 2 rounds")
    assert second.startswith("main.bin.zst: machine pc-q35-10.0, pages of 4.0 KiB, RAM complete")
    assert columns.split() == [
        "CHANNEL", "FILE", "CODEC", "PACKETS", "SYNCS", "NORMAL", "ZERO", "PAYLOAD", "MEMORY",
        "RATIO",
    ]  # fmt: skip
    assert [row.split()[:5] for row in rows[:4]] == [
        ["0", "ch0.bin.zst", "zlib", "18", "5"],
        ["1", "ch1.bin.zst", "zlib", "20", "5"],
        ["2", "ch2.bin.zst", "zlib", "27", "5"],
        ["3", "ch3.bin.zst", "zlib", "26", "5"],
    ]
    assert rows[5].split() == ["BLOCK", "SIZE", "NORMAL", "ZERO"]
    assert rows[6].split() == ["pc.ram", "32.0", "MiB", "1846", "6475"]


def test_json(bundled: Any, multifd: Any) -> None:
    summary = multifd("inspect", str(bundled["qemu72-zstd-ch2"].path), "--json").json
    assert (summary["kind"], summary["rounds"], summary["missing_channels"]) == (
        "recording",
        11,
        [],
    )
    assert summary["main"]["machine"] == "pc-q35-7.2"
    assert summary["main"]["zero_pages"] == 6587
    assert summary["channels"][1]["codecs"] == ["zstd"]
    assert summary["channels"][1]["ratio"] > 5
    assert {
        "name": "pc.ram",
        "size": 32 << 20,
        "normal_pages": 1942,
        "zero_pages": 6508,
    } in summary["blocks"]


def test_a_mapped_ram_file(bundled: Any, multifd: Any) -> None:
    output = multifd("inspect", str(bundled["mappedram-multifd-ch2"].path)).out
    assert "a mapped-ram file\n" in output
    assert "capabilities mapped-ram" in output
    assert "CHANNEL" not in output


def test_what_is_missing_is_said(bundled: Any, multifd: Any, tmp_path: Path) -> None:
    directory = bundled["none-ch2"].unpack(tmp_path / "unpacked", "ch1.bin")
    result = multifd("inspect", str(directory))
    assert result.status == 0
    assert "\nchannel 0 is missing\n" in result.out


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        (None, "recording: No such file or directory"),
        (b"", "recording is empty"),
        (b"\x1b[2J" * 20, "recording begins with 1b 5b 32 4a"),
    ],
)
def test_one_line_says_what_is_wrong(
    contents: bytes | None, message: str, multifd: Any, tmp_path: Path
) -> None:
    path = tmp_path / "recording"
    if contents is not None:
        path.write_bytes(contents)
    result = multifd("inspect", str(path))
    assert (result.status, result.out) == (1, "")
    assert result.err.startswith("multifd: error: ")
    assert message in result.err
    assert result.err.count("\n") == 1


def test_a_directory_that_is_no_recording(multifd: Any, tmp_path: Path) -> None:
    result = multifd("inspect", str(tmp_path))
    assert result.status == 2
    assert "is no recording: it holds nothing" in result.err
