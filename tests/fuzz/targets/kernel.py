"""The C kernel, with geometry and pages at random, against Python.

Under AddressSanitizer every buffer ends where its memory does, so that not a byte beyond is read.
"""

from __future__ import annotations

import itertools
import os
import random
import struct
from array import array
from collections.abc import Iterable

from codecs_core.memory import kernel
from tests.fuzz.target import target

FILE = os.memfd_create("pages")


def seeds() -> list[bytes]:
    return [bytes([number]) for number in range(64)]


@target("kernel", seeds=seeds, refuses=(), size=64)
def pages(data: bytes) -> None:
    chance = random.Random(data)
    page = 512 << chance.randrange(3)
    count = chance.randrange(0, 24)
    zero = bytes(page)

    def draw() -> bytes:
        kind = chance.randrange(4)
        at = chance.randrange(page)
        if kind == 0:
            return zero
        return chance.randbytes(page) if kind == 1 else zero[:at] + b"\1" + zero[at + 1 :]

    # A sender's side: scan and gather.
    found = [draw() for _ in range(count)]
    packet = bytearray().join(found)
    first = chance.randrange(1 << 40)
    numbers = [chance.randrange(1 << 50) for _ in found]
    where = array("Q", numbers) if chance.random() < 0.5 else None
    offsets, gathered = bytearray(8 * count), bytearray(len(packet))
    in_place = chance.random() < 0.5
    target = packet if in_place else gathered
    normal = kernel.scan(
        memoryview(packet), page, first, where, memoryview(offsets), memoryview(target)
    )
    order = sorted(range(count), key=lambda index: found[index] == zero)
    kept = [index for index in order if found[index] != zero]
    assert normal == len(kept)
    if where is None:
        numbers = list(range(first, first + count))
    assert offsets == _packed(numbers[index] * page for index in order)
    if normal < count or in_place:
        assert target[: normal * page] == b"".join(found[i] for i in kept)

    # A receiver's side: check and store, in memory and in a file.
    size = chance.randrange(1, 24 * page)
    places = chance.sample(range(-(-size // page)), chance.randrange(-(-size // page) + 1))
    wire = bytes(_packed(place * page for place in places))
    assert kernel.check(wire, page, size) is None
    bad = chance.randrange(size * 2)
    expected = None if bad % page == 0 and bad < size else len(places)
    assert kernel.check(wire + _packed([bad]), page, size) == expected
    normal = chance.randrange(len(places) + 1)
    before = chance.randbytes(size)
    sent = bytearray().join(draw() for _ in range(normal))
    model = bytearray(before)
    for index, place in enumerate(places):
        new = sent[index * page : (index + 1) * page] if index < normal else zero
        end = min(size, (place + 1) * page)
        model[place * page : end] = new[: end - place * page]
    memory = bytearray(before)
    kernel.store(memoryview(memory), wire, normal, page, memoryview(sent))
    assert memory == model
    os.ftruncate(FILE, 0)
    os.pwrite(FILE, before, 0)
    kernel.write_pages(FILE, size, wire, normal, page, memoryview(sent))
    assert os.pread(FILE, size + 1, 0) == model

    # And back.
    asked = array("Q", [chance.randrange(-(-size // page)) for _ in range(chance.randrange(20))])
    results = [bytearray(b"\xee") * (len(asked) * page) for _ in range(2)]
    kernel.read_pages(FILE, size, asked, page, memoryview(results[0]))
    kernel.gather(memoryview(memory), asked, page, memoryview(results[1]))
    padded = model.ljust(-(-size // page) * page, b"\0")
    assert results[0] == results[1]
    assert results[0] == b"".join(padded[n * page : (n + 1) * page] for n in asked)
    adjacent = all(b == a + 1 for a, b in itertools.pairwise(places))
    assert kernel.contiguous(wire, len(places), page) == adjacent


def _packed(offsets: Iterable[int]) -> bytearray:
    values = list(offsets)
    return bytearray(struct.pack(f">{len(values)}Q", *values))
