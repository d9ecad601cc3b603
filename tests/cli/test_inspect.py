from __future__ import annotations

import json
import subprocess
import sys
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
    assert rows[5].split() == [
        "ROUND", "PACKETS", "DIRTY", "NORMAL", "ZERO", "PAYLOAD", "MEMORY", "RATIO",
    ]  # fmt: skip
    assert rows[6].split()[:5] == ["1", "69", "0", "1785", "6537"]
    assert rows[7].split() == ["2", "2", "129", "113", "16", "19.2", "KiB", "452.0", "KiB", "23.60"]
    assert rows[9].split() == ["BLOCK", "SIZE", "NORMAL", "ZERO", "PAYLOAD", "MEMORY", "RATIO"]
    assert rows[10].split()[:7] == ["pc.ram", "32.0", "MiB", "1846", "6475", "1.4", "MiB"]


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
        "payload_bytes": 1473446,
        "memory_bytes": 1942 * 4096,
        "ratio": 1942 * 4096 / 1473446,
    } in summary["blocks"]
    assert len(summary["per_round"]) == 11
    first, last = summary["per_round"][0], summary["per_round"][-1]
    assert (first["first"], first["last"], first["dirty_pages"]) == (1, 1, 1)
    assert (last["first"], last["normal_pages"], last["dirty_pages"]) == (11, 48, 64)
    assert last["ratio"] > 40


def test_a_mapped_ram_file(bundled: Any, multifd: Any) -> None:
    output = multifd("inspect", str(bundled["mappedram-multifd-ch2"].path)).out
    assert "a mapped-ram file\n" in output
    assert "capabilities mapped-ram" in output
    assert "CHANNEL" not in output
    assert "ROUND" not in output
    assert "PAYLOAD" not in output


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


def test_packets(bundled: Any, multifd: Any) -> None:
    """QEMU 7.2: SYNC on data packets, repeated numbers, zero pages on the main channel."""
    result = multifd("inspect", str(bundled["qemu72-zstd-ch2"].path), "--packets")
    assert (result.status, result.err) == (0, "")
    lines = result.out.splitlines()
    assert lines[0].split() == [
        "ROUND", "CHANNEL", "PACKET", "FLAGS", "CODEC", "NORMAL", "ZERO", "DIRTY", "PAYLOAD",
        "MEMORY", "RATIO", "BLOCK", "AND", "OFFSETS",
    ]  # fmt: skip
    shown = [" ".join(line.split()) for line in lines[1:]]
    assert shown[:12] == [
        "1 0 0 0x01 SYNC",
        "1 1 1 0x01 SYNC",
        "----- SYNC: no page was sent -----",
        "1 main 0 1058 0 pc.ram zero 0x1000-0x5fff 0x7000-0x8fff 0xa000-0x9efff and 9 more",
        "1 0 2 0x04 zstd 128 0 0 64.5 KiB 512.0 KiB 7.94 pc.ram 0x0 0x6000 0x9000 and 7 more",
        "1 1 3 0x04 zstd 128 0 0 101.4 KiB 512.0 KiB 5.05 "
        "pc.ram 0x2c7000-0x2eafff 0x34c000-0x359fff 0x3d0000 and 1 more",
        "1 0 5 0x05 SYNC zstd 1 0 1 728 B 4.0 KiB 5.63 pc.ram 0x521000",
        "1 1 6 0x01 SYNC",
        "----- SYNC: round 1 ends -----",
        "2 main 0 1552 0 pc.ram zero 0x555000-0x634fff 0x645000-0x695fff 0x69e000-0x6f1fff "
        "and 8 more",
        "2 0 5 0x00",
        "2 0 9 0x05 SYNC zstd 128 0 0 288.6 KiB 512.0 KiB 1.77 "
        "pc.ram 0x976000-0x9e7fff 0xa24000-0xa26fff 0xaee000-0xaf2fff and 2 more",
    ]
    assert [line for line in shown if line.startswith("-")] == [
        "----- SYNC: no page was sent -----",
        *(f"----- SYNC: round {number} ends -----" for number in range(1, 12)),
        "----- SYNC: no page was sent -----",
    ]


def test_packets_as_json(bundled: Any, multifd: Any) -> None:
    recorded = bundled["qemu72-zstd-ch2"]
    output = multifd("inspect", str(recorded.path), "--packets", "--json").out
    lines = [json.loads(line) for line in output.splitlines()]
    packets = [line for line in lines if line["channel"] is not None]
    decoded = recorded.meta["decoded"]["packets"]
    assert len(packets) == decoded["packets"]
    assert sum(line["sync"] for line in packets) == decoded["sync_packets"]
    assert sum(line["payload_bytes"] for line in lines) == decoded["payload_bytes"]
    assert sum(line["normal_pages"] for line in lines) == decoded["normal_pages"]
    for line in lines:
        for kind in ("normal", "zero"):
            runs = line[f"{kind}_runs"]
            assert sum(pages for _, pages in runs) == line[f"{kind}_pages"]
            ends = [offset + 4096 * pages for offset, pages in runs]
            assert all(end != start for end, (start, _) in zip(ends, runs[1:], strict=False))
    assert lines[5] == {
        "round": 1,
        "channel": 0,
        "packet_num": 5,
        "flags": 5,
        "sync": True,
        "codec": "zstd",
        "block": "pc.ram",
        "normal_pages": 1,
        "zero_pages": 0,
        "dirty_pages": 1,
        "payload_bytes": 728,
        "memory_bytes": 4096,
        "ratio": 4096 / 728,
        "normal_runs": [[0x521000, 1]],
        "zero_runs": [],
    }
    assert {(line["channel"], line["packet_num"], line["flags"]) for line in lines[2:3]} == {
        (None, None, None)
    }


def test_packets_before_what_is_damaged(bundled: Any, multifd: Any, tmp_path: Path) -> None:
    directory = bundled["zlib-ch4"].unpack(tmp_path / "unpacked")
    path = directory / "ch2.bin"
    path.write_bytes(path.read_bytes()[:-1])
    result = multifd("inspect", str(directory), "--packets", "--json")
    assert result.status == 1
    assert result.err.startswith("multifd: error: ch2.bin: the channel ends after 345714 bytes")
    *packets, error = map(json.loads, result.out.splitlines())
    assert len(packets) > 50
    assert error["error"]["kind"] == "TruncatedStream"


def test_a_mapped_ram_file_has_no_packets(bundled: Any, multifd: Any) -> None:
    result = multifd("inspect", str(bundled["mappedram-multifd-ch2"].path), "--packets")
    assert (result.status, result.out) == (2, "")
    assert "is a mapped-ram file; there are no packets in it" in result.err


@pytest.mark.parametrize("more", [[], ["--json"]])
def test_a_reader_of_packets_that_has_enough(bundled: Any, more: list[str]) -> None:
    with subprocess.Popen(
        [
            *(sys.executable, "-c", "from codecs_core.cli import main; raise SystemExit(main())"),
            *("inspect", "--packets", *more, str(bundled["zlib-ch4"].path)),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout and process.stderr
        process.stdout.close()
        assert process.stderr.read() == b""


def test_a_picture(bundled: Any, multifd: Any, tmp_path: Path) -> None:
    path = tmp_path / "picture.svg"
    recorded = bundled["qemu72-zstd-ch2"].path
    plain = multifd("inspect", str(recorded))
    assert multifd("inspect", str(recorded), "--plot", str(path)) == plain
    text = path.read_text()
    assert "Pages by round" in text
    assert "18.5 % of 7.6 MiB" in text
    assert list(tmp_path.iterdir()) == [path]


def test_a_picture_and_packets(bundled: Any, multifd: Any, tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    recorded = str(bundled["zlib-ch4"].path)
    result = multifd("inspect", recorded, "--packets", "--json", "--plot", str(path))
    assert json.loads(result.out.splitlines()[0])["round"] == 1
    assert path.stat().st_size > 10_000


@pytest.mark.parametrize(
    ("name", "status", "message"),
    [
        ("picture.pdf", 2, "pictures are drawn as .png or .svg"),
        ("missing/picture.png", 1, "missing is no directory"),
        (".", 2, "is a directory"),
    ],
)
def test_no_picture(
    name: str, status: int, message: str, bundled: Any, multifd: Any, tmp_path: Path
) -> None:
    recorded = str(bundled["zlib-ch4"].path)
    result = multifd("inspect", recorded, "--plot", str(tmp_path / name))
    assert (result.status, result.out) == (status, "")
    assert message in result.err
    assert list(tmp_path.iterdir()) == []


def test_no_picture_of_what_is_damaged(bundled: Any, multifd: Any, tmp_path: Path) -> None:
    directory = bundled["zlib-ch4"].unpack(tmp_path / "unpacked")
    (directory / "ch2.bin").write_bytes((directory / "ch2.bin").read_bytes()[:-1])
    result = multifd("inspect", str(directory), "--plot", str(tmp_path / "picture.png"))
    assert (result.status, result.out) == (1, "")
    assert list(tmp_path.iterdir()) == [directory]
