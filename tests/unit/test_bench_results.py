"""What a bench with --add keeps of the results before it."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import pytest

from bench import document
from bench.__main__ import Bench
from bench.runs import Results

MACHINE = {"processor": "p", "cores": 2, "memory_gigabytes": 4, "system": "s", "postgres": "17.1", "load_before": [0.1]}


def results(directory: Path, name: str, **server: dict[str, str]) -> Results:
    return Results(directory / name, dict(MACHINE), {"postgres": 17, "server": dict(server)})


def settings_lines(path: Path, directory: Path) -> list[str]:
    content: dict[str, Any] = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "targets": []}))
    document.write(path, directory)
    return [line for line in (directory / "benchmarks.md").read_text().splitlines() if line.startswith("Settings ")]


def test_the_settings_of_a_memory_that_is_not_measured_anew_are_kept_beside_its_runs(tmp_path: Path) -> None:
    default = results(tmp_path, "latest.json", default={"shared_buffers": "2GB"}, small={"shared_buffers": "128MB"})
    for memory in ("default", "small"):
        default.add("online", 1000, memory, "not built")
    small = results(tmp_path, "new.json", small={"shared_buffers": "256MB"})

    small.take_over(default.path, iter([("online", 1000, "small")]))
    small.add("online", 1000, "small", "not built")

    assert [run["memory"] for run in small.runs] == ["default", "small"]
    assert settings_lines(small.path, tmp_path) == [
        "Settings (default memory): shared_buffers 2GB.",
        "Settings (small memory): shared_buffers 256MB.",
    ]


def test_without_earlier_results_the_settings_are_those_of_this_bench(tmp_path: Path) -> None:
    small = results(tmp_path, "new.json", small={"shared_buffers": "256MB"})
    small.take_over(tmp_path / "latest.json", iter([]))
    assert small.settings["server"] == {"small": {"shared_buffers": "256MB"}}


@pytest.mark.parametrize(
    ("contenders", "small"),
    [(["backup"], set()), (["backup", "whole", "commands"], {("whole", 1000), ("commands", 1000)})],
)
def test_the_small_database_is_measured_again_only_with_what_is_meant_for_it(
    tmp_path: Path, contenders: list[str], small: set[tuple[str, int]]
) -> None:
    given = {"sizes": [100_000], "runs": 1, "memory": ["default"], "postgres": 17, "lock": [], "add": False}
    bench = Bench(argparse.Namespace(**given, contenders=contenders, output=tmp_path, document=tmp_path))
    assert {(name, size) for name, size, _ in bench._planned() if size == 1000} == small
