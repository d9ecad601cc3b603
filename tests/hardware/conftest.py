"""The hosts, and ways to spoil them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from codecs_core.hardware.inventory import Inventory, take
from codecs_core.hardware.tree import Directory, Source, Tree

HOSTS = Path(__file__).parents[1] / "hosts"
NAMES = sorted(each.name for each in HOSTS.iterdir() if each.is_dir())


@dataclass
class Faulty:
    """A source in which some files cannot be read, or hold something else, or may not be used."""

    source: Source
    faults: Mapping[str, int | bytes | bool] = field(default_factory=dict)

    def link(self, path: str) -> str | None:
        self._fail(path)
        return self.source.link(path)

    def read(self, path: str, limit: int) -> bytes:
        self._fail(path)
        fault = self.faults.get(path)
        return fault[:limit] if isinstance(fault, bytes) else self.source.read(path, limit)

    def entries(self, path: str) -> list[str]:
        self._fail(path)
        return self.source.entries(path)

    def usable(self, path: str) -> bool:
        self._fail(path)
        fault = self.faults.get(path)
        return fault if isinstance(fault, bool) else self.source.usable(path)

    def _fail(self, path: str) -> None:
        """What holds for a directory holds for all in it."""
        for place, fault in self.faults.items():
            if type(fault) is int and (path + "/").startswith(place + "/"):
                raise OSError(fault, os.strerror(fault))


def spoiled(name: str, faults: Mapping[str, int | bytes | bool]) -> Inventory:
    """The inventory of a host with these faults, by path after links."""
    return take(Tree(Faulty(Directory(HOSTS / name), faults)))


@pytest.fixture
def host(tmp_path: Path) -> Callable[[str], Path]:
    """Copy a host to where a test may change it."""

    def copy(name: str) -> Path:
        return Path(shutil.copytree(HOSTS / name, tmp_path / name, symlinks=True))

    return copy
