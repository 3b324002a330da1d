"""The progress of a load: rows while they are loaded, then what follows them."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from ansible.module_utils.runbook.progress import loading


def entries(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_when_all_rows_are_loaded_the_line_says_what_follows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "LOOK_SECONDS", 0.01)
    path, loaded = tmp_path / "progress.jsonl", iter([40, 70])
    path.touch(mode=0o600)
    with loading.shown(str(path), "load the backup", 100, lambda: next(loaded, 100)):
        deadline = time.monotonic() + 10
        while len(entries(path)) < 3 and time.monotonic() < deadline:
            time.sleep(0.01)
    first, second, third, *_, last = entries(path)
    assert [entry["rows_done"] for entry in (first, second, third)] == [40, 70, 100]
    assert [entry["reason"] for entry in (first, second, third)] == ["", "", loading.REST]
    assert last["state"] == "done"


def test_a_load_that_fails_is_reported_as_failed(tmp_path: Path) -> None:
    path = tmp_path / "progress.jsonl"
    path.touch(mode=0o600)
    with pytest.raises(KeyError), loading.shown(str(path), "load the backup", 100, lambda: 0):
        raise KeyError("anything")
    assert [entry["state"] for entry in entries(path)] == ["failed"]
