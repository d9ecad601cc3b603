"""What a fuzz target is, and the table of all of them.

A target is a function of bytes that does with them what the program does with the bytes of a peer
or a file, and asserts what must hold. To add one, write it into a module of `tests.fuzz.targets`::

    @target("wire.init", seeds=lambda: [INIT], refuses=ProtocolError)
    def init(data: bytes) -> None:
        found = ChannelInit.decode(data)
        assert ChannelInit.decode(found.encode()) == found

It is in every run from then on. Raising ``refuses`` is how input is refused; any other exception is
a defect, and so are an execution that takes more than `LIMIT` and one that takes more memory than
``memory``.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from codecs_core.errors import CodecsCoreError

CORPUS = Path(__file__).parent / "corpus"
LIMIT = 1
"""Seconds of CPU that an execution may take; the slowest sound ones take some milliseconds."""

Run = Callable[[bytes], None]
Refusals = type[Exception] | tuple[type[Exception], ...]


@dataclass(frozen=True)
class Target:
    """A function to run, and what to run it on.

    ``seeds`` makes sound inputs, from which all others come; ``tokens`` are bytes worth putting
    anywhere. ``memory`` bounds what an execution may hold of Python's memory at once, and ``size``
    the length of an input, both in bytes.
    """

    name: str
    run: Run
    seeds: Callable[[], Iterable[bytes]]
    refuses: Refusals
    tokens: tuple[bytes, ...]
    memory: int
    size: int

    def corpus(self) -> list[bytes]:
        """The seeds, and what was found interesting: the files in ``corpus/<name>``."""
        kept = sorted((CORPUS / self.name).glob("*"))
        return [*self.seeds(), *(each.read_bytes() for each in kept)]

    def accepts(self, data: bytes) -> bool:
        """Execute it once; return whether the input was taken. A defect is whatever it raises."""
        try:
            self.run(data)
        except self.refuses:
            return False
        return True


TARGETS: dict[str, Target] = {}


def target(
    name: str,
    *,
    seeds: Callable[[], Iterable[bytes]],
    refuses: Refusals = CodecsCoreError,
    tokens: Iterable[bytes] = (),
    memory: int = 1 << 20,
    size: int = 4096,
) -> Callable[[Run], Run]:
    """Put the function below into the table."""

    def register(run: Run) -> Run:
        assert name not in TARGETS
        TARGETS[name] = Target(name, run, seeds, refuses, tuple(tokens), memory, size)
        return run

    return register


# What targets are written in.

_STEPS = (1, 1, 1, 2, 3, 5, 8, 13, 64, 65, 255, 333, 512, 1000, 4096, 1 << 20)


def pieces(data: bytes) -> Iterator[bytes]:
    """Cut the data at places of its own choice, the same each time."""
    state = zlib.crc32(data)
    at = 0
    while at < len(data):
        state = (state * 0x5DEECE66D + 11) & 0xFFFF_FFFF
        step = _STEPS[state >> 28]
        yield data[at : at + step]
        at += step


def entries(data: bytes) -> list[tuple[int, bytes]]:
    """Read data as `packed` writes it, whatever it is: numbered parts, at most 16 of them."""
    parts: list[tuple[int, bytes]] = []
    at = 0
    while at + 3 <= len(data) and len(parts) < 16:
        end = at + 3 + int.from_bytes(data[at + 1 : at + 3])
        parts.append((data[at], data[at + 3 : end]))
        at = end
    return parts


def packed(*parts: tuple[int, bytes]) -> bytes:
    """Write parts, each with a number below 256 before it: number (u8), length (u16), bytes."""
    return b"".join(bytes([number]) + len(part).to_bytes(2) + part for number, part in parts)
