"""The fuzz targets on their corpus and on a sample of what is made of it; `make fuzz` runs more."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import tests.fuzz.targets  # noqa: F401  (fills the table)
from codecs_core.errors import ProtocolError
from codecs_core.registry import State, codecs
from tests.fuzz.explore import reached
from tests.fuzz.mutate import mutations
from tests.fuzz.run import Defect, Hang, fuzz, minimised, replay
from tests.fuzz.target import CORPUS, TARGETS, Target, entries, packed, pieces

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", TARGETS)
def test_corpus(name: str) -> None:
    """What was found interesting, or made a target fail once, does so no more."""
    replay(TARGETS[name], TARGETS[name].corpus())


@pytest.mark.parametrize("name", TARGETS)
def test_some_of_the_seeds_are_accepted(name: str) -> None:
    """Otherwise what is made of them gets nowhere."""
    assert replay(TARGETS[name], list(TARGETS[name].seeds())).accepted > 0


@pytest.mark.parametrize("name", TARGETS)
def test_sample(name: str) -> None:
    tally = fuzz(TARGETS[name], executions=200, seed=1)
    assert tally.executions == 200


def test_corpus_belongs_to_targets_and_is_small() -> None:
    assert {each.name for each in CORPUS.iterdir()} <= TARGETS.keys()
    assert sum(each.stat().st_size for each in CORPUS.rglob("*") if each.is_file()) < 300_000


def test_every_installed_codec_is_a_target() -> None:
    usable = [name for name, info in codecs().items() if info.state is State.LOADED]
    assert len(usable) >= 5
    assert {f"decoder.{name}" for name in usable} <= TARGETS.keys()


# The machinery: it finds what there is to find.


def made(run: Callable[[bytes], None], *seeds: bytes) -> Target:
    return Target("made", run, lambda: seeds, ProtocolError, (), 1 << 20, 64)


def refuse_or_fail(data: bytes) -> None:
    if data[:1] != b"a":
        raise ProtocolError("refused")
    if b"\xff" in data:
        raise ValueError("a defect")


def test_a_defect_is_found_and_made_small() -> None:
    target = made(refuse_or_fail, b"abcdefgh")
    with pytest.raises(Defect, match="made fails on") as caught:
        fuzz(target, executions=10_000)
    assert isinstance(caught.value.__cause__, ValueError)
    assert minimised(target, caught.value.data) == b"a\xff"


def test_a_hang_is_found() -> None:
    def hang(data: bytes) -> None:
        while data:
            try:
                sum(range(1000))
            except Exception:
                continue

    with pytest.raises(Defect) as caught:
        fuzz(made(hang, b"x"), executions=10)
    assert isinstance(caught.value.__cause__, Hang)


def hoard(size: int) -> None:
    bytes(size)


def test_greed_is_found() -> None:
    """A little too much in what is replayed, much too much in anything."""
    with pytest.raises(Defect) as caught:
        replay(made(lambda data: hoard(2 << 20)), [b"x"])
    assert isinstance(caught.value.__cause__, AssertionError)
    with pytest.raises(Defect) as caught:
        fuzz(made(lambda data: hoard(1 << 32), b"x"), executions=1)
    assert isinstance(caught.value.__cause__, MemoryError)


def test_the_limits_end_with_the_run() -> None:
    fuzz(made(lambda data: None, b"x"), executions=1)
    assert len(bytes(1 << 30)) == 1 << 30


def test_the_same_seed_makes_the_same_inputs() -> None:
    def first(seed: int) -> list[bytes]:
        made = mutations([b"abc", b"defghi"], [b"token"], 16, seed)
        return [next(made) for _ in range(200)]

    assert first(1) == first(1) != first(2)
    assert max(map(len, first(1))) == 16
    assert len(set(first(1))) > 150


def test_time_is_bounded() -> None:
    start = time.monotonic()
    tally = fuzz(made(lambda data: None, b"x"), executions=10**9, seconds=0.1)
    assert tally.executions < 10**9
    assert time.monotonic() - start < 30


def test_reached_tells_paths_apart() -> None:
    target = TARGETS["wire.init"]
    assert reached(target, b"") < reached(target, b"") | reached(target, bytes(64))
    assert reached(target, bytes(64)) == reached(target, bytes(64))


def test_pieces_and_entries() -> None:
    data = os.urandom(5000)
    assert b"".join(pieces(data)) == data
    parts = [(0, b""), (255, b"abc")]
    assert entries(packed(*parts)) == parts
    assert entries(packed(*parts)[:-1]) == [(0, b""), (255, b"ab")]


def test_command(tmp_path: Path) -> None:
    """As the documentation says it is used."""

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "tests.fuzz", *arguments],
            cwd=ROOT, capture_output=True, text=True, timeout=100, check=False,
        )  # fmt: skip

    done = run("wire.r", "--executions", "100")
    assert done.returncode == 0, done.stderr
    assert "wire.return-path" in done.stdout
    assert "100 executions" in done.stdout
    file = tmp_path / "input"
    file.write_bytes(b"\0\1\0\4abcd")
    assert run("wire.return-path", str(file)).returncode == 0
    assert "no target is called 'nothing'" in run("nothing").stderr
