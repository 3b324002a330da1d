"""pg_migration and pg_status_info by the six steps: check, nothing happened, run, it happened, again, undo."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.runbook.database.connection import SessionSettings, session
from ansible.module_utils.runbook.journal import runs as journal
from support.servers import Options, query, value
from support.tiny import (
    MOVE,
    ORDERS_WITH_ADDRESS,
    PREPARE,
    REQUIRE,
    SETTINGS,
    copy_plan,
    load_shop,
    plan_of,
    replace_in,
)

Migrate = Callable[..., dict[str, Any]]


#: Batches of the plan's first size, whatever their time.
SMALL_BATCHES = {"batch_rows_least": 40, "batch_rows_most": 40}


@pytest.fixture
def shop(empty_database: Options) -> Options:
    load_shop(empty_database)
    return empty_database


@pytest.fixture
def migrate(run_module: Migrate, shop: Options) -> Migrate:
    """Call pg_migration on the shop: a version, and what differs from the usual options."""

    def call(version: str, **params: Any) -> dict[str, Any]:
        usual = {"connection": shop, "plan": plan_of(), "plan_settings": SETTINGS}
        return run_module("pg_migration", **{**usual, "version": version, **params})

    return call


def succeed(result: dict[str, Any]) -> dict[str, Any]:
    assert not result["failed"], result["msg"]
    return result


def statuses(result: dict[str, Any]) -> list[str]:
    return [step["status"] for step in result["steps"]]


def ledger_versions(options: Options) -> list[str]:
    return [row[0] for row in query(options, "SELECT version FROM supabase_migrations.schema_migrations ORDER BY 1")]


def shipments(options: Options) -> int:
    return int(value(options, "SELECT count(*) FROM shop.shipments"))


def test_check_mode_lists_the_steps_and_writes_nothing(migrate: Migrate, shop: Options) -> None:
    result = succeed(migrate(PREPARE, _check=True, _diff=True))
    assert result["changed"]
    assert statuses(result) == ["would_run"] * 3
    assert "CREATE TABLE IF NOT EXISTS shop.shipments" in result["diff"]["after"]
    assert [check["status"] for check in result["checks"]] == ["would_be_checked"]
    assert any(query.startswith("CREATE INDEX CONCURRENTLY") for query in result["queries"])
    assert value(shop, "SELECT to_regclass('shop.shipments') IS NULL")
    assert value(shop, "SELECT to_regnamespace('migration_runbook') IS NULL")
    assert value(shop, "SELECT to_regnamespace('supabase_migrations') IS NULL")


def test_check_mode_takes_the_versions_before_as_applied(migrate: Migrate) -> None:
    result = succeed(migrate(REQUIRE, _check=True))
    assert statuses(result) == ["would_run"] * 3


def test_a_migration_is_applied_once_and_recorded(migrate: Migrate, shop: Options) -> None:
    result = succeed(migrate(PREPARE, volume_class="small"))
    assert result["changed"]
    assert statuses(result) == ["done"] * 3
    assert [check["status"] for check in result["checks"]] == ["passed"]
    assert (result["expected_minutes"], result["judged"]) == ([1, 2], "faster")
    assert result["summary"][0].startswith("step 1: helper schema, table and column: done in ")
    assert result["summary"][-1].endswith("faster than expected: 1 to 2 minutes for a small database")
    assert value(shop, "SELECT indisvalid FROM pg_index WHERE indexrelid = 'shop.orders_shipment_id'::regclass")
    (row,) = query(shop, "SELECT version, name, statements FROM supabase_migrations.schema_migrations")
    assert row[:2] == (PREPARE, "prepare_shipments")
    assert row[2][0].startswith("CREATE SCHEMA IF NOT EXISTS orders_split")

    again = succeed(migrate(PREPARE))
    assert (again["changed"], again["steps"]) == (False, [])
    assert again["msg"].startswith(f"migration {PREPARE} is already applied")


def test_all_migrations_apply_and_revert_in_order(migrate: Migrate, shop: Options) -> None:
    succeed(migrate(PREPARE))
    moved = succeed(migrate(MOVE, limits=SMALL_BATCHES))
    succeed(migrate(REQUIRE))
    assert (moved["rows_moved"], moved["batches"]) == (ORDERS_WITH_ADDRESS, 6)
    assert shipments(shop) == ORDERS_WITH_ADDRESS
    assert value(shop, "SELECT bool_and(insured) FROM shop.shipments"), "the plan's setting did not arrive"
    assert ledger_versions(shop) == [PREPARE, MOVE, REQUIRE]

    for version in (REQUIRE, MOVE, PREPARE):
        assert succeed(migrate(version, state="reverted", _check=True))["changed"]
        assert succeed(migrate(version, state="reverted"))["changed"]
        assert not succeed(migrate(version, state="reverted"))["changed"]
    assert ledger_versions(shop) == []
    assert value(shop, "SELECT to_regclass('shop.shipments') IS NULL")

    assert statuses(succeed(migrate(PREPARE))) == ["done"] * 3, "what was reverted must run again"
    assert succeed(migrate(MOVE))["rows_moved"] == ORDERS_WITH_ADDRESS


def test_a_version_out_of_order_is_refused(migrate: Migrate, shop: Options) -> None:
    refused = migrate(MOVE)
    assert refused["failed"]
    assert f"migration {MOVE} comes after {PREPARE}, which is not applied" in refused["msg"]
    assert (refused["left_as"], refused["steps"]) == ("unchanged", [])
    assert value(shop, "SELECT to_regnamespace('migration_runbook') IS NULL")

    succeed(migrate(PREPARE))
    succeed(migrate(MOVE))
    refused = migrate(PREPARE, state="reverted")
    assert f"migration {PREPARE} comes before {MOVE}, which is applied" in refused["msg"]


def test_a_run_that_is_not_ready_is_refused(migrate: Migrate, shop: Options) -> None:
    plan = plan_of()
    with session(shop, SessionSettings()) as connection, connection.cursor() as cursor:
        opened = journal.open_run(connection, plan=plan["plan"], plan_hash=plan["plan_hash"])
        run = {"id": opened["run_id"], "plan_hash": plan["plan_hash"]}
        journal.record(cursor, run["id"], "environment_verified")
        refused = migrate(PREPARE, run=run)
        assert "has not completed: backup_verified, snapshot_taken" in refused["msg"]
        assert refused["missing_phases"] == ["backup_verified", "snapshot_taken"]
        assert refused["left_as"] == "unchanged"
        journal.record(cursor, run["id"], "backup_verified")
        journal.record(cursor, run["id"], "snapshot_taken")
        journal.record(cursor, run["id"], "environment_verified", details={"volume": {"rows": 200, "class": "small"}})
    applied = succeed(migrate(PREPARE, run=run))
    assert (applied["run_id"], applied["volume_class"]) == (run["id"], "small")
    assert {row[0] for row in query(shop, "SELECT run_id FROM migration_runbook.step")} == {run["id"]}


def test_missing_settings_are_refused(migrate: Migrate) -> None:
    refused = migrate(PREPARE, plan_settings={})
    assert "missing shipments_are_insured" in refused["msg"]


def test_an_edited_applied_file_stops_the_next_migration(
    migrate: Migrate, run_module: Migrate, shop: Options, tmp_path: Path
) -> None:
    succeed(migrate(PREPARE))
    directory = copy_plan(tmp_path)
    path = directory / "migrations" / "20250301000000_prepare_shipments.sql"
    replace_in(path, "address text NOT NULL", "address text")
    refused = migrate(MOVE, plan=plan_of(directory))
    assert f"its file {path} was edited afterwards" in refused["msg"]
    assert refused["object"] == str(path)
    table = run_module("pg_status_info", connection=shop, plan=plan_of(directory))["history"]
    assert table["drifted"] == [PREPARE]


def test_a_ledger_with_other_columns_is_used_as_it_is(migrate: Migrate, shop: Options) -> None:
    query(shop, "CREATE SCHEMA supabase_migrations")
    query(
        shop,
        "CREATE TABLE supabase_migrations.schema_migrations (version text PRIMARY KEY, created_by text DEFAULT 'x')",
    )
    query(shop, "INSERT INTO supabase_migrations.schema_migrations VALUES ('20240101000000')")
    succeed(migrate(PREPARE))
    rows = query(shop, "SELECT version, created_by, name FROM supabase_migrations.schema_migrations ORDER BY 1")
    assert rows == [("20240101000000", "x", None), (PREPARE, "x", "prepare_shipments")]


def test_journal_and_ledger_that_disagree_are_refused(migrate: Migrate, run_module: Migrate, shop: Options) -> None:
    succeed(migrate(PREPARE))
    query(shop, "DELETE FROM supabase_migrations.schema_migrations")
    refused = migrate(PREPARE)
    assert "ledger and journal disagree" in refused["msg"]
    assert "Next: supabase migration repair --status applied" in refused["msg"]
    table = run_module("pg_status_info", connection=shop, plan=plan_of())["history"]
    assert table["disagreeing"] == [PREPARE]


def test_a_failed_check_keeps_the_version_out_of_the_ledger(
    migrate: Migrate, run_module: Migrate, shop: Options, tmp_path: Path
) -> None:
    directory = copy_plan(tmp_path)
    path = directory / "migrations" / "20250301000001_move_addresses.sql"
    replace_in(path, "AND o.shipment_id IS NULL", "AND o.shipment_id IS NULL AND o.customer <> 'customer 1'")
    plan = plan_of(directory)
    succeed(migrate(PREPARE, plan=plan))
    failed = migrate(MOVE, plan=plan)
    assert "1 of 1 checks failed" in failed["msg"]
    assert failed["object"] == "orders_without_shipment"
    assert failed["left_as"] == "resumable"
    assert failed["checks"][0]["offenders"][0]["customer"] == "customer 1"
    assert ledger_versions(shop) == [PREPARE]
    table = run_module("pg_status_info", connection=shop, plan=plan)["history"]
    assert (table["partial"], table["pending"], table["nothing_pending"]) == ([MOVE], [MOVE, REQUIRE], False)
    assert table["migrations"][1]["steps_done"] == table["migrations"][1]["steps"] == 3

    query(shop, "DELETE FROM shop.orders WHERE customer = 'customer 1'")
    again = succeed(migrate(MOVE, plan=plan))
    assert statuses(again) == ["done_before"] * 3, "only the checks had to run again"
    assert ledger_versions(shop) == [PREPARE, MOVE]


def test_the_table_says_what_the_supabase_command_line_says(
    migrate: Migrate, run_module: Migrate, shop: Options
) -> None:
    empty = run_module("pg_status_info", connection=shop, plan=plan_of())
    history = empty["history"]
    assert (empty["changed"], history["applied"], history["pending"]) == (False, [], [PREPARE, MOVE, REQUIRE])
    succeed(migrate(PREPARE))
    query(shop, "INSERT INTO supabase_migrations.schema_migrations (version) VALUES ('20240101000000')")
    table = run_module("pg_status_info", connection=shop, plan=plan_of())["history"]
    first, second = table["migrations"][:2]
    assert (first["local"], first["remote"], first["time"], first["drift"]) == (
        PREPARE, PREPARE, "2025-03-01 00:00:00", "none",
    )  # fmt: skip
    assert (second["local"], second["remote"]) == (MOVE, "")
    assert table["unknown_remote"] == ["20240101000000"]


def test_a_progress_query_that_is_wrong_is_shown_once_its_migration_moves_rows(
    migrate: Migrate, run_module: Migrate, shop: Options, tmp_path: Path
) -> None:
    directory = copy_plan(tmp_path)
    (directory / "queries" / "progress_move_addresses.sql").write_text("SELECT nosuch AS rows_done FROM shop.orders")
    plan = plan_of(directory)
    succeed(migrate(PREPARE, plan=plan))
    (before,) = run_module("pg_status_info", connection=shop, plan=plan)["journal"]["progress"]
    assert migrate(MOVE, plan=plan)["failed"]
    (begun,) = run_module("pg_status_info", connection=shop, plan=plan)["journal"]["progress"]
    assert (before["problem"], begun["problem"]) == ("nothing moved yet", 'column "nosuch" does not exist')


def test_the_journal_tells_progress_and_rate(migrate: Migrate, run_module: Migrate, shop: Options) -> None:
    before = run_module("pg_status_info", connection=shop, plan=plan_of())["journal"]["progress"][0]
    assert (before["percent"], before["rows_done"]) == (None, None)
    assert before["problem"] == "nothing moved yet", "the query needs the column that the first migration makes"
    succeed(migrate(PREPARE))
    moved = succeed(migrate(MOVE, limits=SMALL_BATCHES))
    facts = run_module("pg_status_info", connection=shop, plan=plan_of(), run_id=moved["run_id"])["journal"]
    (batches,) = facts["batches"]
    assert (batches["rows"], batches["batches"]) == (ORDERS_WITH_ADDRESS, 6)
    assert batches["rows_per_second"] > 0
    assert facts["progress"][0]["percent"] == 100.0
    assert [step["state"] for step in facts["steps"]] == ["done"] * 4
    assert (facts["lease"]["in_use"], facts["lease"]["run_id"]) == (False, moved["run_id"])
