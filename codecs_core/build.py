"""How a plugin was built: what came of its build flags, as the build has recorded it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib import resources

__all__ = ["BuildInfo", "build_info"]


@dataclass(frozen=True, slots=True)
class BuildInfo:
    """What came of a build flag ``enable-NAME``.

    ``setting`` is its value, ``built`` whether the binding was built, ``version`` the library's at
    that time, ``reason`` why there is a binding or none.
    """

    setting: str
    built: bool
    version: str
    reason: str


def build_info(package: str, flag: str) -> BuildInfo:
    """Read what came of a flag from the record, ``_build.json``, that the build left there."""
    record = resources.files(package).joinpath("_build.json")
    try:
        return BuildInfo(**json.loads(record.read_text())[flag])
    except FileNotFoundError:
        return BuildInfo("unknown", False, "", "the sources are used as they are, without a build")
