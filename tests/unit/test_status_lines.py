"""The lines of status.yml, monitor.yml and a run that takes too long: what stands there, and what to type."""

from __future__ import annotations

import datetime
from typing import Any

import pytest
from ansible.module_utils.runbook.progress.status import monitor_lines, status_lines, too_long_lines

NOW = datetime.datetime(2026, 1, 1, 12, 30, 5, tzinfo=datetime.UTC)
RESTORED = {"phase": "restored", "at": "2026-01-01T10:00:00+00:00", "details": {}}
SWAPPED = {**RESTORED, "details": {"mode": "swap"}}
LATER = {"started_at": "2026-01-01T11:00:00+00:00"}
HELD = {"in_use": True, "run_id": "a", "holder": "somebody", "heartbeat_age_seconds": 60}
NO_LOG: dict[str, Any] = {"exists": False, "since": None, "tables": []}


def a_run(*, pending: bool = True, environment: str = "local", **more: Any) -> dict[str, Any]:
    return {
        "plan": {"migrations": []}, "phases_done": [], "applied": ["1"], "pending": ["2"] if pending else [],
        "begun_elsewhere": "", "environment": environment, "host": "there", **more,
    }  # fmt: skip


def a_journal(*, state: str = "complete", **more: Any) -> dict[str, Any]:
    run = {"run_id": "a", "state": state, "finished_at": "then", "started_at": "then", "environment": "staging"}
    found = {"open_run": run if state == "open" else {}, "runs": [run], "events": [], "steps": [], "lease": {}}
    return {**found, "summary": [], "progress": [], "running": {}, "activity": [], **more}


def history(partial: str = "", **more: Any) -> dict[str, Any]:
    row = {"version": "1", "name": "one", "remote": "1", "partial": partial, "drift": "none", "disagreement": ""}
    return {"migrations": [{**row, **more}]}


def lines(
    journal: dict[str, Any], of_run: dict[str, Any] | None = None, change_log: dict[str, Any] | None = None, **row: Any
) -> list[str]:
    return list(status_lines(of_run or a_run(), history(**row), journal, change_log or NO_LOG))


@pytest.mark.parametrize(
    ("run", "journal", "partial", "line"),
    [
        ({}, {}, "", "ansible-playbook migrate.yml"),
        ({"environment": "staging"}, {}, "", "ansible-playbook migrate.yml -i inventories/staging -e confirm=there"),
        ({"pending": False}, {}, "", "nothing is pending; playbooks/verify.yml runs every check"),
        ({}, {}, "applied", "ansible-playbook migrate.yml"),
        ({}, {}, "reverted", "ansible-playbook rollback.yml -e method=reverse"),
        ({}, {"events": [RESTORED]}, "", "ansible-playbook rollback.yml -e method=restore"),
        ({}, {"events": [SWAPPED]}, "", "ansible-playbook rollback.yml -e method=restore -e restore_mode=swap"),
        ({}, {"events": [RESTORED], "state": "rolled_back"}, "", "ansible-playbook migrate.yml"),
        ({}, {"events": [RESTORED], "steps": [LATER]}, "", "ansible-playbook migrate.yml"),
        (
            {"begun_elsewhere": "Run a was begun by staging"}, {"state": "open"}, "",
            "the same command with -i inventories/staging",
        ),
        (
            {}, {"state": "open", "lease": {**HELD, "heartbeat_age_seconds": "0.4"}}, "",
            "ansible-playbook playbooks/monitor.yml watches it; "
            "playbooks/control.yml controls it (-e control=resume ends a pause)",
        ),
        ({}, {"state": "open", "lease": HELD}, "", "ansible-playbook migrate.yml"),
    ],
)  # fmt: skip
def test_the_last_line_is_what_to_type(run: dict[str, Any], journal: dict[str, Any], partial: str, line: str) -> None:
    assert lines(a_journal(**journal), a_run(**run), partial=partial)[-1] == f"next: {line}"


def test_each_migration_has_a_line() -> None:
    assert lines(a_journal())[0] == "1  applied  one"
    assert lines(a_journal(), remote="")[0] == "1  pending  one"
    assert lines(a_journal(), partial="applied")[0] == "1  half applied  one"
    odd = lines(a_journal(), drift="edited", disagreement="they disagree")
    assert odd[0] == "1  applied  one  EDITED SINCE  they disagree"


def test_the_run_that_is_open_or_newest_has_a_line() -> None:
    assert "newest run a: complete, finished then" in lines(a_journal())
    abandoned = "newest run a: abandoned (it changed no table of the plan), finished then"
    assert abandoned in lines(a_journal(state="abandoned"))
    assert "this database has never had a run" in lines(a_journal(runs=[]))
    begun = a_run(begun_elsewhere="Run a was begun by staging", phases_done=["backup_verified", "snapshot_taken"])
    found = lines(a_journal(state="open", lease=HELD), begun)
    assert "run a has been open since then; done: backup_verified, snapshot_taken" in found
    assert "Run a was begun by staging" in found
    assert "run a is writing now (somebody, last heartbeat 60 s ago)" in found
    assert "run a has been open since then; done: nothing yet" in lines(a_journal(state="open"))


def test_a_commit_that_no_standby_confirmed_has_a_line_until_it_is() -> None:
    open_one = {"phase": "commit_unconfirmed", "at": "then", "details": {"object": "step 3"}}
    known = {"phase": "commit_confirmed", "at": "later", "details": {"object": "step 3"}}
    line = "step 3: committed here, not confirmed by a standby (then)"
    assert line in lines(a_journal(events=[open_one]))
    assert line not in lines(a_journal(events=[open_one, known]))


def test_what_the_application_wrote_is_listed_by_table() -> None:
    quiet = {"table": "shop.lines", "changes": 0}
    busy = {
        "table": "shop.orders", "changes": 5, "inserted": 1, "updated": 2, "deleted": 0, "truncations": 1,
        "last_at": "noon",
    }  # fmt: skip
    log = {"exists": True, "since": "then", "tables": [quiet, busy]}
    found = lines(a_journal(), None, log)
    assert "written by the application since then:" in found
    assert "  shop.orders: 1 rows inserted, 2 updated, 0 deleted, TRUNCATED, last at noon" in found
    assert not any("shop.lines" in line for line in found)
    assert "written by the application since then: nothing" in lines(a_journal(), None, {**log, "tables": [quiet]})


def test_whether_the_new_application_may_start_has_a_line() -> None:
    waits = a_run(plan={"new_application_after": "3", "migrations": []})
    assert "the new application must wait for migration 3" in lines(a_journal(), waits)
    assert "the new application may start" in lines(a_journal(), {**waits, "applied": ["3"]})
    half = lines(a_journal(), {**waits, "applied": ["3"]}, partial="reverted")
    assert "the new application must not run: migration 1 is half reverted" in half


def test_a_rollback_that_is_not_through_has_a_line() -> None:
    rollback = "the rollback is not complete: it starts the application and closes the run"
    line = f"the backup of run a is restored, and {rollback}"
    assert line in lines(a_journal(events=[RESTORED]))
    assert line not in lines(a_journal(events=[RESTORED], steps=[LATER]))


def progress(**more: Any) -> dict[str, Any]:
    entry = {"version": "2", "title": "Two", "applied": False, "problem": "", "rows_done": 5, "rows_total": 20}
    return {**entry, "percent": 25.0, **more}


def test_the_monitor_says_how_far_each_migration_is() -> None:
    asked = [progress(), progress(applied=True), progress(problem="nothing moved yet"), progress(percent=None)]
    busy = a_journal(state="open", summary=["2 move rows: at work"], progress=asked)
    assert list(monitor_lines(busy, NOW)) == [
        "12:30:05 run a: no session is writing now",
        "2 move rows: at work",
        "2 Two: 5 of 20 rows (25.0 %)",
        "2 Two: applied",
        "2 Two: nothing moved yet",
        "2 Two: 5 of 20 rows",
    ]
    running = {**busy, "lease": HELD, "running": {"version": "2"}}
    assert list(monitor_lines(running, NOW)) == ["12:30:05 run a", "2 move rows: at work"]
    assert list(monitor_lines(a_journal(), NOW)) == ["12:30:05 no run is open: a is complete"]
    assert list(monitor_lines(a_journal(runs=[]), NOW)) == ["12:30:05 no run is open: there has never been one"]


def test_a_run_that_takes_long_is_compared_with_what_the_guide_expects() -> None:
    plan = {"migrations": [{"version": "1", "expected_minutes": {"small": [1, 2]}}, {"version": "2"}]}
    steps = [
        {"version": "1", "superseded_at": None, "seconds": "90.0"},
        {"version": "1", "superseded_at": None, "seconds": 60.0},
        {"version": "1", "superseded_at": "then", "seconds": 600.0},
        {"version": "2", "superseded_at": None, "seconds": 6.0},
    ]
    verified = {"phase": "environment_verified", "details": {"volume": {"class": "small"}}}
    session = {"pid": 7, "seconds": 3.5, "waits_for": "", "phase": "building index", "query": "CREATE INDEX …"}
    journal = a_journal(state="open", steps=steps, events=[verified], activity=[session])
    found = list(too_long_lines(a_run(plan=plan), journal, NOW))[1:]
    assert found == [
        "session 7: 3.5 s in this statement, waits for nothing, building index: CREATE INDEX …",
        "1: 2.5 minutes of work so far; the guide expects 1 to 2 for a small database: longer than expected",
        "2: 0.1 minutes of work so far",
        "next: no session is writing; ansible-playbook migrate.yml resumes the run",
    ]
    waits = list(too_long_lines(a_run(plan=plan), {**journal, "lease": HELD}, NOW))
    assert waits[-1] == "next: wait while rows move; ansible-playbook playbooks/monitor.yml follows"
    assert list(too_long_lines(a_run(plan=plan), a_journal(), NOW))[-1] == "next: nothing to do; no run is open"
