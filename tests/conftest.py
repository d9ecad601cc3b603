"""What all tests share: plugins that look installed, and hypothesis' settings."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from textwrap import dedent, indent

import pytest
from hypothesis import settings

from codecs_core import registry

# Other work may share the machine: nothing here depends on how long an example takes.
settings.register_profile("codecs_core", deadline=None)
settings.load_profile("codecs_core")

SOUND = """\
from dataclasses import dataclass

from codecs_core import Availability, Codec, hookimpl, parameter


@dataclass(frozen=True)
class Fake(Codec):
    '''A codec for tests.'''

    name = {name!r}

    def encoder(self, geometry=None):
        raise NotImplementedError

    def decoder(self, geometry=None):
        raise NotImplementedError

{body}

@hookimpl
def codecs_core_codecs():
    return [Fake]
"""


class Plugins:
    """Distributions that look installed: a module and its dist-info in a directory on the path.

    The default registry sees these, and no plugin that is really installed.
    """

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root = root
        self.directories: list[str] = []
        self._monkeypatch = monkeypatch
        self._names: set[str] = set()
        self._modules: set[str] = set()
        self._forget()

    def install(
        self,
        name: str,
        *more: str,
        body: str = "",
        source: str | None = None,
        distribution: str | None = None,
        value: str | None = None,
    ) -> str:
        """Install a plugin for codec ``name`` (and ``more``), and return its module's name.

        ``body`` is added to the class of a sound codec; ``source`` replaces the whole module;
        ``value`` is what the entry point says instead of the module's name.
        """
        distribution = distribution or f"fake-{name}"
        module = distribution.replace("-", "_")
        place = self.root / distribution
        info = place / f"{module}-1.0.dist-info"
        info.mkdir(parents=True)
        if source is None:
            source = SOUND.format(name=name, body=indent(dedent(body), "    "))
        (place / f"{module}.py").write_text(dedent(source))
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n"
        )
        lines = [f"{each} = {value or module}" for each in (name, *more)]
        (info / "entry_points.txt").write_text("\n".join(["[codecs_core]", *lines, ""]))
        self._monkeypatch.syspath_prepend(place)
        self._monkeypatch.delitem(sys.modules, module, raising=False)
        self._modules.add(module)
        self.directories.append(str(place))
        self._names.update((name, *more))
        self._forget()
        return module

    def registry(self) -> registry.Registry:
        """A fresh registry of these plugins alone."""
        found = metadata.distributions(path=self.directories)
        return registry.Registry([entry for each in found for entry in each.entry_points])

    def uninstall(self) -> None:
        """Forget what was imported; a real plugin's module of the same name comes back."""
        for module in self._modules:
            sys.modules.pop(module, None)

    def _forget(self) -> None:
        self._monkeypatch.setenv(registry.ALLOW_LIST, ",".join(sorted(self._names)))
        self._monkeypatch.setattr(registry, "_default", None)


@pytest.fixture
def plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Plugins]:
    """Install fake plugins with ``plugins.install(name)``; they are gone after the test."""
    fakes = Plugins(tmp_path / "installed", monkeypatch)
    yield fakes
    fakes.uninstall()
