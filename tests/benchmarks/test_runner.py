from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.compare.groups import Group, Row
from benchmarks.compare.run import End, Missing, Run, Scene, need
from benchmarks.compare.runner import ATTEMPTS, Outcome, Results, Settings, take_turns

RUN = Run(1000, 0.5, End(0.1), End(0.2, 30), 900, 800).as_dict()


class Nobody:
    def run(self, scene: Scene) -> Run:
        raise AssertionError("not asked for")


def group(name: str, *rows: str, rounds: int | None = None) -> Group:
    return Group("section", name, tuple(Row(each, Nobody()) for each in rows), rounds=rounds)


class Stage:
    """Takes note of who ran; some fail."""

    def __init__(self, failing: dict[str, Outcome] | None = None) -> None:
        self.ran: list[str] = []
        self.failing = failing or {}

    def run(self, group: Group, row: Row) -> Outcome:
        self.ran.append(f"{group.name}/{row.name}")
        return self.failing.get(row.name, Outcome(RUN))


def turns(
    groups: list[Group], rounds: int, stage: Stage, path: Path | None = None
) -> tuple[dict[str, Any], list[str]]:
    results, said = Results(groups, Settings(1, rounds)), list[str]()
    take_turns(groups, rounds, stage.run, results, path, said.append)
    return results.figures, said


def test_every_group_has_its_turn_in_every_round_and_another_row_begins() -> None:
    stage = Stage()
    turns([group("one", "a", "b"), group("two", "c")], 2, stage)
    assert stage.ran == ["one/a", "one/b", "two/c", "one/b", "one/a", "two/c"]


def test_fewer_rounds_for_a_group() -> None:
    stage = Stage()
    turns([group("one", "a", rounds=1), group("two", "b")], 3, stage)
    assert stage.ran.count("one/a") == 1 and stage.ran.count("two/b") == 3


def test_one_that_is_missing_is_asked_once_and_the_others_go_on() -> None:
    stage = Stage({"a": Outcome(why="not installed", final=True)})
    figures, said = turns([group("one", "a", "b")], 3, stage)
    assert stage.ran.count("one/a") == 1 and stage.ran.count("one/b") == 3
    missing, there = figures["groups"][0]["rows"]
    assert (missing["runs"], missing["why"]) == ([None] * 3, "not installed")
    assert there["runs"] == [RUN] * 3
    assert any(line.endswith("section/one/a: not installed") for line in said)


def test_one_that_fails_is_tried_again_and_then_left_out() -> None:
    stage = Stage({"a": Outcome(why="failed: it hung")})
    turns([group("one", "a", "b")], 5, stage)
    assert stage.ran.count("one/a") == ATTEMPTS


def test_the_results_file_holds_every_round(tmp_path: Path) -> None:
    path = tmp_path / "figures.json"
    figures, _ = turns([group("one", "a")], 2, Stage(), path)
    assert json.loads(path.read_text()) == json.loads(json.dumps(figures))
    assert [each.name for each in tmp_path.iterdir()] == ["figures.json"]


def test_a_tool_that_is_not_installed_is_named_with_its_package() -> None:
    need("sh")
    with pytest.raises(Missing, match="no-such-tool is not installed: apt install a-package"):
        need("sh", "no-such-tool", package="a-package")
