from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import pytest

from benchmarks import data

PAGE = data.PAGE


def pages(memory: bytes) -> np.ndarray:
    return np.frombuffer(memory, np.uint8).reshape(-1, PAGE)


@pytest.fixture(scope="module")
def ram() -> bytes:
    return data.recorded()


def test_recorded_memory_is_a_guest_s(ram: bytes) -> None:
    assert len(ram) == 32 * data.MIB
    assert 0 < len(data.normal_pages(ram)) < len(ram) // 2


def test_normal_pages_are_all_that_are_not_zero() -> None:
    memory = b"".join([bytes(PAGE), b"a" * PAGE, bytes(PAGE), b"b" + bytes(PAGE - 1)])
    assert data.normal_pages(memory) == b"a" * PAGE + b"b" + bytes(PAGE - 1)


def test_no_page_comes_twice(ram: bytes) -> None:
    normal = data.normal_pages(ram)
    found = b"".join(data.grown(normal, 3 * len(normal)))
    assert len(found) == 3 * len(normal)
    assert len(np.unique(pages(found), axis=0)) == len(pages(found))


def test_each_page_differs_from_the_recorded_one_in_a_few_words_only(ram: bytes) -> None:
    normal = data.normal_pages(ram)
    found = np.frombuffer(b"".join(data.grown(normal, 2 * len(normal))), np.uint64)
    original = np.frombuffer(normal * 2, np.uint64)
    changed = (found != original).reshape(-1, PAGE // 8).sum(axis=1)
    assert changed.min() >= 1
    assert changed.max() <= data.WORDS


def test_zero_pages_stay_zero() -> None:
    memory = bytes(PAGE) + b"a" * PAGE
    found = pages(b"".join(data.grown(memory, 8 * PAGE)))
    assert found.any(axis=1).tolist() == [False, True] * 4


def test_a_size_that_no_tile_divides() -> None:
    assert len(b"".join(data.grown(b"a" * 3 * PAGE, 4 * PAGE))) == 4 * PAGE


def test_grown_memory_is_the_same_in_every_run() -> None:
    memory = b"a" * PAGE
    assert list(data.grown(memory, 3 * PAGE)) == list(data.grown(memory, 3 * PAGE))


@pytest.mark.parametrize(
    ("kind", "least", "most"), [("guest", 2, 20), ("idle", 8, 100), ("noise", 0.99, 1.01)]
)
def test_sets_are_as_compressible_as_they_say(
    kind: str, least: float, most: float, tmp_path: Path
) -> None:
    path = tmp_path / kind
    data.write(kind, 4 * data.MIB, path)
    memory = path.read_bytes()
    assert len(memory) == 4 * data.MIB
    assert least < len(memory) / len(zlib.compress(memory, 1)) < most


def test_text_is_tiled_where_there_is_little(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.txt").write_text("some words " * 1000)
    (tmp_path / "b.bin").write_bytes(b"\xff" * PAGE)
    monkeypatch.setattr(data, "TEXT_PLACES", (str(tmp_path),))
    found = b"".join(data.texts(16 * PAGE))
    assert len(found) == 16 * PAGE
    assert b"some words some words" in found


def test_no_text_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data, "TEXT_PLACES", (str(tmp_path),))
    with pytest.raises(SystemExit, match="found no text"):
        data.texts(PAGE)
