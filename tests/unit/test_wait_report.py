"""What a wait reports to the screen: news at once, the rest at intervals."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.module_utils.runbook.locking import blockers, wait_report
from ansible.module_utils.runbook.progress_feed import Writer

# A role without pg_read_all_stats sees no times of another role's session, so nothing about it changes.
BLOCKER = {
    "pid": 7, "user": "app", "application": "the till", "backend_type": "", "state": "state unknown",
    "age_seconds": None, "query_start": None, "query": "",
}  # fmt: skip


def test_a_wait_that_stays_the_same_is_told_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(wait_report.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(blockers, "rows_as_dicts", lambda _: [BLOCKER])
    (tmp_path / "progress").touch()
    session: Any = SimpleNamespace(info=SimpleNamespace(backend_pid=5))
    cursor: Any = SimpleNamespace(execute=lambda *_: None)
    watch = wait_report.WaitReport(session, session, 0.5, Writer(str(tmp_path / "progress")), {"step": "add the key"})
    for seconds in (0.0, 0.5, 1.0, 1.5, 2.0):
        now[0] = 100.0 + seconds
        watch.look(cursor)
    told = [json.loads(line) for line in (tmp_path / "progress").read_text().splitlines()]
    assert [(line["step"], line["state"]) for line in told] == [("add the key", "waiting")] * 3
    assert {line["reason"] for line in told} == {
        "Blocked by pid 7 (user app, application the till, state unknown, transaction age unknown, "
        "query since unknown: -)."
    }
