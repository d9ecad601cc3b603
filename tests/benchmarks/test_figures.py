from __future__ import annotations

from typing import Any

import pytest

from benchmarks.compare.figures import Figure, figure, kept, promised, value

MIB = 1 << 20


def run(seconds: float, **changes: Any) -> dict[str, Any]:
    return {
        "size": 1_000_000_000,
        "seconds": seconds,
        "near": {"cpu": 1.0, "peak": 10 * MIB, "grown": None},
        "far": {"cpu": 2.0, "peak": 30 * MIB, "grown": None},
        "wire": 250_000_000,
        "told": 260_000_000,
        **changes,
    }


def group(**rows: list[Any]) -> dict[str, Any]:
    return {"rows": [{"name": name, "runs": runs, "why": ""} for name, runs in rows.items()]}


def promise(*theirs: str, measure: str = "rate", **bounds: float) -> dict[str, Any]:
    return {
        "ours": "ours", "theirs": theirs, "measure": measure, "least": None, "most": None, **bounds
    }  # fmt: skip


@pytest.mark.parametrize(
    ("measure", "expected"), [("rate", 5e8), ("ratio", 4.0), ("cpu", 3.0), ("peak", 30.0)]
)
def test_a_run_s_figures(measure: str, expected: float) -> None:
    assert value(run(2.0), measure) == expected


def test_the_ratio_is_by_the_payloads_where_there_is_no_link() -> None:
    assert value(run(2.0, wire=None, told=500_000_000), "ratio") == 2.0
    assert value(run(2.0, told=None, wire=None), "ratio") is None


def test_an_end_without_memory() -> None:
    bare = {"cpu": 1.0, "peak": None, "grown": None}
    assert value(run(1.0, near=bare, far=bare), "peak") is None


def test_median_and_spread_leave_out_what_failed() -> None:
    found = figure({"runs": [run(4.0), None, run(1.0), run(2.0)]}, "rate")
    assert found == Figure(5e8, 2.5e8, 1e9)


def test_nothing_was_measured() -> None:
    assert figure({"runs": [None]}, "rate") is None
    assert promised(group(ours=[None], theirs=[run(1.0)]), promise("theirs")) is None


def test_quotients_are_those_of_neighbours() -> None:
    """The machine was slow in the second round for both."""
    found = promised(
        group(ours=[run(1.0), run(10.0), run(1.0)], theirs=[run(2.0), run(20.0), run(3.0)]),
        promise("theirs"),
    )
    assert found == Figure(2.0, 2.0, 3.0)


def test_a_round_that_failed_on_one_side_does_not_count() -> None:
    found = promised(
        group(ours=[run(1.0), None, run(1.0)], theirs=[None, run(9.0), run(3.0)]),
        promise("theirs"),
    )
    assert found == Figure(3.0, 3.0, 3.0)


def test_the_best_of_several_is_chosen_in_each_round() -> None:
    found = promised(
        group(ours=[run(1.0)] * 2, first=[run(2.0), run(5.0)], second=[run(4.0), run(3.0)]),
        promise("first", "second"),
    )
    assert found == Figure(2.5, 2.0, 3.0)


def test_the_best_is_the_least_where_less_is_better() -> None:
    near = {"cpu": 4.0, "peak": None, "grown": None}
    found = promised(
        group(ours=[run(1.0)], first=[run(1.0, near=near)], second=[run(1.0)]),
        promise("first", "second", measure="cpu"),
    )
    assert found == Figure(1.0, 1.0, 1.0)


def test_a_figure_alone() -> None:
    found = promised(group(ours=[run(1.0)]), promise(measure="peak"))
    assert found == Figure(30.0, 30.0, 30.0)


@pytest.mark.parametrize(
    ("bounds", "median", "expected"),
    [
        ({"least": 2.0}, 2.0, True),
        ({"least": 2.0}, 1.99, False),
        ({"most": 0.8}, 0.8, True),
        ({"most": 0.8}, 0.81, False),
        ({}, 1.0, None),
    ],
)
def test_promises_are_kept_by_the_median(
    bounds: dict[str, float], median: float, expected: bool | None
) -> None:
    assert kept(promise(**bounds), Figure(median, 0.0, 9.0)) is expected
