"""What benchmarks move: the memory of guests, programs, text, noise, and next to nothing.

Every set is a file of whole pages, made anew on each host from what is there: a recorded
migration, this host's programs, this host's texts. Recorded memory is small, so it is tiled; each
time round, every page that is not zero has four words of its own, and a page comes again only
after all others, which is further back than any codec of the comparison looks.
"""

from __future__ import annotations

import mmap
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from codecs_core.gateway.extract import extract
from codecs_core.gateway.recording import Recording

MIB = 1 << 20
PAGE = 4096
RECORDING = Path(__file__).parents[1] / "tests/data/streams/none-ch2"
BLOCK = "pc.ram"
PLACES = ("/usr/lib", "/usr/bin", "/usr/libexec", "/lib")
TEXT_PLACES = ("/usr/share/doc", "/usr/include", "/usr/share/perl", "/usr/lib/python3")
TEXTS = {".c", ".h", ".html", ".md", ".pl", ".pm", ".py", ".rst", ".txt", ".xml"}
WORDS = 4
"""How many words of each page are its own."""


def real_pages(size: int) -> mmap.mmap:
    """Return pages of this system's programs and shared objects, whole files after each other."""
    memory = mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    filled = 0
    while filled < size:
        before = filled
        for path in programs():
            data = path.read_bytes()
            whole = min(len(data) // PAGE * PAGE, size - filled)
            memory[filled : filled + whole] = data[:whole]
            filled += whole
            if filled == size:
                break
        if filled == before:
            raise SystemExit("found no programs to take pages from")
    return memory


def programs() -> Iterator[Path]:
    """This system's programs and shared objects."""
    for path in _files(PLACES):
        with path.open("rb") as file:
            if file.read(4) == b"\x7fELF":
                yield path


def recorded() -> bytes:
    """The RAM of the recorded guest, as it was at the end of its migration."""
    with tempfile.TemporaryDirectory() as place:
        path = Path(place, "ram")
        extract(Recording.open(RECORDING), BLOCK, path)
        return path.read_bytes()


def normal_pages(memory: bytes) -> bytes:
    """Its pages that are not zero."""
    pages = np.frombuffer(memory, np.uint64).reshape(-1, PAGE // 8)
    return pages[pages.any(axis=1)].tobytes()


def grown(memory: bytes, size: int, seed: int = 1) -> Iterator[bytes]:
    """Tile whole pages up to ``size`` bytes; each page that is not zero varies in a few words."""
    pages = np.frombuffer(memory, np.uint64).reshape(-1, PAGE // 8)
    normal = np.flatnonzero(pages.any(axis=1))
    chance = np.random.default_rng(seed)
    while size > 0:
        tile = pages.copy()
        places = chance.integers(PAGE // 8, size=(WORDS, len(normal)))
        tile[normal, places] = chance.integers(1, 1 << 63, size=places.shape, dtype=np.uint64)
        yield tile.tobytes()[:size]
        size -= len(memory)


def noise(size: int, seed: int = 1) -> Iterator[bytes]:
    """Bytes that no codec makes smaller."""
    chance = np.random.default_rng(seed)
    for at in range(0, size, 16 * MIB):
        yield chance.bytes(min(16 * MIB, size - at))


def texts(size: int) -> Iterator[bytes]:
    """Documentation and source text of this system; tiled where there is too little of it."""
    found = bytearray()
    for path in _files(TEXT_PLACES):
        if path.suffix in TEXTS:
            found += path.read_bytes()
        if len(found) >= size:
            break
    if len(found) < PAGE:
        raise SystemExit(f"found no text in {', '.join(TEXT_PLACES)}")
    return grown(bytes(found[: len(found) // PAGE * PAGE]), size)


def _files(places: tuple[str, ...]) -> Iterator[Path]:
    for place in places:
        for path in sorted(Path(place).rglob("*")):
            if path.is_file() and not path.is_symlink():
                yield path


def _programs(size: int) -> Iterator[bytes]:
    with real_pages(size) as pages:
        yield pages[:]


SETS: dict[str, Callable[[int], Iterator[bytes]]] = {
    "guest": lambda size: grown(normal_pages(recorded()), size),
    "programs": _programs,
    "text": texts,
    "noise": noise,
    "idle": lambda size: grown(recorded(), size),
}
"""Name → its bytes, in pieces, for a size of whole pages."""


def write(name: str, size: int, path: Path) -> None:
    """Write a set to a file."""
    with path.open("wb") as file:
        for piece in SETS[name](size):
            file.write(piece)
