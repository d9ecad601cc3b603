"""Methods in any order: what a channel's packets are encoded by may change with each of them."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Sequence
from typing import ClassVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from codecs_core import Geometry, MemoryBlock
from codecs_core.codec import Buffer
from codecs_core.engine.adapt import Chooser
from codecs_core.engine.channel import ReceivingChannel, SendingChannel
from codecs_core.engine.methods import Adaptive, Methods, answered, label, offered
from codecs_core.engine.packing import Packing, Unpacker
from codecs_core.engine.round import Round
from codecs_core.engine.sync import SyncBarrier
from codecs_core.wire import control

from .conftest import Running

ALL = Adaptive.installed()
GEOMETRY = Geometry(4096, 32768)
PAGES = 40
PAGE = GEOMETRY.page_size
CHANNELS = 2


class Scripted(Chooser):
    """Chooses what the test says."""

    script: ClassVar[Iterator[int]]

    def took(self, elapsed: float, size: int, *, busy: bool) -> None:
        super().took(elapsed, size, busy=busy)
        self._model.use(next(self.script))


class Wire:
    """A channel's bytes, kept: an outlet, then an inlet."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.taken = 0

    def send(self, buffers: Sequence[Buffer]) -> None:
        for each in buffers:
            self.data += each

    def backlog(self) -> int | None:
        return 0

    def limit_backlog(self, size: int) -> None:
        """There is none."""

    def receive_into(self, buffer: memoryview) -> int:
        piece = self.data[self.taken : self.taken + len(buffer)]
        buffer[: len(piece)] = piece
        self.taken += len(piece)
        return len(piece)

    def end(self) -> None:
        """Nothing."""

    count = confirm = end


def page(kind: int, dice: random.Random) -> bytes:
    """A page of zeros, of words, of one byte, of noise, or one that was there before."""
    words = (b"guest ", b"memory ", b"page ", dice.randbytes(5))
    made = (
        bytes(PAGE),
        b"".join(dice.choices(words, k=PAGE // 5))[:PAGE].ljust(PAGE, b"."),
        bytes([dice.randrange(1, 256)]) * PAGE,
        dice.randbytes(PAGE),
        b"the same again " * 273 + b"!",
    )
    return made[kind]


# A round: the pages that have changed, what is in them now, and which channel sends them.
_CHANGES = st.dictionaries(
    st.integers(0, PAGES - 1),
    st.tuples(st.integers(0, 4), st.integers(0, CHANNELS - 1)),
    max_size=PAGES,
)


def transfer(
    rounds: list[dict[int, tuple[int, int]]], script: list[int], methods: Methods
) -> tuple[bytearray, bytearray, list[dict[str, int]], list[dict[str, int]]]:
    """Send rounds with a SYNC behind each; return both memories, and what served the packets."""
    Scripted.script = itertools.cycle(script)
    source, target = bytearray(PAGES * PAGE), bytearray(PAGES * PAGE)
    block = MemoryBlock("ram", source, PAGE)
    packing = Packing(methods, GEOMETRY, adaptive=True)
    numbers = itertools.count()
    wires = [Wire() for _ in range(CHANNELS)]
    senders = [
        SendingChannel(each, wire, packing.packer(), GEOMETRY, numbers, checksum=True)
        for each, wire in enumerate(wires)
    ]
    dice = random.Random(len(script))
    for changes in rounds:
        for number, (kind, _) in changes.items():
            source[number * PAGE : (number + 1) * PAGE] = page(kind, dice)
        for each, sender in enumerate(senders):
            own = [number for number, (_, channel) in changes.items() if channel == each]
            sender.send_round(Round(block.runs_of(own, GEOMETRY.pages_per_packet)))
            sender.send_sync()
    blocks = {"ram": MemoryBlock("ram", target, PAGE)}
    barrier, syncs = SyncBarrier(CHANNELS), list[int]()
    receivers = [
        ReceivingChannel(
            each, wire, Unpacker(methods, GEOMETRY), GEOMETRY, blocks, barrier, syncs.append,
            checksum=True,
        )
        for each, wire in enumerate(wires)
    ]  # fmt: skip

    def receive(channel: ReceivingChannel) -> None:
        try:
            channel.run()
        finally:
            # Who fails keeps nobody waiting.
            barrier.leave()

    for receiving in [Running(receive, each) for each in receivers]:
        receiving.result()
    assert sorted(syncs) == list(range(1, len(rounds) + 1))
    served = [[dict(each.progress().methods) for each in ends] for ends in (senders, receivers)]
    for end in (*senders, *receivers):
        end.close()
    return source, target, served[0], served[1]


@pytest.fixture(autouse=True)
def scripted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("codecs_core.engine.packing.Chooser", Scripted)


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    st.lists(_CHANGES, min_size=1, max_size=5),
    st.lists(st.integers(0, len(ALL.methods) - 1), min_size=1, max_size=40),
)
def test_any_sequence_of_methods(
    rounds: list[dict[int, tuple[int, int]]], script: list[int]
) -> None:
    source, target, sent, received = transfer(rounds, script, ALL.methods)
    assert source == target
    assert sent == received


def test_every_method_after_every_other() -> None:
    """On one channel; so each has a history that began many packets ago."""
    count = len(ALL.methods)
    script = [each for pair in itertools.product(range(count), repeat=2) for each in pair]
    rounds = [
        {number: (1 + number % 4, 0) for number in range(each % 3, PAGES)} for each in range(50)
    ]
    source, target, sent, received = transfer(rounds, script, ALL.methods)
    assert source == target
    assert sent == received
    assert set(sent[0]) == set(map(label, ALL.methods.values()))


@pytest.mark.parametrize("left", [["none"], ["none", "zlib"], ["none", "qpl", "zstd level 6"]])
def test_with_whatever_the_other_end_has(left: list[str]) -> None:
    """Down to nothing but the pages as they are."""
    hello = control.Hello(
        page_size=PAGE, packet_size=GEOMETRY.packet_size, channels=1, blocks=[], **offered(ALL)
    )
    methods = {number: codec for number, codec in answered(hello).items() if label(codec) in left}
    rounds = [{number: (number % 5, number % 2) for number in range(PAGES)}] * 3
    source, target, sent, received = transfer(rounds, list(range(len(methods))), methods)
    assert source == target
    assert sent == received
    assert set(sent[0]) == set(left)
