"""Rates and sizes, as people write them."""

from __future__ import annotations

from typing import Any

import click
import pytest

from codecs_core.cli.rates import rate_of, size_of

CONTEXT: Any = None


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("1000", 1000),
        ("100Mbit/s", 12_500_000),
        ("100 mbit".replace("m", "M"), 12_500_000),
        ("1.5GB/s", 1.5e9),
        ("64MiB", 64 << 20),
        ("10k", 10_000),
        ("8bps", 1),
    ],
)
def test_rates(text: str, rate: float) -> None:
    assert rate_of(CONTEXT, CONTEXT, text) == rate


@pytest.mark.parametrize("text", ["", "fast", "-1", "0", "1Mbits", "1e9", "inf", "9" * 400])
def test_what_is_no_rate(text: str) -> None:
    with pytest.raises(click.BadParameter, match="is no rate"):
        rate_of(CONTEXT, CONTEXT, text)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("4096", 4096),
        ("64G", 64 << 30),
        ("64GiB", 64 << 30),
        ("1.5k", 1536),
        ("500MB", 500_000_000),
        ("3 TiB", 3 << 40),
        ("12B", 12),
    ],
)
def test_sizes(text: str, size: int) -> None:
    assert size_of(CONTEXT, CONTEXT, text) == size


@pytest.mark.parametrize("text", ["", "much", "-1", "0", "0.5", "8E", "1GB/s", "1e9", "9" * 400])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(click.BadParameter, match="is no size"):
        size_of(CONTEXT, CONTEXT, text)
