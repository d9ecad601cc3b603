from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import data
from benchmarks.compare import page
from benchmarks.compare.groups import Group, select
from benchmarks.compare.link import LOOPBACK
from benchmarks.compare.plan import LINK_MIB, plan

GROUPS = plan()
ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("quick", [False, True])
def test_promises_are_about_rows_of_their_group(quick: bool) -> None:
    for group in plan(quick=quick):
        names = [row.name for row in group.rows]
        assert len(names) == len(set(names))
        for promise in group.promises:
            assert {promise.ours, *promise.theirs} <= set(names)
            assert None in (promise.least, promise.most)


def test_groups_have_names_of_their_own_and_what_they_ask_for() -> None:
    names = [(group.section, group.name) for group in GROUPS]
    assert len(names) == len(set(names))
    for group in GROUPS:
        assert group.data in data.SETS
        assert group.link in {LOOPBACK, *LINK_MIB}
        assert group.section in page.SECTIONS


def test_the_page_has_a_place_for_every_section() -> None:
    text = (ROOT / "docs/benchmarks.md").read_text()
    for name in ("run", "promises", *page.SECTIONS):
        assert page.fill(text, {name: "x"})[1] == []


def names(groups: list[Group]) -> list[str]:
    return [f"{each.section}/{each.name}/{row.name}" for each in groups for row in each.rows]


def test_no_pattern_selects_all() -> None:
    assert select(GROUPS, []) == GROUPS


def test_a_beginning_selects() -> None:
    found = names(select(GROUPS, ["guest/zstd"]))
    assert "guest/zstd/multifd" in found and "guest/zstd/bare codec" in found
    assert all(each.startswith("guest/zstd/") for each in found)


def test_patterns_select_rows_and_the_promises_between_them() -> None:
    found = select(GROUPS, ["guest/zlib/multifd", "guest/*/QEMU"])
    assert names(found) == [
        "guest/none/QEMU", "guest/zstd/QEMU", "guest/zlib/multifd", "guest/zlib/QEMU"
    ]  # fmt: skip
    assert [each.theirs for each in found[-1].promises] == [("QEMU",)] * 3 + [()]


def test_a_pattern_that_nothing_matches() -> None:
    assert select(GROUPS, ["nobody"]) == []
