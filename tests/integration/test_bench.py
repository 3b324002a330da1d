"""The bench at a small size: it runs end to end, contenders leave what they must, its results have their shape."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from support.servers import REPOSITORY

AUDIO_POSTS = 2000


def test_the_bench_runs_and_its_contenders_leave_what_they_must(tmp_path: Path) -> None:
    """One test, because one run of the bench serves them all wherever tests run side by side."""
    results = run_bench(tmp_path)
    states = {run["measurement"]: run["details"]["end_state"] for run in results["runs"]}
    the_limit_leaves_what_our_migrations_leave(states)
    the_guides_sql_moves_every_post_and_differs_where_its_rules_do(states)
    results_and_document_have_their_shape(results, tmp_path)


def run_bench(directory: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "bench", "--sizes", str(AUDIO_POSTS), "--runs", "1", "--memory", "small"]
    command += [
        "--contenders",
        "guide",
        "limit",
        "online",
        "offline",
        "--output",
        str(directory),
        "--document",
        str(directory),
    ]
    ran = subprocess.run(
        command, cwd=REPOSITORY, env={**os.environ}, capture_output=True, text=True, timeout=300, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    results: dict[str, Any] = json.loads((directory / "latest.json").read_text())
    return results


def the_limit_leaves_what_our_migrations_leave(states: dict[str, Any]) -> None:
    """To the row, online and offline: only then is it a limit for the same work."""
    assert states["limit"] == states["online"]
    assert states["limit"] == states["offline"]
    assert states["online"]["audio_posts_with_track"] == AUDIO_POSTS


def the_guides_sql_moves_every_post_and_differs_where_its_rules_do(states: dict[str, Any]) -> None:
    """A repost gets a track of its own, and every migrated post shows as edited: defects 2 and 4 of the guide."""
    guide, ours = states["guide"], states["online"]
    for same in ("audio_posts", "audio_posts_with_track", "files_of_posts", "tracks_of_posts", "playlist_entries"):
        assert guide[same] == ours[same], same
    for same in ("constraints", "indexes", "columns"):
        assert guide[same] == ours[same], same
    assert guide["tracks"] > ours["tracks"]
    assert guide["edited_posts"] == AUDIO_POSTS
    assert ours["edited_posts"] == 0


def results_and_document_have_their_shape(content: dict[str, Any], directory: Path) -> None:
    assert {"processor", "cores", "memory_gigabytes", "postgres"} <= content["machine"].keys()
    assert {target["id"][0] for target in content["targets"]} == set("123456789")
    for target in content["targets"]:
        assert {"id", "title", "ratio", "limit", "met", "detail"} == target.keys()
    for run in content["runs"]:
        assert run["seconds"] > 0, run
        assert run["memory"] == "small"
    online = next(run for run in content["runs"] if run["measurement"] == "online")
    assert online["details"]["backfill_rows"] == AUDIO_POSTS
    text = (directory / "benchmarks.md").read_text()
    for title in ("The guide's SQL", "Fastest offline form", "Our four migrations, online"):
        assert title in text
    assert (directory / "benchmarks.svg").read_text().startswith("<svg ")
