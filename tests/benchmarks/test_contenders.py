"""The contenders that need nothing installed, really run, with a little data."""

from __future__ import annotations

import os
import shutil
import sys
import time

import pytest

from benchmarks import processes
from benchmarks.compare.chain import chain
from benchmarks.compare.link import Link
from benchmarks.compare.ours import Bare, Copy, Encode, Ours
from benchmarks.compare.pipes import Absent, Iperf3, Pipe
from benchmarks.compare.run import Contender, Failed, Missing, Scene

SIZE = 4 << 20


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    place = tmp_path_factory.mktemp("scene")
    (place / "data").write_bytes((bytes(4096) + b"some words " * 372 + b"end.") * (SIZE // 8192))
    assert (place / "data").stat().st_size == SIZE
    return Scene(place / "data", SIZE, Link(None, None, "127.0.0.1"), place, place)


@pytest.mark.parametrize(
    "contender",
    [
        Ours(),
        Ours("zstd", channels=3, settings={"checksum": False}),
        Ours("zstd", stream=True),
        Ours("auto"),
    ],
    ids=["none", "zstd", "stream", "auto"],
)
def test_the_engine_moves_it_all(contender: Ours, scene: Scene) -> None:
    run = contender.run(scene)
    assert run.size == SIZE
    assert run.seconds > 0
    assert run.told is not None and run.wire is not None
    # Half of the pages are zero.
    assert (run.told > SIZE // 2) is (contender.codec == "none") or contender.codec == "auto"
    assert run.wire >= run.told
    for end in (run.near, run.far):
        assert end.cpu > 0
        assert end.peak is not None and 0 < end.peak < 200 << 20


@pytest.mark.parametrize(
    ("contender", "size"),
    [(Bare("zlib"), SIZE), (Copy(), SIZE), (Encode(plugin=True), SIZE)],
    ids=["bare", "copy", "encode"],
)
def test_what_bounds_it(contender: Contender, size: int, scene: Scene) -> None:
    run = contender.run(scene)
    assert run.size == size and run.seconds > 0 and run.wire is None


@pytest.mark.skipif(shutil.which("iperf3") is None, reason="needs iperf3")
def test_what_several_processes_carry_is_added_up(scene: Scene) -> None:
    run = Iperf3(channels=1, seconds=1, processes=2).run(scene)
    assert run.wire is not None and run.wire >= run.size > 0
    assert 0.5 < run.seconds < 10
    assert run.near.cpu > 0 and run.far.cpu > 0


def test_a_codec_that_is_not_there(scene: Scene) -> None:
    with pytest.raises(Missing, match="codec nothing"):
        Ours("nothing").run(scene)


def test_a_worker_that_fails_says_why(scene: Scene) -> None:
    with pytest.raises(Failed, match="multifd-zstd-level"):
        Ours("zstd", parameters={"level": 99}).run(scene)


def test_a_program_that_is_not_there(scene: Scene) -> None:
    with pytest.raises(Missing, match="apt install no-such-program"):
        Pipe(("cat {data}",), ("no-such-program",)).run(scene)
    with pytest.raises(Missing, match="why"):
        Absent("why").run(scene)


def test_a_chain_counts_all_its_processes() -> None:
    burn = "import sys; sum(range(3_000_000)); sys.stdout.write(sys.stdin.read())"
    with chain([sys.executable, "-c", burn], [sys.executable, "-c", burn]) as running:
        used = running.wait()
    assert used.cpu > 0.05
    assert used.peak is not None and used.peak > 2 * (4 << 20)


def test_a_chain_that_fails_says_what_it_said() -> None:
    with chain(["sh", "-c", "echo broken >&2; exit 3"]) as running:
        with pytest.raises(Failed, match="broken"):
            running.wait()


def test_a_chain_leaves_no_process() -> None:
    with pytest.raises(KeyboardInterrupt):
        with chain(["sleep", "60"], ["sleep", "60"]) as running:
            raise KeyboardInterrupt
    for each in running.processes:
        assert each.returncode == -9


def test_the_clock_of_another_process() -> None:
    before, started = processes.cpu_seconds(os.getpid()), time.process_time()
    sum(range(1_000_000))
    used = time.process_time() - started
    assert processes.cpu_seconds(os.getpid()) - before == pytest.approx(used, abs=0.01)


def test_memory_of_a_process() -> None:
    assert 0 < processes.resident() <= processes.peak()
    with pytest.raises(FileNotFoundError):
        processes.peak(1 << 22)


def test_nothing_listens() -> None:
    with pytest.raises(TimeoutError, match="nothing listens at port 1 "):
        processes.wait_until_it_listens(os.getpid(), 1, timeout=0.02)
