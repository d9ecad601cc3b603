from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.compare import page, plots

END = {"cpu": 0.25, "peak": 20 << 20, "grown": None}


def row(name: str, *seconds: float, why: str = "", **place: Any) -> dict[str, Any]:
    runs = [
        {
            "size": 500_000_000, "seconds": each, "near": END, "far": END, "wire": 125_000_000,
            "told": 126_000_000,
        }
        for each in seconds
    ]  # fmt: skip
    return {"name": name, "runs": runs or [None], "why": why, "series": "", "x": None, **place}


def promise(ours: str, *theirs: str, measure: str = "rate", **bounds: float) -> dict[str, Any]:
    return {
        "ours": ours, "theirs": theirs, "measure": measure, "least": None, "most": None, **bounds
    }  # fmt: skip


def results() -> dict[str, Any]:
    return {
        "machine": {
            "date": "2026-01-02", "commit": "abc", "cpu": "A processor", "cpus": 2,
            "kernel": "6.1", "load": 0.25, "python": "3.11.2",
            "versions": {"QEMU": "QEMU 7.2", "pigz": ""},
            "codecs": {"zstd": "libzstd 1.5.7", "lz4": "liblz4 1.9.4"},
        },
        "settings": {"mib": 512, "rounds": 5},
        "start": {"import": 0.002, "help": 0.05},
        "seconds": 600.0,
        "groups": [
            {
                "section": "guest",
                "name": "zstd",
                "rows": [
                    row("multifd", 1.0, 0.5, 0.8),
                    row("QEMU", 2.0, 1.5, 2.4),
                    row("zstd | socat", why="zstd is not installed: apt install zstd"),
                ],
                "promises": [
                    promise("multifd", "QEMU", least=2.0),
                    promise("multifd", "QEMU", measure="cpu", most=0.8),
                    promise("multifd", "zstd | socat", least=1.3),
                    promise("multifd", measure="peak", most=48.0),
                    promise("QEMU", "multifd"),
                ],
            },
            {
                "section": "channels",
                "name": "none",
                "rows": [
                    row(f"multifd, {count} channels", 1 / count, series="multifd", x=count)
                    for count in (1, 2)
                ],
                "promises": [],
            },
        ],
    }  # fmt: skip


def test_a_row_shows_median_spread_and_both_ends() -> None:
    shown = page.sections(results(), {})["guest"]
    assert (
        r"| zstd | multifd | 625 | 500 to 1000 | 4.00 | 1.00 | 0.50 | 0.50 | 125 | 20 | 20 |"
        in shown
    )


def test_a_row_that_is_missing_says_why() -> None:
    shown = page.sections(results(), {})["guest"]
    assert r"| zstd | zstd \| socat | zstd is not installed: apt install zstd |" in shown


def test_promises_stand_beside_what_was_measured() -> None:
    shown = page.sections(results(), {})["promises"]
    assert "| guest | zstd | multifd | QEMU | rate | 3.00 | 2.00 to 3.00 | ≥ 2 | yes |" in shown
    assert "| CPU s/GB | 1.00 | 1.00 to 1.00 | ≤ 0.8 | **no** |" in shown
    assert "| rate |  |  | ≥ 1.3 | not measured |" in shown
    assert "| multifd |  | peak, MiB | 20.0 | 20.0 to 20.0 | ≤ 48 | yes |" in shown
    assert "| QEMU | multifd |" not in shown


def test_the_run_says_where_when_and_with_what() -> None:
    shown = page.sections(results(), {})["run"]
    for each in (
        "2026-01-02",
        "`abc`",
        "A processor",
        "load 0.2 ",
        "512 MiB, 5 rounds",
        "QEMU 7.2.",
        "The codecs' own: lz4: liblz4 1.9.4; zstd: libzstd 1.5.7.",
        "2 ms",
    ):
        assert each in shown


def test_every_row_of_a_table_has_as_many_cells() -> None:
    for table in page.text(results()).split("\n\n"):
        rows = [line for line in table.splitlines() if line.startswith("|")]
        assert len({line.replace(r"\|", "").count("|") for line in rows}) <= 1


def test_only_marked_places_of_a_page_are_replaced() -> None:
    before = "# Benchmarks\n<!-- compare guest -->\nold\n<!-- /compare guest -->\nby hand\n"
    after, missing = page.fill(before, {"guest": r"new \1", "links": "more"})
    assert after == (
        "# Benchmarks\n<!-- compare guest -->\n\nnew \\1\n<!-- /compare guest -->\nby hand\n"
    )
    assert missing == ["links"]
    assert page.fill(after, {"guest": r"new \1"}) == (after, [])


def test_page_and_pictures_on_disk(tmp_path: Path) -> None:
    target = tmp_path / "docs" / "page.md"
    target.parent.mkdir()
    target.write_text(
        "".join(
            f"<!-- compare {name} -->\n<!-- /compare {name} -->\n"
            for name in ("run", "promises", *page.SECTIONS)
        )
    )
    drawn = plots.draw_all(results(), target.parent)
    assert page.write(target, results(), drawn) == []
    assert "![Rates: guest](compare-guest.svg)" in target.read_text()
    assert target.read_text().count("Not part of this run.") == len(page.SECTIONS) - 2
    for name in ("guest", "channels"):
        assert (target.parent / f"compare-{name}.svg").read_text().startswith("<?xml")


def test_nothing_measured_is_not_drawn(tmp_path: Path) -> None:
    figures = results()
    for group in figures["groups"]:
        for each in group["rows"]:
            each["runs"] = [None]
    assert plots.draw_all(figures, tmp_path) == {}
    assert "not measured" in page.text(figures)
