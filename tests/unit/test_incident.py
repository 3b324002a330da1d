"""What an incident report says of a rollback and of a run that was killed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ansible.module_utils.runbook.report import incident

RUN = {"id": "20260101T000000Z-abc", "plan_name": "orders", "plan_hash": "a" * 64, "directory": "/somewhere"}
PHASE = {
    "name": "30-migration-1",
    "title": "Migration",
    "failed": False,
    "changed": True,
    "msg": "",
    "duration_seconds": 1,
}
MIGRATION = {"version": "20260101000000", "state": "applied", "failed": False, "rows_moved": 7}


def report(state: str, **more: Any) -> dict[str, Any]:
    empty = {
        "failure": None,
        "restore": {},
        "findings": [],
        "checks": [],
        "warnings": [],
        "migrations": [],
        "phases": [],
        "reversed": [],
    }
    return {"run": RUN, "state": state, "written_at": "", "next_command": "type this", **empty, **more}


def test_a_rollback_tells_what_it_restored_and_how_long_the_application_was_away() -> None:
    rows = {"public.orders": {"deleted": 2}}
    away = {"application_seconds": 6.1, "database_seconds": 0.2}
    found = incident.build(report("rolled_back", restore=rows), {"application_away": away})
    assert found["application_away"] == away
    assert found["trigger"]["msg"] == "an operator rolled the run back"
    assert found["rows_affected"]["restored"] == rows
    assert found["state_now"]["meaning"].startswith("the database is as it was before the run")


def test_a_reverse_says_that_later_writes_are_kept_and_that_nothing_is_applied() -> None:
    found = incident.build(report("rolled_back", migrations=[MIGRATION]), {"state": "rolled_back"})
    assert found["trigger"]["title"] == "Revert of the migrations one by one"
    assert "later writes of the application were kept" in found["state_now"]["meaning"]
    assert found["state_now"]["applied"] == []


def test_a_killed_run_names_the_last_phase_and_what_is_kept() -> None:
    found = incident.build(report("interrupted", phases=[PHASE], migrations=[MIGRATION]), {})
    assert found["trigger"]["msg"] == "the command ended without a result after: Migration"
    assert found["state_now"]["applied"] == ["20260101000000"]
    assert found["rows_affected"]["moved"] == {"20260101000000": 7}
    assert found["state_now"]["next_command"] == "type this"


def test_the_timeline_is_in_order_whatever_table_it_comes_from() -> None:
    step = {"version": "1", "direction": "applied", "step_number": 2, "name": "fill", "rows_moved": 5}
    journal = {
        "started_at": "2026-01-01T00:00:00+00:00",
        "events": [{"at": "2026-01-01T00:00:01+00:00", "phase": "backup_verified", "status": "ok"}],
        "steps": [{**step, "started_at": "2026-01-01T00:00:02+00:00", "finished_at": "2026-01-01T00:00:09+00:00"}],
        "pauses": [
            {"reason": "lag", "signal": "lag", "started_at": "2026-01-01T00:00:03+00:00", "ended_at": None},
        ],
    }
    what = [entry["what"] for entry in incident.build(report("failed"), journal)["timeline"]]
    assert what == [
        "the run was opened",
        "backup verified: ok",
        "1 applied, step 2 (fill) began",
        "paused: lag",
        "1 applied, step 2 (fill) done, 5 rows",
    ]


def test_the_timeline_has_steps_that_were_superseded_and_says_so() -> None:
    step = {"version": "1", "direction": "applied", "step_number": 2, "name": "fill", "rows_moved": 5}
    old = {"started_at": "2026-01-01T00:00:02+00:00", "finished_at": "2026-01-01T00:00:03+00:00"}
    new = {"started_at": "2026-01-01T00:00:05+00:00", "finished_at": None}
    journal = {
        "steps": [{**step, **new, "rows_moved": None}],
        "superseded_steps": [{**step, **old, "superseded_at": "2026-01-01T00:00:04+00:00"}],
    }
    what = [entry["what"] for entry in incident.build(report("failed"), journal)["timeline"]]
    assert what == [
        "1 applied, step 2 (fill) began (superseded 2026-01-01T00:00:04+00:00)",
        "1 applied, step 2 (fill) done, 5 rows (superseded 2026-01-01T00:00:04+00:00)",
        "1 applied, step 2 (fill) began",
    ]


def test_evidence_is_kept_though_a_later_attempt_writes_its_results_anew(tmp_path: Path) -> None:
    (tmp_path / "results").mkdir()
    result = tmp_path / "results" / "10-environment.json"
    result.write_text(json.dumps({"failed": True}))
    facts = report("failed", run={**RUN, "directory": str(tmp_path)})
    directory = incident.directory_of(facts)
    listed = incident.keep_evidence(str(tmp_path), directory)
    result.write_text(json.dumps({"failed": False}))
    assert json.loads((Path(directory) / "results" / "10-environment.json").read_text()) == {"failed": True}
    assert {entry["path"] for entry in listed} >= {"results/10-environment.json"}
