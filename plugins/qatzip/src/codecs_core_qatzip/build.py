"""How this distribution was built: what `build_info` tells."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib import resources

__all__ = ["BuildInfo", "build_info"]


@dataclass(frozen=True, slots=True)
class BuildInfo:
    """What came of the build flag ``enable-qatzip``.

    ``setting`` is its value, ``built`` whether the binding was built, ``version`` libqatzip's at
    that time, ``reason`` why there is a binding or none.
    """

    setting: str
    built: bool
    version: str
    reason: str


def build_info() -> BuildInfo:
    """Tell how the plugin was built, and against which version of libqatzip."""
    record = resources.files(__package__).joinpath("_build.json")
    try:
        return BuildInfo(**json.loads(record.read_text()))
    except FileNotFoundError:
        return BuildInfo("unknown", False, "", "the sources are used as they are, without a build")
