"""Settings from outside reach no session: neither those of role and database, nor libpq's variables."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.runbook.database import libpq_environment
from support.orders import create_shop, orders_plan
from support.playbooks import PLAN_DIRECTORY, Operator
from support.servers import SUPERUSER, Options, Server, connect, load_demo, query, value
from support.shop import TABLES, customer_id, open_shop, order_id

RunModule = Callable[..., dict[str, Any]]

HOSTILE = {
    "PGHOST": "/tmp/elsewhere",
    "PGHOSTADDR": "192.0.2.1",
    "PGPORT": "1",
    "PGUSER": "nobody_here",
    "PGDATABASE": "elsewhere",
    "PGSERVICE": "elsewhere",
    "PGSERVICEFILE": "/tmp/elsewhere.conf",
    "PGOPTIONS": "-c session_replication_role=replica -c no_such_parameter=1",
    "PGPASSFILE": "/tmp/elsewhere.pass",
    "PGSSLMODE": "verify-full",
    "PGSSLROOTCERT": "/tmp/elsewhere.crt",
    "PGREQUIREAUTH": "gss",
    "PGCHANNELBINDING": "require",
    "PGTARGETSESSIONATTRS": "read-only",
    "PGCLIENTENCODING": "no_such_encoding",
    "PGDATESTYLE": "German",
    "PGTZ": "no/such/zone",
    "PGREPLICATION": "database",
}


@pytest.fixture
def shop(empty_database: Options) -> Options:
    open_shop(empty_database)
    return empty_database


def test_under_serializable_a_restore_sees_what_was_written_before_its_lock(
    shop: Options, run_module: RunModule, tmp_path: Path
) -> None:
    query(shop, f"ALTER DATABASE {shop['dbname']} SET default_transaction_isolation = 'serializable'")
    backup = str(tmp_path / "backup")
    taken = run_module("pg_backup", connection=shop, directory=backup, schemas=["public"], minimum_bytes=1)
    assert not taken["failed"], taken["msg"]
    with connect(shop) as application, application.cursor() as cursor:
        cursor.execute("BEGIN; UPDATE public.customers SET balance = 7")
        cursor.execute(
            "INSERT INTO public.orders (id, customer_id, place) VALUES (%s, %s, 99)", (order_id(99), customer_id(1))
        )
        committed = threading.Timer(0.7, cursor.execute, ["COMMIT"])
        committed.start()
        restored = run_module(
            "pg_restore", connection=shop, backup_directory=backup, tables=TABLES, locking={"lock_timeout_seconds": 5}
        )
        committed.join()
    assert not restored["failed"], restored["msg"]
    assert restored["lock_attempts"] == 1, "the lock was waited for, in the transaction that then read"
    assert value(shop, "SELECT count(*) FROM public.orders") == 40, "the row that came before the lock is gone again"
    assert restored["rows"]["public.orders"]["deleted"] == 1


@pytest.mark.parametrize("way", ["variable", "role"])
def test_a_repair_under_the_replica_role_of_somebody_else_leaves_no_broken_key(
    server: Server, empty_database: Options, run_module: RunModule, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    load_demo(empty_database, 60, dirty=True)
    superuser = {**empty_database, "user": SUPERUSER}
    if way == "variable":
        monkeypatch.setenv("PGOPTIONS", "-c session_replication_role=replica")
    else:
        query(superuser, "ALTER ROLE postgres SET session_replication_role = replica")
    plan = run_module("pg_plan_info", plan_directory=str(PLAN_DIRECTORY))["plan"]
    try:
        done = run_module(
            "pg_repair", connection=empty_database, plan=plan, issue="orphaned_posts", apply=True, remedy="archive"
        )
    finally:
        query(superuser, "ALTER ROLE postgres RESET session_replication_role")
    assert not done["failed"], done["msg"]
    assert done["rows_archived"] > 0
    broken = (
        "SELECT count(*) FROM public.comments c WHERE NOT EXISTS (SELECT FROM public.posts p WHERE p.id = c.post_id)"
    )
    assert value(superuser, broken) == 0


def test_a_command_reaches_the_server_that_its_inventory_names(
    monkeypatch: pytest.MonkeyPatch, database: Options, tmp_path: Path
) -> None:
    """Modules and client tools: the variables reach none of them."""
    operator = Operator(tmp_path, database)
    with monkeypatch.context() as typed:
        for name, text in HOSTILE.items():
            typed.setenv(name, text)
        taken = operator.type("playbooks/backup.yml")
    assert taken.status == 0, taken.screen
    (manifest,) = operator.artifacts.rglob("manifest.json")
    assert json.loads(manifest.read_text())["database"] == database["dbname"]


def test_variables_that_are_not_used_are_named_once_without_their_values(
    monkeypatch: pytest.MonkeyPatch, empty_database: Options, run_module: RunModule, tmp_path: Path
) -> None:
    create_shop(empty_database)
    plan = orders_plan(tmp_path / "plan")
    for name, text in HOSTILE.items():
        monkeypatch.setenv(name, text)
    result = examined(run_module, empty_database, plan)
    libpq_environment._removed.clear()
    named = ", ".join(sorted(HOSTILE.keys() - {"PGHOST", "PGPORT", "PGUSER", "PGDATABASE", "PGSSLMODE"}))
    (finding,) = [entry for entry in result["findings"] if entry["name"] == "ignored_variables"]
    assert (finding["severity"], finding["object"]) == ("warning", named)
    assert not [text for text in HOSTILE.values() if "elsewhere" in text and text in result["msg"]]


def examined(run_module: RunModule, options: Options, plan: Any) -> dict[str, Any]:
    settings = {"keep_notes": True}
    return run_module(
        "pg_environment_info", connection=options, plan=plan, plan_settings=settings, free_disk_bytes=10**12
    )


def test_an_unset_variable_of_the_inventory_is_named_and_libpq_takes_no_place_of_it(
    monkeypatch: pytest.MonkeyPatch, database: Options, tmp_path: Path
) -> None:
    monkeypatch.setenv("PGHOST", database["host"])
    monkeypatch.delenv("SHOP_DATABASE_HOST", raising=False)
    looked_up = {**database, "host": "{{ lookup('env', 'SHOP_DATABASE_HOST') }}", "port": "{{ shop_port }}"}
    shop_port = "{{ lookup('ansible.builtin.env', 'SHOP_PORT', default='') }}"
    operator = Operator(tmp_path, looked_up, shop_port=shop_port)
    refused = operator.type("playbooks/preflight.yml")
    assert refused.status == 2
    assert (
        "database_connection.host is empty; the inventory reads it from SHOP_DATABASE_HOST, which is not set; "
        "database_connection.port is empty; the inventory reads it from SHOP_PORT, which is not set" in refused.text
    )
    monkeypatch.setenv("SHOP_DATABASE_HOST", database["host"])
    monkeypatch.setenv("SHOP_PORT", str(database["port"]))
    reached = operator.type("playbooks/status.yml")
    assert reached.status == 0, reached.screen


def test_a_read_only_database_is_a_blocking_finding_and_nothing_is_written(database: Options, tmp_path: Path) -> None:
    dbname = database["dbname"]
    query(database, f"ALTER DATABASE {dbname} SET default_transaction_read_only = on")
    refused = Operator(tmp_path, database).type("migrate.yml")
    assert refused.status == 2
    assert (
        f"[blocking] read_only_mode ({dbname}): default_transaction_read_only is on, set for the database"
        in refused.text
    )
    assert "usually because the disk is full. The runbook does not override it" in refused.text
    name = "default_transaction_read_only"
    statements = f'BEGIN READ WRITE; ALTER DATABASE "{dbname}" RESET "{name}"; COMMIT'
    assert statements in refused.text
    assert value(database, "SELECT to_regnamespace('migration_runbook') IS NULL")
    query(database, statements)
    assert value(database, "SELECT current_setting('default_transaction_read_only')") == "off"


def test_what_is_set_for_role_or_database_is_listed_and_overridden(
    empty_database: Options, run_module: RunModule, tmp_path: Path
) -> None:
    create_shop(empty_database)
    dbname = empty_database["dbname"]
    query(empty_database, f"ALTER DATABASE {dbname} SET default_transaction_isolation = 'repeatable read'")
    query(empty_database, f"ALTER ROLE postgres IN DATABASE {dbname} SET standard_conforming_strings = off")
    result = examined(run_module, empty_database, orders_plan(tmp_path / "plan"))
    assert not result["failed"], result["msg"]
    listed = {entry["object"]: entry for entry in result["findings"] if entry["name"] == "setting_overridden"}
    assert listed.keys() == {"default_transaction_isolation", "standard_conforming_strings"}
    assert listed["default_transaction_isolation"]["severity"] == "information"
    assert listed["default_transaction_isolation"]["found"] == (
        f"default_transaction_isolation is repeatable read, set for the database {dbname}; "
        "sessions of the run have read committed"
    )


def test_an_operators_own_command_keeps_its_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGAPPNAME", "deploy script")
    libpq_environment.clear()
    assert "PGAPPNAME" not in os.environ
    assert libpq_environment.environment_of_commands()["PGAPPNAME"] == "deploy script"
    assert "PGAPPNAME" not in libpq_environment.environment_of_tools()
    libpq_environment._removed.clear()
