"""What all tests share: recorded migrations, a writer of main streams, plugins that look installed,
and hypothesis' settings.
"""

from __future__ import annotations

import hashlib
import json
import struct
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from textwrap import dedent, indent
from typing import Any, Self

import pytest
from hypothesis import settings

from codecs_core import decompress, registry
from codecs_core.transport.authority import issue, make_authority
from codecs_core.wire.mapped_ram import HEADER_SIZE, MappedRam

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
        requires: Iterable[str] = (),
    ) -> str:
        """Install a plugin for codec ``name`` (and ``more``), and return its module's name.

        ``body`` is added to the class of a sound codec; ``source`` replaces the whole module;
        ``value`` is what the entry point says instead of the module's name, ``requires`` what the
        distribution needs.
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
            + "".join(f"Requires-Dist: {each}\n" for each in requires)
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


@dataclass(frozen=True)
class Recorded:
    """A recorded migration, and what its destination had in memory."""

    name: str
    directory: Path

    @property
    def meta(self) -> dict[str, Any]:
        return json.loads((self.directory / "meta.json").read_text())

    @property
    def path(self) -> Path:
        """What ``multifd inspect`` takes: the directory, or the mapped-ram file in it."""
        return self.directory / "file.mig.zst" if self.meta["mapped_ram"] else self.directory

    def files(self) -> list[str]:
        """The recorded files, by the names they have uncompressed."""
        names = [each.name.removesuffix(".zst") for each in self.directory.glob("*.zst")]
        return sorted(n for n in names if n.startswith(("main", "ch", "file")))

    def raw(self, name: str) -> bytes:
        """A file's bytes, uncompressed."""
        return decompress((self.directory / f"{name}.zst").read_bytes(), codec="zstd")

    def unpack(self, directory: Path, *names: str) -> Path:
        """Write these files, or all, uncompressed, where a test may damage them."""
        directory.mkdir()
        for name in names or self.files():
            (directory / name).write_bytes(self.raw(name))
        return directory

    def digests(self) -> dict[str, str]:
        """The SHA-256 of each RAM block, as the destination's monitor saved it."""
        digests = {}
        for block in self.meta["blocks"]:
            if "sha256" in block:
                digests[block["name"]] = block["sha256"]
            elif block.get("reference"):
                memory = bytearray(block["size"])
                for name, offset in block["reference"]:
                    piece = self.raw(name)
                    memory[offset : offset + len(piece)] = piece
                digests[block["name"]] = hashlib.sha256(memory).hexdigest()
        return digests


def _recordings() -> list[Recorded]:
    """The bundled recordings, and all those beside the checkout where there are any."""
    here = Path(__file__).parent
    return [
        Recorded(prefix + meta.parent.name, meta.parent)
        for prefix, place in (
            ("", here / "data/streams"),
            ("beside/", here.parents[1] / "shared/streams"),
        )
        for meta in sorted(place.glob("*/meta.json"))
    ]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test with each recording (``recorded``), or each whose pages decode here.

    The codecs of the bundled recordings must be here; others may come in distributions that are
    tested elsewhere.
    """
    if "recorded" in metafunc.fixturenames:
        chosen = _recordings()
        metafunc.parametrize("recorded", chosen, ids=[each.name for each in chosen])
    if "rebuildable" in metafunc.fixturenames:
        here = {"none", "zlib", "zstd", *registry.Registry()}
        chosen = [each for each in _recordings() if each.meta["compression"] in here]
        metafunc.parametrize("rebuildable", chosen, ids=[each.name for each in chosen])


@pytest.fixture(scope="session")
def bundled() -> dict[str, Recorded]:
    """The bundled recordings by name."""
    return {each.name: each for each in _recordings() if "/" not in each.name}


class MainStream:
    """Writes the main stream of a migration, as QEMU writes it."""

    def __init__(self, machine: str = "pc-test-1.0", capabilities: tuple[str, ...] = ()) -> None:
        self.data = bytearray(b"QEVM" + struct.pack(">IBI", 3, 7, len(machine)) + machine.encode())
        self.mapped = "mapped-ram" in capabilities
        if capabilities:
            self.data += b"\5" + self.text("configuration/capabilities")
            self.data += struct.pack(">II", 1, len(capabilities))
            self.data += b"".join(map(self.text, capabilities))

    @staticmethod
    def text(text: str) -> bytes:
        return bytes([len(text)]) + text.encode()

    @staticmethod
    def zero(offset: int, block: str | None = None) -> bytes:
        """A zero page; without a block, of the same block as the entry before."""
        name = b"" if block is None else MainStream.text(block)
        return struct.pack(">Q", offset | 0x2 | (0x20 if block is None else 0)) + name + b"\0"

    @staticmethod
    def page(offset: int, block: str, data: bytes) -> bytes:
        return struct.pack(">Q", offset | 0x8) + MainStream.text(block) + data

    @staticmethod
    def flush() -> bytes:
        return struct.pack(">Q", 0x200)

    def start(self, blocks: dict[str, int | bytes], *entries: bytes) -> Self:
        """The section that lists the blocks; in a mapped-ram file, with their memory."""
        sizes = [each if isinstance(each, int) else len(each) for each in blocks.values()]
        self.open_list(sum(sizes))
        for (name, memory), size in zip(blocks.items(), sizes, strict=True):
            self.data += self.text(name) + struct.pack(">Q", size)
            if self.mapped:
                assert isinstance(memory, bytes)
                self._map(memory)
        return self.close(*entries)

    def open_list(self, total: int) -> Self:
        """The beginning of the first section, up to the list of blocks."""
        self.data += struct.pack(">BI", 1, 7) + self.text("ram") + struct.pack(">II", 0, 4)
        self.data += struct.pack(">Q", total | 0x4)
        return self

    def close(self, *entries: bytes) -> Self:
        """The rest of a section."""
        self.data += b"".join(entries) + struct.pack(">QBI", 0x10, 0x7E, 7)
        return self

    def part(self, *entries: bytes) -> Self:
        self.data += struct.pack(">BI", 2, 7)
        return self.close(*entries)

    def end(self, *entries: bytes) -> Self:
        self.data += struct.pack(">BI", 3, 7)
        return self.close(*entries)

    def devices(self, *names: str) -> Self:
        """The state of devices, the end marker, and the description."""
        for number, name in enumerate(names, 8):
            self.data += struct.pack(">BI", 4, number) + self.text(name)
            self.data += (
                struct.pack(">II", 0, 1) + b"\6\0state\6" + struct.pack(">BI", 0x7E, number)
            )
        listed = [{"name": name, "instance_id": 0, "version": 1} for name in names]
        description = json.dumps({"page_size": 4096, "devices": listed}).encode()
        self.data += struct.pack(">BBI", 0, 6, len(description)) + description
        return self

    def _map(self, memory: bytes) -> None:
        pages = [memory[at : at + 4096] for at in range(0, len(memory), 4096)]
        bits = sum(any(page) << number for number, page in enumerate(pages))
        at = len(self.data) + HEADER_SIZE
        places = MappedRam(4096, at, at + (4096 - at) % 4096 + 4096)
        self.data += places.encode() + bits.to_bytes(places.bitmap_size(len(memory)), "little")
        self.data += bytes(places.pages_offset - len(self.data))
        # What stands where a page is zero means nothing.
        self.data += b"".join(page if any(page) else b"stale" + page[5:] for page in pages)


@pytest.fixture(scope="session")
def main_stream() -> type[MainStream]:
    """A writer of main streams: ``main_stream().start({"pc.ram": 8192}).end().devices("cpu")``."""
    return MainStream


@pytest.fixture(scope="session")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Credentials of a server on this host, and of the client alice."""
    place = tmp_path_factory.mktemp("pki")
    make_authority(place)
    issue(place, "server", ["localhost", "127.0.0.1", "::1"])
    issue(place, "client", ["alice"])
    return place


@pytest.fixture(scope="session")
def bob(pki: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Credentials of another client of that authority, and of a server elsewhere."""
    place = tmp_path_factory.mktemp("bob")
    for name in ("ca-cert.pem", "ca-key.pem"):
        (place / name).write_bytes((pki / name).read_bytes())
    issue(place, "server", ["elsewhere.example"])
    issue(place, "client", ["bob"])
    return place


@pytest.fixture(scope="session")
def stranger_pki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same names by another authority."""
    place = tmp_path_factory.mktemp("stranger")
    make_authority(place)
    issue(place, "server", ["localhost", "127.0.0.1", "::1"])
    issue(place, "client", ["alice"])
    return place


@pytest.fixture(scope="session")
def wheelhouse(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The core and one plugin, as tools/wheels.py builds and checks distributions."""
    place = tmp_path_factory.mktemp("wheelhouse")
    root = Path(__file__).parents[1]
    command = [
        sys.executable,
        "tools/wheels.py",
        "--check",
        f"--outdir={place}",
        ".",
        "plugins/lz4",
    ]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return place
