"""A survey puts the parts together, and tells what it is at."""

from __future__ import annotations

import random
from importlib import import_module
from pathlib import Path

import pytest

from codecs_core.errors import LinkError
from codecs_core.forecast import Plan, Sample, of_file, survey

PLAN = Plan(memory=1 << 30, channels=2, cpus=2, peer_cpus=2)


@pytest.fixture
def sample(tmp_path: Path) -> Sample:
    path = tmp_path / "memory"
    chance = random.Random(1)
    path.write_bytes(chance.randbytes(256 << 10) * 2 + bytes(1536 << 10))
    return of_file(path)


def test_what_is_found_goes_into_the_plan(sample: Sample) -> None:
    steps: list[str] = []
    found = survey(
        ["none", "lz4", "nonsense"], sample, PLAN, bandwidth=1e6, seconds=0.03, report=steps.append
    )
    assert steps == ["measuring none", "measuring lz4", "measuring nonsense"]
    assert [each.codec for each in found.codecs] == ["none", "lz4"]
    assert "no codec is called 'nonsense'" in found.failed["nonsense"]
    assert found.plan.zero == 0.75
    assert found.plan.engine.wire_cpu > 0
    assert {each.codec: each.limit for each in found.predictions()} == {
        "none": "link",
        "lz4": "link",
    }


def test_without_a_bandwidth_nothing_is_predicted(sample: Sample) -> None:
    assert survey(["none"], sample, PLAN, seconds=0.03).predictions() == []


def test_a_receiver_that_is_not_there(sample: Sample) -> None:
    with pytest.raises(LinkError, match="connecting to tcp:127"):
        survey(["none"], sample, PLAN, to="tcp:127.0.0.1:1")


@pytest.mark.parametrize(("cpus", "channels"), [(1, 2), (4, 4), (64, 16)])
def test_channels(cpus: int, channels: int, monkeypatch: pytest.MonkeyPatch) -> None:
    module = import_module("codecs_core.forecast.survey")
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(cpus)))
    assert module.default_channels() == channels
