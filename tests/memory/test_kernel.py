"""The C kernel against a plain model of it."""

from __future__ import annotations

import os
import struct
from array import array
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codecs_core.memory import kernel

PAGE = 512
ZERO = bytes(PAGE)
pages = st.lists(
    st.one_of(
        st.just(ZERO),
        st.integers(0, PAGE - 1).map(lambda at: ZERO[:at] + b"\1" + ZERO[at + 1 :]),
        st.binary(min_size=PAGE, max_size=PAGE),
    ),
    max_size=20,
)


def packed(*offsets: int) -> bytes:
    return struct.pack(f">{len(offsets)}Q", *offsets)


@given(pages, st.integers(0, 1 << 40), st.booleans(), st.booleans())
def test_scan(found: list[bytes], first: int, numbered: bool, in_place: bool) -> None:
    """Normal pages first, then zero pages, each kind in order; normal pages gathered."""
    data = memoryview(bytearray(b"".join(found)))
    numbers = [first + 3 * i if numbered else first + i for i in range(len(found))]
    offsets = memoryview(bytearray(8 * len(found)))
    gathered = data if in_place else memoryview(bytearray(len(data)))
    where = array("Q", numbers) if numbered else None
    normal = kernel.scan(data, PAGE, first, where, offsets, gathered)
    kept = [i for i, page in enumerate(found) if page != ZERO]
    dropped = [i for i, page in enumerate(found) if page == ZERO]
    assert normal == len(kept)
    assert offsets == packed(*(numbers[i] * PAGE for i in kept + dropped))
    if dropped and kept:
        assert gathered[: normal * PAGE] == b"".join(found[i] for i in kept)


@given(st.integers(1, 20 * PAGE), st.data())
def test_store(size: int, data: st.DataObject) -> None:
    """Normal pages go where they belong, zero pages are cleared, the end of the block is kept."""
    count = -(-size // PAGE)
    order = data.draw(st.permutations(range(count)))
    chosen = order[: data.draw(st.integers(1, count))]
    normal = data.draw(st.integers(0, len(chosen)))
    packet = os.urandom(normal * PAGE)
    memory = bytearray(os.urandom(size + 64))
    model = bytearray(memory)
    for i, page in enumerate(chosen):
        fill = packet[i * PAGE : (i + 1) * PAGE] if i < normal else ZERO
        end = min(size, (page + 1) * PAGE)
        model[page * PAGE : end] = fill[: end - page * PAGE]
    offsets = packed(*(page * PAGE for page in chosen))
    kernel.store(memoryview(memory)[:size], offsets, normal, PAGE, memoryview(packet))
    assert memory == model


@given(st.integers(1, 20 * PAGE), st.data())
def test_files_are_as_memory(size: int, data: st.DataObject) -> None:
    """Writing pages to a file and reading them is storing and gathering."""
    count = -(-size // PAGE)
    chosen = data.draw(st.permutations(range(count)))
    normal = data.draw(st.integers(0, count))
    packet = os.urandom(normal * PAGE)
    offsets = packed(*(page * PAGE for page in chosen))
    before = os.urandom(size)
    memory = bytearray(before)
    kernel.store(memoryview(memory), offsets, normal, PAGE, memoryview(packet))
    fd = os.memfd_create("pages")
    try:
        os.write(fd, before)
        kernel.write_pages(fd, size, offsets, normal, PAGE, memoryview(packet))
        assert os.pread(fd, size + 1, 0) == memory
        numbers = array("Q", data.draw(st.lists(st.integers(0, count - 1), max_size=20)))
        read = memoryview(bytearray(b"\xee") * (len(numbers) * PAGE))
        gathered = memoryview(bytearray(b"\xdd") * (len(numbers) * PAGE))
        kernel.read_pages(fd, size, numbers, PAGE, read)
        kernel.gather(memoryview(memory), numbers, PAGE, gathered)
        padded = memory + bytes(PAGE)
        wanted = b"".join(
            bytes(memory[n * PAGE : (n + 1) * PAGE]).ljust(PAGE, b"\0") for n in numbers
        )
        assert len(padded) >= size
        assert read == gathered == wanted
    finally:
        os.close(fd)


@given(st.lists(st.integers(0, 40).map(lambda n: n * PAGE // 2), max_size=8), st.integers(0, 9999))
def test_check(offsets: list[int], size: int) -> None:
    bad = [i for i, offset in enumerate(offsets) if offset % PAGE or offset >= size]
    assert kernel.check(packed(*offsets), PAGE, size) == (bad[0] if bad else None)


@given(st.lists(st.integers(0, 4).map(lambda n: n * PAGE), min_size=1, max_size=4))
def test_contiguous(offsets: list[int]) -> None:
    wanted = list(range(offsets[0], offsets[0] + len(offsets) * PAGE, PAGE)) == offsets
    assert kernel.contiguous(packed(*offsets), len(offsets), PAGE) == wanted


def test_zero_pages_do_not_touch_memory_that_is_zero(tmp_path: Path) -> None:
    """Storing zero pages in fresh memory costs no memory; in a file it makes holes."""
    path = tmp_path / "file"
    with path.open("wb+") as file:
        file.write(b"x" * 64 * 4096)
        file.flush()
        offsets = packed(*(n * 4096 for n in range(64)))
        kernel.write_pages(file.fileno(), 64 * 4096, offsets, 0, 4096, memoryview(b""))
        os.fsync(file.fileno())
    assert path.read_bytes() == bytes(64 * 4096)
    assert path.stat().st_blocks == 0


def test_a_file_that_became_shorter() -> None:
    fd = os.memfd_create("pages")
    try:
        os.ftruncate(fd, PAGE)
        with pytest.raises(OSError, match="No data available"):
            kernel.read_pages(
                fd, 2 * PAGE, array("Q", [0, 1]), PAGE, memoryview(bytearray(2 * PAGE))
            )
    finally:
        os.close(fd)


@given(st.lists(st.lists(st.integers(0, 99), max_size=20), max_size=5))
def test_mark(rounds: list[list[int]]) -> None:
    """Counts the pages that no call before, and nothing earlier in this one, has marked."""
    bitmap = bytearray(13)
    seen: set[int] = set()
    for each in rounds:
        first = kernel.mark(bitmap, packed(*(number * PAGE for number in each)), PAGE)
        assert first == len(set(each) - seen)
        seen.update(each)
    assert int.from_bytes(bitmap, "little") == sum(1 << number for number in seen)
