"""Targets of the bench: what counts as met."""

from __future__ import annotations

from typing import Any

import pytest

from bench import targets
from bench.runs import Medians

SIZE = 1_000_000


def runs(compression: str, *seconds: float) -> list[dict[str, Any]]:
    common = {"audio_posts": SIZE, "memory": "default", "parts": {}, "details": {}, "failure": "", "skipped": ""}
    return [{**common, "measurement": f"backup {compression}", "seconds": value} for value in seconds]


@pytest.fixture(autouse=True)
def default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(targets, "default_compression", lambda: "zstd:1")


def best_compression(*measured: list[dict[str, Any]]) -> tuple[Any, Any, str]:
    judged = targets.judge(Medians([run for of_one in measured for run in of_one]))
    (target,) = [target for target in judged if target["id"] == "6c"]
    return target["ratio"], target["met"], target["detail"]


def test_a_default_that_is_behind_by_less_than_runs_lie_apart_counts_as_best() -> None:
    assert best_compression(runs("lz4", 9.1, 9.0, 9.4), runs("zstd:1", 9.2, 9.5, 9.3)) == (
        1.02,
        True,
        "best: lz4, 9.10 s; zstd:1 9.30 s: a tie, the runs of each lie 0.40 s and 0.30 s apart",
    )


def test_a_default_that_is_further_behind_than_its_runs_lie_apart_is_not_the_best() -> None:
    behind = "best: lz4, 9.10 s; zstd:1 9.60 s"
    assert best_compression(runs("lz4", 9.1, 9.0, 9.4), runs("zstd:1", 9.6, 9.5, 9.7)) == (1.05, False, behind)


def test_runs_of_only_one_of_the_two_that_lie_far_apart_make_no_tie() -> None:
    assert best_compression(runs("lz4", 9.1, 9.0, 9.2), runs("zstd:1", 9.4, 9.0, 15.0))[1] is False


def test_a_single_run_says_nothing_of_its_spread() -> None:
    assert best_compression(runs("lz4", 9.1), runs("zstd:1", 9.2)) == (1.01, False, "best: lz4, 9.10 s; zstd:1 9.20 s")


def test_a_default_that_is_the_best_needs_no_tie() -> None:
    assert best_compression(runs("lz4", 9.3), runs("zstd:1", 9.2)) == (1.0, True, "best: zstd:1")


def test_commands_are_judged_by_a_playbook_with_one_debug_task() -> None:
    parts = {"debug": 0.5, "whole run": 3.9, "status": 1.3, "control": 0.9, "nothing to do": 2.5}
    common = {"measurement": "commands", "audio_posts": 1000, "memory": "default", "details": {}, "failure": ""}
    measured = [{**common, "seconds": 9.1, "parts": parts, "skipped": ""}]
    judged = {target["id"]: target for target in targets.judge(Medians(measured)) if target["id"].startswith("4")}
    assert {number: (target["ratio"], target["limit"], target["met"]) for number, target in judged.items()} == {
        "4": (7.8, 8.0, True),
        "4b": (2.6, 2.5, False),
        "4c": (1.8, 2.0, True),
        "4d": (5.0, 5.0, True),
    }
    assert judged["4b"]["title"] == "status.yml with 1,000 audio posts / a playbook with one debug task"
    nothing = [target for target in targets.judge(Medians([])) if target["id"].startswith("4")]
    assert [target["met"] for target in nothing] == [None] * 4
