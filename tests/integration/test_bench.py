"""The bench at a small size: it runs end to end, contenders leave what they must, its results have their shape."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.servers import REPOSITORY

AUDIO_POSTS = 2000


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    """Run the bench with the three contenders that migrate, once."""
    directory = tmp_path_factory.mktemp("bench")
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
    return json.loads((directory / "latest.json").read_text()), directory


def end_states(results: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {run["measurement"]: run["details"]["end_state"] for run in results["runs"]}


def test_the_fastest_offline_form_leaves_what_our_migrations_leave(results: tuple[dict[str, Any], Path]) -> None:
    """To the row, online and offline: only then is it a limit for the same work."""
    states = end_states(results[0])
    assert states["limit"] == states["online"]
    assert states["limit"] == states["offline"]
    assert states["online"]["audio_posts_with_track"] == AUDIO_POSTS


def test_the_guides_sql_moves_every_post_and_differs_where_its_rules_do(results: tuple[dict[str, Any], Path]) -> None:
    """A repost gets a track of its own, and every migrated post shows as edited: defects 2 and 4 of the guide."""
    states = end_states(results[0])
    guide, ours = states["guide"], states["online"]
    for same in ("audio_posts", "audio_posts_with_track", "files_of_posts", "tracks_of_posts", "playlist_entries"):
        assert guide[same] == ours[same], same
    for same in ("constraints", "indexes", "columns"):
        assert guide[same] == ours[same], same
    assert guide["tracks"] > ours["tracks"]
    assert guide["edited_posts"] == AUDIO_POSTS
    assert ours["edited_posts"] == 0


def test_results_and_document_have_their_shape(results: tuple[dict[str, Any], Path]) -> None:
    content, directory = results
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
