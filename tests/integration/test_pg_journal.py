"""pg_journal and pg_status_info: one run, one id, out of the application's reach."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.runbook.database.connection import SessionSettings, session
from ansible.module_utils.runbook.errors import RunbookError
from ansible.module_utils.runbook.journal import runs as journal
from support.journal import note_step
from support.servers import Options, connect, query, value

Run = Callable[..., dict[str, Any]]
HASH = "a" * 64


@pytest.fixture
def opened(run_module: Run, empty_database: Options, tmp_path: Path) -> dict[str, Any]:
    return open_run(run_module, empty_database, directory=str(tmp_path / "run"))


def open_run(run_module: Run, options: Options, plan_hash: str = HASH, **run: str) -> dict[str, Any]:
    return run_module(
        "pg_journal",
        connection=options,
        state="run_opened",
        run={"plan_hash": plan_hash, "environment": "staging", "host": "staging_database", **run},
        plan_name="orders_split",
    )


def has_journal(options: Options) -> bool:
    return bool(value(options, "SELECT to_regnamespace('migration_runbook') IS NOT NULL"))


def test_opening_a_run_in_check_mode_writes_nothing(run_module: Run, empty_database: Options, tmp_path: Path) -> None:
    result = run_module(
        "pg_journal",
        _check=True,
        connection=empty_database,
        state="run_opened",
        run={"plan_hash": HASH, "directory": str(tmp_path / "run")},
        plan_name="orders_split",
    )
    assert result["changed"]
    assert result["run"]["id"]
    assert result["run"]["directory"] == ""
    assert not has_journal(empty_database)
    assert not (tmp_path / "run").exists()


def test_a_run_is_opened_with_its_first_event(run_module: Run, empty_database: Options) -> None:
    options = {
        "connection": empty_database,
        "state": "run_opened",
        "run": {"plan_hash": HASH},
        "plan_name": "orders_split",
        "phase": "environment_verified",
        "details": {"blocking": []},
    }
    assert run_module("pg_journal", **options)["changed"]
    again = run_module("pg_journal", **options)
    assert (again["changed"], again["resumed"]) == (False, True), "the event says the same"
    assert run_module("pg_journal", **{**options, "details": {"blocking": ["x"]}})["changed"]
    events = query(empty_database, "SELECT phase, status FROM migration_runbook.event")
    assert events == [("environment_verified", "ok")] * 2


def test_opening_a_run_makes_the_journal_and_the_directory(
    opened: dict[str, Any], empty_database: Options, tmp_path: Path
) -> None:
    assert (opened["changed"], opened["resumed"], opened["run"]["state"]) == (True, False, "open")
    assert (tmp_path / "run").stat().st_mode & 0o777 == 0o700
    rows = query(empty_database, "SELECT run_id, environment, host, directory FROM migration_runbook.run")
    assert rows == [(opened["run"]["id"], "staging", "staging_database", str(tmp_path / "run"))]


def test_opening_again_goes_on_with_the_same_run(
    run_module: Run, opened: dict[str, Any], empty_database: Options
) -> None:
    again = open_run(run_module, empty_database)
    assert (again["changed"], again["resumed"]) == (False, True)
    assert again["run"] == opened["run"]


def test_another_plan_is_refused_while_a_run_is_open(
    run_module: Run, opened: dict[str, Any], empty_database: Options
) -> None:
    note_step(empty_database, opened["run"]["id"])
    refused = open_run(run_module, empty_database, plan_hash="b" * 64)
    assert refused["failed"]
    assert f"run {opened['run']['id']} of plan orders_split has been open since" in refused["msg"]
    assert "a run that has changed tables keeps its files" in refused["msg"]
    assert refused["next_command"] == "ansible-playbook rollback.yml -i inventories/staging -e confirm=staging_database"
    assert refused["left_as"] == "unchanged"


def test_another_id_is_refused_while_a_run_is_open(run_module: Run, opened: Any, empty_database: Options) -> None:
    refused = open_run(run_module, empty_database, id="20250101T000000Z-000000")
    assert "so run 20250101T000000Z-000000 cannot be opened" in refused["msg"]


def test_the_application_cannot_reach_the_journal(opened: Any, empty_database: Options) -> None:
    rights = query(
        empty_database,
        "SELECT r.rolname, c.relname FROM pg_class c CROSS JOIN pg_roles r"
        " WHERE c.relnamespace = 'migration_runbook'::regnamespace AND c.relkind IN ('r', 'S')"
        " AND r.rolname IN ('anon', 'authenticated', 'service_role', 'authenticator')"
        " AND (has_schema_privilege(r.oid, c.relnamespace, 'USAGE')"
        "      OR c.relkind = 'r' AND has_table_privilege(r.oid, c.oid, 'SELECT, INSERT, UPDATE, DELETE'))",
    )
    assert rights == []


def test_an_event_is_recorded_once(run_module: Run, opened: dict[str, Any], empty_database: Options) -> None:
    event = {
        "connection": empty_database,
        "state": "recorded",
        "run": {"id": opened["run"]["id"]},
        "phase": "backup_verified",
        "details": {"bytes": 5},
    }
    assert run_module("pg_journal", _check=True, **event)["changed"]
    assert value(empty_database, "SELECT count(*) FROM migration_runbook.event") == 0
    assert run_module("pg_journal", **event)["changed"]
    assert not run_module("pg_journal", **event)["changed"]
    assert query(empty_database, "SELECT phase, status, details FROM migration_runbook.event") == [
        ("backup_verified", "ok", {"bytes": 5})
    ]


def test_a_closed_run_is_closed_once_and_takes_no_events(
    run_module: Run, opened: dict[str, Any], empty_database: Options
) -> None:
    run = {"id": opened["run"]["id"]}
    closing = {"connection": empty_database, "state": "run_closed", "run": run}
    assert run_module("pg_journal", _check=True, **closing)["changed"]
    assert run_module("pg_journal", **closing)["run"]["state"] == "complete"
    assert not run_module("pg_journal", **closing)["changed"]
    refused = run_module("pg_journal", connection=empty_database, state="recorded", run=run, phase="backup_verified")
    assert "is not open: it is complete" in refused["msg"]
    assert open_run(run_module, empty_database)["run"]["id"] != run["id"]


def test_missing_options_are_named(run_module: Run, empty_database: Options) -> None:
    refused = run_module("pg_journal", connection=empty_database, state="recorded", run={})
    assert "state recorded needs run.id and phase" in refused["msg"]


def test_the_guard_names_what_is_missing_and_what_to_type(opened: dict[str, Any], empty_database: Options) -> None:
    run = {"id": opened["run"]["id"], "plan_hash": HASH}
    with session(empty_database, SessionSettings()) as connection, connection.cursor() as cursor:
        journal.record(cursor, run["id"], "environment_verified")
        journal.record(cursor, run["id"], "backup_verified", "failed")
        with pytest.raises(RunbookError, match=r"has not completed: backup_verified, snapshot_taken") as caught:
            journal.require_run_ready(cursor, run)
        assert caught.value.next_command.startswith("ansible-playbook migrate.yml -i inventories/staging")
        journal.record(cursor, run["id"], "backup_verified")
        journal.record(cursor, run["id"], "snapshot_taken", details={"counts": {"orders": 3}})
        assert journal.require_run_ready(cursor, run)["snapshot_taken"] == {"counts": {"orders": 3}}
        with pytest.raises(RunbookError, match="has not completed: backup_drilled"):
            journal.require_run_ready(cursor, run, drilled=True)
        journal.record(cursor, run["id"], "backup_drilled", "failed")
        with pytest.raises(RunbookError, match="has not completed: backup_drilled"):
            journal.require_run_ready(cursor, run, drilled=True)
        journal.record(cursor, run["id"], "backup_drilled", "ok")
        assert "backup_drilled" in journal.require_run_ready(cursor, run, drilled=True)
        with pytest.raises(RunbookError, match=r"migrate\.yml closes it and opens a new one"):
            journal.require_run_ready(cursor, {**run, "plan_hash": "b" * 64})
        with pytest.raises(RunbookError, match="is not open: it is unknown to this database's journal"):
            journal.require_run_ready(cursor, {**run, "id": "x"})


def test_a_database_without_journal_can_be_asked(run_module: Run, empty_database: Options) -> None:
    result = run_module("pg_status_info", connection=empty_database)
    journal = result["journal"]
    assert (journal["exists"], result["changed"], journal["open_run"], journal["runs"]) == (False, False, {}, [])
    assert result["change_log"] == {"exists": False, "since": None, "tables": []}
    assert result["history"] == {}
    assert result["msg"] == "no run is open"


def test_the_journal_shows_its_run_and_events(run_module: Run, opened: dict[str, Any], empty_database: Options) -> None:
    run_id = opened["run"]["id"]
    with connect(empty_database) as connection, connection.cursor() as cursor:
        journal.record(cursor, run_id, "environment_verified")
    result = run_module("pg_status_info", connection=empty_database)
    assert result["journal"]["open_run"]["run_id"] == run_id
    assert [(event["phase"], event["status"]) for event in result["journal"]["events"]] == [
        ("environment_verified", "ok")
    ]
    assert result["msg"] == f"run {run_id} is open"
