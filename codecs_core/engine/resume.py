"""Going on with what an earlier transfer has left: what is there is proven, not trusted.

A block is looked at in *extents*, each what a full packet holds. The receiver sends the digests
of those that it has data in (HELD); all others read as zero. The sender compares them with its own,
and sends the others: what the receiver lacks, and what is different there, whatever the reason.

Memory: two bits an extent, at the sender alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from xxhash import xxh3_128_hexdigest

from codecs_core.codec import Geometry
from codecs_core.errors import ProtocolError
from codecs_core.memory.block import Block, PageRun
from codecs_core.wire import control as wire

__all__ = ["Comparison", "Remainder", "held"]

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


class Remainder:
    """What of its ``blocks`` a sender has to send: all but what the receiver has already.

    ``resume``: the receiver was asked what it holds. ``skipped_pages`` were left out because they
    are zero at both ends, ``held_pages`` because the receiver has proven to hold them.
    """

    def __init__(self, blocks: Mapping[str, Block], geometry: Geometry, *, resume: bool) -> None:
        self.skipped_pages = 0
        self.held_pages = 0
        self._blocks = blocks
        self._geometry = geometry
        self._resume = resume
        self._zeroed: set[str] = set()
        self._held: dict[str, Comparison] = {}

    @property
    def is_known(self) -> bool:
        """Whether all has come that the receiver had to tell."""
        return all(each.ended for each in self._held.values())

    def begin(self, accept: wire.Accept) -> None:
        """Take what ACCEPT says. Raises `ProtocolError` for what was not asked."""
        self._zeroed = set(accept.zeroed)
        for name in accept.held:
            block = self._blocks.get(name)
            if block is None or block.size is None or not self._resume:
                raise ProtocolError(f"the receiver holds block {name!r}, of which it was not asked")
            self._held[name] = Comparison(block, self._geometry)

    def take(self, message: wire.Held) -> bool:
        """Compare what the receiver tells of a block; return whether that was due.

        Raises `ProtocolError` as `Comparison.take`.
        """
        if message.block not in self._held:
            return False
        self._held[message.block].take(message)
        return True

    def forget(self, name: str) -> None:
        """Count on nothing of a block any more: it has changed."""
        self._zeroed.discard(name)
        self._held.pop(name, None)

    def runs(self, block: Block) -> Iterator[PageRun]:
        """Yield what is to be sent of a block, and count what is left out.

        That is known once: who sends the block again sends all of it.
        """
        skip_holes = block.name in self._zeroed
        held = self._held.get(block.name)
        self.forget(block.name)
        if held is None:
            runs = block.runs(self._geometry.pages_per_packet, skip_holes=skip_holes)
        else:
            runs = held.runs()
            self.held_pages += held.held_pages
        sent = 0
        for run in runs:
            sent += run.count
            yield run
        if held is not None:
            self.skipped_pages += block.pages - sent - held.held_pages
        elif skip_holes:
            self.skipped_pages += block.pages - sent


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
