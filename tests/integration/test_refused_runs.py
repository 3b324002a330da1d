"""A run that changed nothing binds nobody, and one that another inventory began is not resumed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.runbook.database.connection import SessionSettings, session, transaction
from ansible.module_utils.runbook.errors import RunbookError
from ansible.module_utils.runbook.journal import changes
from ansible.module_utils.runbook.journal import runs as journal
from support.journal import note_step
from support.playbooks import Operator
from support.servers import SUPERUSER, Options, connect, query, value
from support.tiny import PREPARE, SETTINGS, copy_plan, load_shop, plan_of, replace_in

Run = Callable[..., dict[str, Any]]
OLD, NEW = "a" * 64, "b" * 64
LOG_TRIGGERS = "SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'runbook_change_log%'"
RUNS = "SELECT plan_hash, state FROM migration_runbook.run ORDER BY started_at"


def open_run(run_module: Run, options: Options, plan_hash: str = OLD, **more: Any) -> dict[str, Any]:
    check = more.pop("_check", False)
    run = {"plan_hash": plan_hash, "environment": "staging", "host": "orders", **more}
    opened = {"connection": options, "state": "run_opened", "run": run, "plan_name": "orders"}
    return run_module("pg_journal", _check=check, **opened)


def test_a_run_that_changed_nothing_gives_way_to_other_files(run_module: Run, empty_database: Options) -> None:
    first = open_run(run_module, empty_database)["run"]["id"]
    note_step(empty_database, first, state="intent")

    would = open_run(run_module, empty_database, NEW, _check=True)
    assert not would["failed"], would["msg"]
    assert query(empty_database, RUNS) == [(OLD, "open")], "check mode closes nothing"
    second = open_run(run_module, empty_database, NEW)

    assert not second["failed"], second["msg"]
    assert (second["changed"], second["resumed"]) == (True, False)
    assert query(empty_database, RUNS) == [(OLD, "abandoned"), (NEW, "open")]
    (event,) = query(empty_database, "SELECT run_id, details FROM migration_runbook.event WHERE phase = 'abandoned'")
    assert event == (first, {"by": second["run"]["id"], "reason": "superseded by a run with other files"})
    assert value(empty_database, "SELECT count(*) FROM migration_runbook.step WHERE superseded_at IS NULL") == 0


@pytest.mark.parametrize(
    ("row", "binds"),
    [
        ({"state": "done"}, True),
        ({"state": "done", "changed": False}, False),
        ({"state": "intent"}, False),
        ({"state": "intent", "kind": "validate"}, False),
        ({"state": "intent", "kind": "concurrently"}, True),
    ],
    ids=lambda row: "-".join(map(str, row.values())) if isinstance(row, dict) else str(row),
)
def test_what_binds_a_run_is_a_change_of_a_table(
    run_module: Run, empty_database: Options, row: dict[str, Any], binds: bool
) -> None:
    run_id = open_run(run_module, empty_database)["run"]["id"]
    note_step(empty_database, run_id, **row)
    assert open_run(run_module, empty_database, NEW)["failed"] is binds
    ended = run_module("pg_change_log", connection=empty_database, state="absent")
    assert not ended["failed"], "there is no log that the run could need"
    assert query(empty_database, RUNS)[0][1] == ("open" if binds else "abandoned")


@pytest.mark.parametrize(
    ("statement", "touches"),
    [
        ("CREATE TABLE ours.note (id int)", False),
        ("INSERT INTO ours.kept VALUES (1)", False),
        ("CREATE FUNCTION ours.one() RETURNS int LANGUAGE sql AS 'SELECT 1'", False),
        ("SELECT count(*) FROM public.theirs", False),
        ("SELECT * FROM public.theirs FOR UPDATE", False),
        ("INSERT INTO public.theirs VALUES (1)", True),
        ("DELETE FROM public.theirs", True),
        ("ALTER TABLE public.theirs ADD COLUMN more int", True),
        ("CREATE INDEX theirs_id ON public.theirs (id)", True),
        ("DO $$BEGIN UPDATE public.theirs SET id = 2; END$$", True),
        ("CREATE TABLE public.new_one (id int)", True),
        ("CREATE VIEW public.seen AS SELECT 1 AS one", True),
        ("COMMENT ON TABLE public.theirs IS 'x'", True),
    ],
)
def test_a_transaction_touches_tables_or_only_the_helper_schema(
    empty_database: Options, statement: str, touches: bool
) -> None:
    with connect({**empty_database, "user": SUPERUSER}) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE SCHEMA ours; CREATE TABLE ours.kept (id int); CREATE TABLE public.theirs (id int)")
    superuser = {**empty_database, "user": SUPERUSER}
    with session(superuser, SessionSettings()) as connection, transaction(connection) as cursor:
        cursor.execute(statement)
        assert changes.touches_tables(cursor, "ours") is touches


def test_a_run_whose_command_is_at_work_is_not_closed(run_module: Run, empty_database: Options) -> None:
    run_id = open_run(run_module, empty_database)["run"]["id"]
    with session(empty_database, SessionSettings(application_name=f"runbook {run_id} backup")):
        for refused in (
            open_run(run_module, empty_database, NEW),
            run_module("pg_change_log", connection=empty_database, state="absent"),
        ):
            assert refused["failed"]
            assert f"a command of run {run_id} is still running (session " in refused["msg"]
            assert refused["next_command"] == "wait until it has ended, then run the same command again"
    assert query(empty_database, RUNS) == [(OLD, "open")]


def test_an_abandoned_run_is_not_opened_again(run_module: Run, empty_database: Options) -> None:
    run = {"id": open_run(run_module, empty_database)["run"]["id"]}
    assert not run_module("pg_change_log", connection=empty_database, state="absent")["failed"]
    for state in ("run_reopened", "run_closed"):
        refused = run_module("pg_journal", connection=empty_database, state=state, run=run, run_state="rolled_back")
        assert f"run {run['id']} is not open: it is abandoned." in refused["msg"]


def test_a_run_that_has_changed_tables_is_never_closed_like_that(run_module: Run, empty_database: Options) -> None:
    run_id = open_run(run_module, empty_database)["run"]["id"]
    note_step(empty_database, run_id)
    refused = pytest.raises(RunbookError, match=f"run {run_id} has changed tables of the plan")
    with session(empty_database, SessionSettings()) as connection, refused:
        changes.abandon_now(connection, run_id, "by mistake")


def test_a_run_closed_under_a_migration_stops_it_before_its_first_step(
    run_module: Run, empty_database: Options, tmp_path: Path
) -> None:
    load_shop(empty_database)
    plan = plan_of()
    with session(empty_database, SessionSettings()) as connection, connection.cursor() as cursor:
        opened = journal.open_run(connection, plan=plan["plan"], plan_hash=plan["plan_hash"])
        for phase in journal.REQUIRED_PHASES:
            journal.record(cursor, opened["run_id"], phase)
        changes.abandon_now(connection, opened["run_id"], "closed meanwhile")
    run = {"id": opened["run_id"], "plan_hash": plan["plan_hash"]}
    migrate = {"plan": plan, "version": PREPARE, "plan_settings": SETTINGS, "run": run}
    refused = run_module("pg_migration", connection=empty_database, **migrate)
    assert f"run {opened['run_id']} is not open: it is abandoned" in refused["msg"]
    assert not value(empty_database, "SELECT to_regclass('shop.shipments') IS NOT NULL")


@pytest.mark.parametrize(("environment", "host"), [("production", "orders"), ("staging", "orders_2")])
def test_another_environment_or_host_does_not_go_on_with_a_run(
    run_module: Run, empty_database: Options, environment: str, host: str, tmp_path: Path
) -> None:
    load_shop(empty_database)
    plan = plan_of()
    opened = open_run(run_module, empty_database, plan["plan_hash"])
    run = {"id": opened["run"]["id"], "plan_hash": plan["plan_hash"], "environment": environment, "host": host}
    identify = {
        "plan_directory": plan["directory"], "artifacts_directory": str(tmp_path), "environment_name": environment,
        "host": host,
    }  # fmt: skip
    for refused in (
        open_run(run_module, empty_database, plan["plan_hash"], environment=environment, host=host),
        open_run(run_module, empty_database, NEW, environment=environment, host=host),
        run_module("pg_run_info", connection=empty_database, **identify),
        run_module("pg_run_info", connection=empty_database, existing=True, **identify),
        run_module(
            "pg_migration", connection=empty_database, plan=plan, version=PREPARE, run=run, plan_settings=SETTINGS
        ),
    ):
        assert refused["failed"]
        assert "was started by host orders of environment staging" in refused["msg"]
        assert f"this is host {host} of environment {environment}" in refused["msg"]
        assert refused["next_command"] == "the same command with -i inventories/staging -e confirm=orders"
    assert query(empty_database, RUNS) == [(plan["plan_hash"], "open")]
    shown = run_module("pg_run_info", connection=empty_database, anywhere=True, **identify)
    assert "was started by host orders of environment staging" in shown["begun_elsewhere"]


def test_a_run_that_changed_nothing_is_never_restored(run_module: Run, empty_database: Options, tmp_path: Path) -> None:
    load_shop(empty_database)
    plan = plan_of()
    run = {**open_run(run_module, empty_database, plan["plan_hash"])["run"], "new_id": "x", "directory": str(tmp_path)}
    note_step(empty_database, run["id"], state="intent")

    looked = run_module("pg_rollback_info", connection=empty_database, plan=plan, run=run)
    assert looked["recommended"] == ""
    assert looked["lines"][-1] == "Next: ansible-playbook migrate.yml -i inventories/staging -e confirm=orders"
    assert "This run has changed no table of the plan, so there is nothing to roll back." in looked["lines"][-2]
    for method in ("restore", "reverse", "forward_fix"):
        refused = run_module("pg_rollback_info", connection=empty_database, plan=plan, run=run, method=method)
        assert refused["failed"]
        assert refused["next_command"] == "ansible-playbook migrate.yml -i inventories/staging -e confirm=orders"
    restore = run_module("pg_rollback_info", connection=empty_database, plan=plan, run=run, method="restore")
    assert (
        "has changed nothing, so a restore would only remove what the application has written since" in restore["msg"]
    )


def test_a_refused_run_closes_itself_and_the_corrected_plan_runs(empty_database: Options, tmp_path: Path) -> None:
    load_shop(empty_database)
    plan = copy_plan(tmp_path)
    first = plan / f"migrations/{PREPARE}_prepare_shipments.sql"
    good = first.read_text()
    kept = "-- step: helper schema alone\nCREATE SCHEMA IF NOT EXISTS orders_split;\n\n"
    replace_in(first, "-- step: helper schema, table", f"{kept}-- step: helper schema, table")
    replace_in(first, "ALTER TABLE shop.orders ADD COLUMN IF", "ALTER TABLE shop.misspelt ADD COLUMN IF")
    operator = Operator(
        tmp_path, empty_database, migration_plan_directory=str(plan), migration_plan_settings=dict(SETTINGS)
    )

    refused = operator.type("migrate.yml")
    assert refused.status == 2
    assert "the run is closed: it has changed no table of the plan, and its change log is removed" in refused.text
    assert operator.report()["state"] == "refused"
    assert value(empty_database, LOG_TRIGGERS) == 0
    assert query(empty_database, RUNS)[0][1] == "abandoned"

    note = (
        "UPDATE shop.orders SET address = 'written meanwhile' WHERE id = (SELECT min(id::text)::uuid FROM shop.orders)"
    )
    query(empty_database, f"{note} RETURNING id")
    restore = operator.type("rollback.yml", "-e", "method=restore")
    assert restore.status == 2
    assert "was closed without having changed anything" in restore.text
    assert "Next: ansible-playbook migrate.yml" in restore.text
    looked = operator.type("rollback.yml")
    assert looked.status == 0, looked.screen
    assert "is closed; it had changed nothing" in looked.text
    assert value(empty_database, "SELECT count(*) FROM shop.orders WHERE address = 'written meanwhile'") == 1
    assert "abandoned (it changed no table of the plan)" in operator.type("playbooks/status.yml").text

    first.write_text(good)
    done = operator.type("migrate.yml")
    assert done.status == 0, done.screen
    assert [state for _, state in query(empty_database, RUNS)] == ["abandoned", "complete"]


def test_the_drill_is_asked_for_once_and_only_the_inventory_that_began_a_run_goes_on(
    database: Options, tmp_path: Path
) -> None:
    identifier = value({**database, "user": SUPERUSER}, "SELECT system_identifier::text FROM pg_control_system()")
    pins = {"database_expected": {"system_identifier": identifier, "database": database["dbname"]}}
    staging = Operator(tmp_path, database, runbook_environment="staging", **pins)
    confirmed = ("-e", "confirm=test_database")
    stop = ("-e", "stop_after=20250122000000")
    begun = staging.type("migrate.yml", *confirmed, *stop, "-e", "database_backup_restore_drill=false")
    assert begun.status == 0, begun.screen
    drills = "SELECT count(*) FROM migration_runbook.event WHERE phase = 'backup_drilled'"
    assert value(database, drills) == 0, "the text false is no true"

    (tmp_path / "other").mkdir()
    production = Operator(tmp_path / "other", database, runbook_environment="production", **pins)
    for command in (("migrate.yml",), ("rollback.yml", "-e", "method=reverse"), ("rollback.yml",)):
        refused = production.type(*command, *confirmed)
        assert refused.status == 2
        assert "was started by host test_database of environment staging" in refused.text
        assert "Next: the same command with -i inventories/staging -e confirm=test_database" in refused.text
    shown = production.type("playbooks/status.yml")
    assert shown.status == 0, shown.screen
    assert "was started by host test_database of environment staging" in shown.text

    back = staging.type("rollback.yml", "-e", "method=reverse", "-e", "rollback_application_stopped=true", *confirmed)
    assert back.status == 0, back.screen
    assert query(database, "SELECT state FROM migration_runbook.run") == [("rolled_back",)]


@pytest.fixture
def failed(run_module: Run, empty_database: Options, tmp_path: Path) -> Callable[[], dict[str, Any]]:
    """A run with its change log that failed in preflight; gives what its report says at the command's end."""
    load_shop(empty_database)
    plan = plan_of()
    opened = open_run(run_module, empty_database, plan["plan_hash"])["run"]["id"]
    tables = [{"table": "shop.orders", "key": "id"}]
    logged = run_module("pg_change_log", connection=empty_database, tables=tables, run={"id": opened})
    assert not logged["failed"], logged["msg"]
    results = tmp_path / opened / "results"
    results.mkdir(parents=True)
    (results / "10-environment.json").write_text(
        json.dumps({"failed": True, "msg": "1 finding is blocking.", "left_as": "unchanged", "next_command": ""})
    )
    identify = {
        "plan_directory": plan["directory"], "artifacts_directory": str(tmp_path), "environment_name": "staging",
        "host": "orders",
    }  # fmt: skip
    run = {**run_module("pg_run_info", connection=empty_database, **identify), "directory": str(tmp_path / opened)}

    def report() -> dict[str, Any]:
        made = run_module("pg_run_report", connection=empty_database, run=run, ends_refused=True)
        assert not made["failed"], made["msg"]
        return made

    return report


def test_a_run_stays_open_while_its_log_cannot_be_removed_and_is_closed_by_the_next_command(
    failed: Callable[[], dict[str, Any]], empty_database: Options
) -> None:
    with connect(empty_database) as connection, connection.cursor() as cursor:
        connection.autocommit = False
        cursor.execute("LOCK TABLE shop.orders IN ROW EXCLUSIVE MODE")
        blocked = failed()
        connection.rollback()
    (warning,) = blocked["report"]["warnings"]
    assert warning.startswith("the run has changed no table of the plan and could not be closed: ")
    assert "shop.orders" in warning
    assert query(empty_database, "SELECT state FROM migration_runbook.run") == [("open",)]
    assert blocked["summary"][-1] == "next: ansible-playbook migrate.yml -i inventories/staging -e confirm=orders"
    closed = failed()
    assert (closed["changed"], closed["report"]["state"]) == (True, "refused")
    assert query(empty_database, "SELECT state FROM migration_runbook.run") == [("abandoned",)]
    assert value(empty_database, LOG_TRIGGERS) == 0
    again = failed()
    assert (again["changed"], again["report"]["state"]) == (False, "refused"), "made again it says the same"


@pytest.mark.parametrize("why", ["aborted by the operator", "has changed a table", "another command is at work"])
def test_a_run_that_is_needed_is_not_closed(
    failed: Callable[[], dict[str, Any]], empty_database: Options, why: str
) -> None:
    run_id = value(empty_database, "SELECT run_id FROM migration_runbook.run")
    with session(empty_database, SessionSettings()) as connection, connection.cursor() as cursor:
        if why.startswith("aborted"):
            journal.record(cursor, run_id, "control", details={"revision": 1, "command": "abort"})
        elif why.startswith("has"):
            note_step(empty_database, run_id)
        else:
            cursor.execute("SELECT set_config('application_name', %s, false)", (f"runbook {run_id} drill",))
        assert not failed()["changed"]
    assert query(empty_database, "SELECT state FROM migration_runbook.run") == [("open",)]
    assert value(empty_database, LOG_TRIGGERS) > 0


def test_a_wrong_option_of_any_role_is_refused_before_anything_happens(empty_database: Options, tmp_path: Path) -> None:
    wrong = {
        "application_control_hook": {"total_timeout_seconds": "soon"},
        "change_log_locking": {"lock_attempts": 0},
        "data_snapshot_directory": ["orders"],
        "database_accepted_findings": "all",
        "database_backup_restore_drill": "maybe",
        "database_reading": {"sessions": "two"},
        "environment_verification_thresholds": {"old_snapshot": 5},
        "migration_execution_strategy": "offlin",
        "performance_verification_options": {"executions": "many"},
        "promotion_gate_run": "newest",
        "rollback_options": {"workers": 2},
        "run_report_connection": "orders",
        "troubleshooting_statement_timeout_seconds": "long",
    }
    said = (
        "- application_control_hook.total_timeout_seconds='soon' is not a number",
        "- change_log_locking.lock_attempts=0 is too small",
        "- data_snapshot_directory=['orders'] is not a string",
        "- database_accepted_findings='all' is not a list",
        "- database_backup_restore_drill='maybe' is neither true nor false",
        "- database_reading.sessions='two' is not a whole number",
        "- environment_verification_thresholds has no option old_snapshot; did you mean old_snapshot_seconds?",
        "- migration_execution_strategy='offlin' is not among online, offline",
        "- performance_verification_options.executions='many' is not a whole number",
        "- promotion_gate_run='newest' does not name its values",
        "- rollback_options has no option workers; it takes end_timeout_seconds, except_own_role, except_roles, jobs, ",
        "- run_report_connection in the inventory: there is no such option",
        "- troubleshooting_statement_timeout_seconds='long' is not a whole number",
    )
    operator = Operator(tmp_path, empty_database, **wrong)
    for playbook in ("migrate.yml", "playbooks/preflight.yml"):
        outcome = operator.type(playbook)
        assert outcome.status != 0
        assert [line for line in said if line not in outcome.text] == []
        assert "Nothing was changed" in outcome.text
        assert "pg_run_info" not in outcome.screen
        assert "identify | Identify the run" not in outcome.screen
    assert value(empty_database, "SELECT to_regnamespace('migration_runbook')") is None
    assert operator.runs() == []


def test_a_start_in_the_middle_is_refused_and_does_not_end_green(empty_database: Options, tmp_path: Path) -> None:
    operator = Operator(tmp_path, empty_database)
    for task in ("guide | Phase 3, apply the migrations one by one", "Run the guide phase by phase", "no such task"):
        outcome = operator.type("migrate.yml", "--start-at-task", task)
        assert outcome.status != 0
        assert "Refused: --start-at-task leaves out phases. Nothing was changed. Next: the same command" in outcome.text
    assert value(empty_database, "SELECT to_regnamespace('migration_runbook')") is None
    assert operator.runs() == []
