"""Rates on the command line: ``100Mbit/s``, ``12.5MB/s``, or bytes a second."""

from __future__ import annotations

import math
import re
from typing import Final

import click

__all__ = ["rate_of"]

_RATE: Final = re.compile(r"(\d+(?:\.\d*)?)\s*(?:([kKMGT]?)(i?)(bit/s|bit|bps|B/s|B|))?")
_PREFIXES: Final = ("", "k", "m", "g", "t")


def rate_of(ctx: click.Context, param: click.Parameter, value: str | None) -> float | None:
    """Read an option's rate, in bytes a second; prefixes are decimal, and binary with an ``i``."""
    if value is None:
        return None
    match = _RATE.fullmatch(value.strip())
    if match is None:
        raise click.BadParameter(
            f"{value!r} is no rate; write 100Mbit/s, 12.5MB/s, or bytes a second"
        )
    number, prefix, binary, unit = match.groups()
    power = _PREFIXES.index((prefix or "").lower())
    bits = (unit or "").startswith(("bit", "bps"))
    rate: float = float(number) * (1024 if binary else 1000) ** power / (8 if bits else 1)
    if not 0 < rate < math.inf:
        raise click.BadParameter(f"{value!r} is no rate; give one above 0")
    return rate
