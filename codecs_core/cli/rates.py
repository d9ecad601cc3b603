"""Quantities on the command line: ``100Mbit/s``, ``12.5MB/s``, ``64GiB``, counts and seconds."""

from __future__ import annotations

import math
import re
from typing import Final

import click

__all__ = ["Count", "Seconds", "rate_of", "size_of"]

_RATE: Final = re.compile(r"(\d+(?:\.\d*)?)\s*(?:([kKMGT]?)(i?)(bit/s|bit|bps|B/s|B|))?")
_SIZE: Final = re.compile(r"(\d+(?:\.\d*)?)\s*([kKMGTPE]?)(i?B|)")
_PREFIXES: Final = ("", "k", "m", "g", "t", "p", "e")


class Count(click.IntRange):
    """A number of things; click would call what is none no integer range."""

    name = "number"


class Seconds(click.FloatRange):
    """A time; click would call what is none no float range."""

    name = "number of seconds"


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


def size_of(ctx: click.Context, param: click.Parameter, value: str | None) -> int | None:
    """Read an option's size, in bytes; prefixes are binary as in QEMU, but decimal in ``MB``."""
    if value is None:
        return None
    match = _SIZE.fullmatch(value.strip())
    if match is None:
        raise click.BadParameter(f"{value!r} is no size; write 64G, 64GiB, 500MB, or bytes")
    number, prefix, unit = match.groups()
    size = float(number) * (1000 if unit == "B" else 1024) ** _PREFIXES.index(prefix.lower())
    if not 1 <= size < 1 << 63:
        raise click.BadParameter(f"{value!r} is no size; give one above 0 and below 8 EiB")
    return int(size)
