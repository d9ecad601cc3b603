"""What both kinds of codecs are tested with."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from codecs_core import registry

EXAMPLE = Path(__file__).parents[3] / "examples/codecs-core-xz/src"


@pytest.fixture
def xz(monkeypatch: pytest.MonkeyPatch) -> None:
    """A codec of another author, as if installed: the one that the docs write."""
    monkeypatch.syspath_prepend(EXAMPLE)
    entry = EntryPoint("xz", "codecs_core_xz", "codecs_core")
    monkeypatch.setattr(registry, "_default", registry.Registry([entry]))
