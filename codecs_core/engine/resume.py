"""Going on with what an earlier transfer has left: what is there is proven, not trusted.

A block is looked at in *extents*, each what a full packet holds. The receiver sends the digests
of those that it has data in (HELD); all others read as zero. The sender compares them with its own,
and sends the others: what the receiver lacks, and what is different there, whatever the reason.

Memory: two bits an extent, at the sender alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from xxhash import xxh3_128_hexdigest

from codecs_core.codec import Geometry
from codecs_core.errors import ProtocolError
from codecs_core.memory.block import Block, PageRun
from codecs_core.wire import control as wire

__all__ = ["Comparison", "held"]

_AT_ONCE = 256
"""How many digests go in one message: the peer's next sign of life waits for their comparison."""


def held(block: Block, geometry: Geometry, check: Callable[[], None]) -> Iterator[wire.Held]:
    """Yield what tells a sender of the data in a block: digests in order, and an end.

    ``check`` is called before each is taken, and raises where going on has become pointless.
    """
    scratch = memoryview(bytearray(geometry.packet_size))
    first, digests = 0, list[str]()
    for extent in _with_data(block, geometry):
        if digests and (extent != first + len(digests) or len(digests) == _AT_ONCE):
            yield wire.Held(block.name, first, digests)
            digests = []
        first = first if digests else extent
        check()
        digests.append(_digest(block, extent, geometry, scratch))
    if digests:
        yield wire.Held(block.name, first, digests)
    yield wire.Held(block.name, _extents(block, geometry), [])


class Comparison:
    """The sender's side of one block: takes what `held` yields, then knows what is to be sent.

    ``ended`` says that it has taken all, ``held_pages`` how many are the same at both ends.
    """

    def __init__(self, block: Block, geometry: Geometry) -> None:
        self.ended = False
        self.held_pages = 0
        self._block = block
        self._geometry = geometry
        self._next = 0
        self._scratch = memoryview(bytearray(geometry.packet_size))
        self._same = bytearray(-(-_extents(block, geometry) // 8))
        self._different = bytearray(len(self._same))

    def take(self, message: wire.Held) -> None:
        """Compare these extents. Raises `ProtocolError` where they do not follow the last ones."""
        end = message.first + len(message.digests)
        limit = _extents(self._block, self._geometry)
        if self.ended or message.first < self._next or end > limit:
            raise ProtocolError(
                f"HELD tells of extents {message.first} to {end} of block {self._block.name!r}, "
                f"where {self._next} to {limit} were due"
            )
        self._next = end
        self.ended = not message.digests
        for extent, digest in enumerate(message.digests, message.first):
            own = _digest(self._block, extent, self._geometry, self._scratch)
            bits = self._same if own == digest else self._different
            bits[extent // 8] |= 1 << extent % 8
            if own == digest:
                self.held_pages += _run(self._block, extent, self._geometry).count

    def runs(self) -> Iterator[PageRun]:
        """Yield what is to be sent: data that is not there, and all that is different there."""
        size = self._geometry.pages_per_packet
        for run in self._block.runs(size, skip_holes=True):
            first, end = run.first, run.first + run.count
            while first < end:
                extent = first // size
                stop = min(end, (extent + 1) * size)
                if not (_is_set(self._same, extent) or _is_set(self._different, extent)):
                    yield PageRun(self._block, first, stop - first)
                first = stop
        for extent in range(_extents(self._block, self._geometry)):
            if _is_set(self._different, extent):
                yield _run(self._block, extent, self._geometry)


def _extents(block: Block, geometry: Geometry) -> int:
    return -(-block.pages // geometry.pages_per_packet)


def _with_data(block: Block, geometry: Geometry) -> Iterator[int]:
    """Yield the extents that have data, each once and in order."""
    size, following = geometry.pages_per_packet, 0
    for run in block.runs(size, skip_holes=True):
        for extent in range(
            max(following, run.first // size), (run.first + run.count - 1) // size + 1
        ):
            yield extent
            following = extent + 1


def _run(block: Block, extent: int, geometry: Geometry) -> PageRun:
    first = extent * geometry.pages_per_packet
    return PageRun(block, first, min(geometry.pages_per_packet, block.pages - first))


def _digest(block: Block, extent: int, geometry: Geometry, scratch: memoryview) -> str:
    return xxh3_128_hexdigest(block.read(_run(block, extent, geometry), scratch))


def _is_set(bits: bytearray, number: int) -> bool:
    return bool(bits[number // 8] >> number % 8 & 1)
