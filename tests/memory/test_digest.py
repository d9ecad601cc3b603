"""Digests of whole blocks."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from xxhash import xxh3_128_hexdigest

from codecs_core import Block, FileBlock, MemoryBlock, TransferError, UsageError
from codecs_core.memory.digest import PIECE

SIZES = (0, 1, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE + 7)


def unchecked() -> None:
    pass


@pytest.mark.parametrize("size", SIZES)
def test_is_that_of_all_bytes_without_padding(tmp_path: Path, size: int) -> None:
    data = os.urandom(size)
    (tmp_path / "a").write_bytes(data)
    file, memory = FileBlock.open(tmp_path / "a", "a"), MemoryBlock("a", data)
    for block in (file, memory):
        assert block.digest(unchecked) == xxh3_128_hexdigest(data)
        assert all(len(piece) <= PIECE for piece in block.content())
        block.close()


def test_holes_read_as_zeros(tmp_path: Path) -> None:
    block = FileBlock.create(tmp_path / "a", 2 * PIECE + 5, "a")
    assert block.digest(unchecked) == xxh3_128_hexdigest(bytes(2 * PIECE + 5))
    block.close()


def test_is_given_up_where_it_has_become_pointless() -> None:
    left = [None] * 3

    def check() -> None:
        left.pop()

    block = MemoryBlock("a", bytes(9 * PIECE))
    with pytest.raises(IndexError):
        block.digest(check)
    assert left == []


def test_of_a_file_that_became_shorter(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(bytes(2 * PIECE))
    block = FileBlock.open(tmp_path / "a", "a")
    os.truncate(tmp_path / "a", PIECE)
    with pytest.raises(TransferError, match=r"a: it became shorter than the 2097152 bytes"):
        block.digest(unchecked)
    block.close()


def test_of_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    fd = os.open(tmp_path / "a", os.O_WRONLY | os.O_CREAT)
    os.ftruncate(fd, 5)
    block = FileBlock("a", fd, 5, "a")
    with pytest.raises(TransferError, match="reading a: Bad file descriptor"):
        block.digest(unchecked)
    block.close()


def test_of_a_block_without_content() -> None:
    with pytest.raises(UsageError, match="block 'a' cannot be read as a whole"):
        Block("a", 5, 4096).digest(unchecked)


def test_a_watched_file_is_read_past_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once it is on stable storage: only then can the cache let go of it."""
    events: list[object] = []
    fsync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: (fsync(fd), events.append("fsync")))
    monkeypatch.setattr(os, "posix_fadvise", lambda fd, *rest: events.append(rest))
    for watched in (False, True):
        events.clear()
        block = FileBlock.create(tmp_path / f"{watched}", 5, "a")
        if watched:
            block.watch()
        block.sync()
        block.close()
        assert events == ["fsync", *([(0, 0, os.POSIX_FADV_DONTNEED)] if watched else [])]
