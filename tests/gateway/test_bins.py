from __future__ import annotations

from collections import Counter

import pytest

from codecs_core.gateway.bins import Bins


@pytest.mark.parametrize(
    ("length", "width", "sums"),
    [
        (0, 1, []),
        (4, 1, [0, 1, 2, 3]),
        (5, 2, [0 + 1, 2 + 3, 4]),
        (8, 2, [0 + 1, 2 + 3, 4 + 5, 6 + 7]),
        (9, 4, [0 + 1 + 2 + 3, 4 + 5 + 6 + 7, 8]),
    ],
)
def test_neighbours_are_merged_where_there_are_too_many(
    length: int, width: int, sums: list[int]
) -> None:
    bins: Bins[Counter[str]] = Bins(4, Counter, Counter.update)
    for place in range(length):
        bins.at(place)["sum"] += place
    assert bins.width == width
    assert [each["sum"] for each in bins.bins] == sums


def test_places_that_are_left_out_are_empty() -> None:
    bins: Bins[Counter[str]] = Bins(4, Counter, Counter.update)
    bins.at(0)["sum"] += 1
    bins.at(5)["sum"] += 1
    assert [each["sum"] for each in bins.bins] == [1, 0, 1]
