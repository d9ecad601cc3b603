"""Real pages to measure codecs with: of a file, or of this host's own programs.

Zero pages are set aside and counted, as the engine does. A sample holds some ten MiB at most,
taken from all over the file.
"""

from __future__ import annotations

import os
import random
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from codecs_core.codec import DEFAULT_GEOMETRY
from codecs_core.errors import UsageError
from codecs_core.memory import kernel

__all__ = ["Sample", "of_file", "of_programs"]

_PACKET: Final = DEFAULT_GEOMETRY.packet_size
_PAGE: Final = DEFAULT_GEOMETRY.page_size
_SIZE: Final = 64 << 20
_STRETCH: Final = 4 << 20
_PLACES: Final = ("/usr/bin", "/usr/sbin", "/usr/lib", "/usr/lib64", "/usr/libexec")
_ELF: Final = b"\x7fELF"


@dataclass(frozen=True)
class Sample:
    """Normal pages, in packets, and the share of zero pages that were among them, 0 to 1.

    ``source`` tells where they are from.
    """

    source: str
    packets: tuple[memoryview, ...]
    zero: float

    @property
    def size(self) -> int:
        """The bytes of its normal pages."""
        return sum(map(len, self.packets))


def of_file(path: str | os.PathLike[str]) -> Sample:
    """Take a sample of a file or block device: a memory dump, say.

    Raises `UsageError` where it is neither, holds less than a packet, or nothing but zero pages;
    `OSError` where it cannot be read.
    """
    with open(path, "rb", buffering=0) as file:
        mode = os.fstat(file.fileno()).st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISBLK(mode)):
            raise UsageError(f"{os.fspath(path)} is neither a file nor a block device")
        size = file.seek(0, os.SEEK_END)
        if size < _PACKET:
            raise UsageError(
                f"{os.fspath(path)} holds {size} bytes, too few for a sample; give a file of "
                f"{_PACKET} bytes at least"
            )
        stretches = _read(file.fileno(), size)
        return _sample(os.fspath(path), stretches)


def of_programs() -> Sample:
    """Take a sample of the programs and shared objects that are installed on this host.

    It is the same every time. Raises `UsageError` where there are none.
    """
    # In an order of its own: neighbours by name are often copies of each other.
    paths = sorted(set(_programs()))
    random.Random(1).shuffle(paths)
    return _sample("programs and shared objects of this host", _first(paths))


def _first(paths: Iterable[Path]) -> Iterator[bytes]:
    taken = 0
    for path in paths:
        try:
            with path.open("rb", buffering=0) as file:
                data = file.read(_STRETCH)
        except OSError:
            continue
        if not data.startswith(_ELF):
            continue
        yield data[: len(data) // _PAGE * _PAGE]
        taken += len(data)
        if taken >= _SIZE:
            return


def _programs() -> Iterator[Path]:
    places = [Path(each) for each in _PLACES]
    places += Path("/usr/lib").glob("*-linux-gnu*")
    for place in places:
        try:
            with os.scandir(place) as entries:
                for entry in entries:
                    if entry.is_file(follow_symlinks=False):
                        yield Path(entry.path).resolve()
        except OSError:
            continue


def _read(fd: int, size: int) -> Iterator[bytes]:
    """Read whole pages: all of them, or stretches at even distances."""
    whole = size // _PAGE * _PAGE
    if whole <= _SIZE:
        places = range(0, whole, _STRETCH)
    else:
        count = _SIZE // _STRETCH
        distance = (whole - _STRETCH) // (count - 1) // _PAGE * _PAGE
        places = range(0, distance * count, distance)
    for place in places:
        data = os.pread(fd, min(_STRETCH, whole - place), place)
        yield data[: len(data) // _PAGE * _PAGE]


def _sample(source: str, stretches: Iterable[bytes]) -> Sample:
    """Gather the normal pages of some stretches into packets."""
    kept = bytearray()
    pages = 0
    offsets = memoryview(bytearray(8 * (_PACKET // _PAGE)))
    scratch = memoryview(bytearray(_PACKET))
    for stretch in stretches:
        pages += len(stretch) // _PAGE
        for at in range(0, len(stretch), _PACKET):
            packet = memoryview(stretch)[at : at + _PACKET]
            normal = kernel.scan(packet, _PAGE, 0, None, offsets, scratch)
            whole = normal == len(packet) // _PAGE
            kept += packet if whole else scratch[: normal * _PAGE]
    if not kept:
        raise UsageError(f"{source}: nothing but zero pages, which no codec is given")
    view = memoryview(bytes(kept))
    packets = tuple(view[at : at + _PACKET] for at in range(0, len(view), _PACKET))
    return Sample(source, packets, 1 - len(view) / (pages * _PAGE))
