"""The restore drill: a backup that passes can be restored, one that does not is found out, and nothing stays behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.runbook.backup.tools import RunbookError, find_tool
from ansible.module_utils.runbook.restore import drill, side_database
from support.servers import REPOSITORY, SUPERUSER, Options, Server, connect, query, running_server, value
from support.shop import FINGERPRINTS, open_shop, order_id

RunModule = Callable[..., dict[str, Any]]
RUN = {"id": "20250301T000000Z-aaaaaa", "plan_hash": "a" * 64}

PREREQUISITES = "CREATE SCHEMA accounts; CREATE TABLE accounts.users (id uuid PRIMARY KEY);"


class Shop:
    """A shop with a backup to drill."""

    def __init__(self, server: Server, options: Options, run_module: RunModule, path: Path) -> None:
        self.server, self.options, self.run_module, self.path = server, options, run_module, path
        self.prerequisites = path / "prerequisites.sql"
        self.prerequisites.write_text(PREREQUISITES)
        open_shop(options)

    def back_up(self, name: str = "backup", *, snapshot: bool = True, **params: Any) -> None:
        wanted: dict[str, Any] = {"directory": str(self.path / name), "schemas": ["public"], "minimum_bytes": 1}
        if snapshot:
            wanted["snapshot"] = {"directory": str(self.path / f"snapshot_{name}"), "fingerprints": FINGERPRINTS}
        taken = self.run_module("pg_backup", connection=self.options, **wanted, **params)
        assert not taken["failed"], taken["msg"]

    def drill(self, **params: Any) -> dict[str, Any]:
        return self.run_module("pg_restore_drill", **{**self.options_of_drill(), **params})

    def options_of_drill(self) -> dict[str, Any]:
        return {
            "connection": self.options,
            "backup_directory": str(self.path / "backup"),
            "prerequisites_file": str(self.prerequisites),
        }

    def scratch_databases(self) -> list[str]:
        found = query(self.server.options, "SELECT datname FROM pg_database WHERE datname LIKE 'runbook\\_drill%%'")
        return [name for (name,) in found]

    def open_run(self) -> None:
        opened = self.run_module(
            "pg_journal", connection=self.options, state="run_opened", plan_name="shop",
            run={**RUN, "environment": "staging", "host": "shop_database"}, phase="environment_verified",
        )  # fmt: skip
        assert not opened["failed"], opened["msg"]

    def drilled(self) -> list[tuple[Any, ...]]:
        return query(
            self.options,
            "SELECT status, details ? 'restore_seconds' FROM migration_runbook.event"
            " WHERE phase = 'backup_drilled' ORDER BY id",
        )


@pytest.fixture
def shop(server: Server, empty_database: Options, run_module: RunModule, tmp_path: Path) -> Shop:
    return Shop(server, empty_database, run_module, tmp_path)


def test_a_whole_backup_passes_and_leaves_nothing_behind(shop: Shop) -> None:
    shop.open_run()
    watch = shop.run_module(
        "pg_change_log", connection=shop.options, state="present", run={"id": RUN["id"]},
        tables=[{"table": "public.orders", "key": "id"}, {"table": "public.customers", "key": "id"}],
    )  # fmt: skip
    assert not watch["failed"], watch["msg"]
    shop.back_up(run=RUN)
    would = shop.drill(run=RUN, _check=True)
    assert not would["failed"], would["msg"]
    assert "would restore" in would["msg"]
    assert shop.drilled() == []

    found = shop.drill(run=RUN)
    assert not found["failed"], found["msg"]
    assert found["rows"]["public.orders"] == 40
    assert found["rows_compared"] == 5 + 40 + 4
    assert {entry["status"] for entry in found["fingerprints"]} == {"passed"}
    assert [(key["name"], key["rows"]) for key in found["keys_to_stubs"]] == [("customers_id_fkey", 5)]
    assert "not proven: customers_id_fkey to 5 stubs of accounts.users" in found["msg"]
    assert any("runbook_change_log_insert" in entry for entry in found["left_out"])
    assert 0 < found["restore_seconds"] < found["seconds"]
    assert shop.drilled() == [("ok", True)]
    left = json.loads((shop.path / "backup" / drill.DRILL_FILE).read_text())
    assert left["restore_seconds"] == found["restore_seconds"]
    assert shop.scratch_databases() == []
    # The file beside the manifest does not make the backup another one.
    assert not shop.run_module("pg_backup_info", directory=str(shop.path / "backup"))["failed"]


def test_a_backup_of_the_whole_database_leans_on_nothing(shop: Shop) -> None:
    shop.open_run()
    query({**shop.options, "user": SUPERUSER}, "GRANT USAGE ON SCHEMA reports TO anon")
    shop.prerequisites.write_text("SELECT 1/0")
    shop.back_up(scope="database", run=RUN)
    manifest = json.loads((shop.path / "backup" / "manifest.json").read_text())
    assert manifest["scope"] == "database"
    assert {"accounts.users", "reports.marks", "supabase_migrations.schema_migrations"} <= set(manifest["rows"])
    assert not [name for name in manifest["rows"] if name.startswith("migration_runbook")]
    assert manifest["outside_keys"] == []
    assert manifest["publication_membership"] == ["shop_changes: public.orders"]
    assert "event triggers" not in {entry["what"] for entry in manifest["not_carried"]}

    found = shop.drill(run=RUN)
    assert not found["failed"], found["msg"]
    assert found["rows"]["accounts.users"] == 5
    assert found["rows_compared"] == 5 + 40 + 4
    assert found["keys_to_stubs"] == []
    assert shop.scratch_databases() == []


def test_a_whole_database_that_the_role_may_not_read_is_no_backup(shop: Shop) -> None:
    query({**shop.options, "user": SUPERUSER}, "REVOKE SELECT ON reports.marks FROM postgres")
    wanted = {"directory": str(shop.path / "backup"), "schemas": ["public"], "minimum_bytes": 1, "scope": "database"}
    refused = shop.run_module("pg_backup", connection=shop.options, **wanted)
    assert refused["failed"]
    assert "this role may not read reports.marks" in refused["msg"]
    assert "database_backup_scope: tables" in refused["next_command"]
    assert not (shop.path / "backup").exists()


def test_one_changed_value_is_found(shop: Shop) -> None:
    """A whole archive of the same database, with the same rows, one of them with another value."""
    shop.open_run()
    shop.back_up()
    query(shop.options, "UPDATE public.orders SET cents = cents + 1 WHERE id = %s", (order_id(7),))
    shop.back_up("later", snapshot=False)
    manifest = shop.path / "later" / "manifest.json"
    facts = json.loads(manifest.read_text())
    facts["snapshot"] = json.loads((shop.path / "backup" / "manifest.json").read_text())["snapshot"]
    manifest.write_text(json.dumps(facts))
    found = shop.drill(backup_directory=str(shop.path / "later"))
    assert found["failed"]
    assert "differs from its data snapshot" in found["msg"]
    assert "orders:" in found["msg"]
    assert order_id(7) in found["msg"]
    assert "take a new backup" in found["next_command"]
    assert shop.scratch_databases() == []


def test_a_lost_row_is_found(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.open_run()
    shop.back_up(run=RUN)
    make_stub_rows = drill.make_stub_rows

    def lose_one(connection: Any, keys: Any) -> Any:
        with connection.cursor() as cursor:
            cursor.execute("DELETE FROM public.orders WHERE id = %s", (order_id(7),))
        return make_stub_rows(connection, keys)

    monkeypatch.setattr(drill, "make_stub_rows", lose_one)
    found = shop.drill(run=RUN)
    assert "public.orders has 39, not 40" in found["msg"]
    assert shop.drilled() == [("failed", False)]
    assert shop.scratch_databases() == []


def test_without_the_right_to_make_a_database_it_is_refused(shop: Shop) -> None:
    shop.back_up()
    with connect({**shop.options, "user": SUPERUSER}) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE ROLE clerk LOGIN IN ROLE postgres")
    try:
        refused = shop.drill(connection={**shop.options, "user": "clerk"})
    finally:
        query({**shop.options, "user": SUPERUSER}, "DROP ROLE clerk")
    assert "permission denied to create database" in refused["msg"]
    assert "Nothing was changed." in refused["msg"]
    assert "CREATEDB" in refused["next_command"]


def test_without_room_on_the_disk_it_is_refused(shop: Shop) -> None:
    shop.back_up()
    refused = shop.drill(free_disk_bytes=1000)
    assert "1000 bytes are free as the inventory says, the restored tables need about" in refused["msg"]
    assert not shop.drill(disk_path="/tmp")["failed"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("SELECT 1/0", "division by zero"),
        (PREREQUISITES + "ALTER TABLE accounts.users ADD email text NOT NULL", "creating the parent rows for"),
    ],
    ids=["failing", "more columns"],
)
def test_prerequisites_that_do_not_do(shop: Shop, text: str, message: str) -> None:
    shop.back_up()
    shop.prerequisites.write_text(text)
    refused = shop.drill()
    assert refused["failed"]
    assert message in refused["msg"]
    assert shop.scratch_databases() == []


def test_the_name_of_the_live_database_is_never_taken(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.back_up()
    named = side_database.scratch_name
    monkeypatch.setattr(side_database.secrets, "token_hex", lambda _: "abcd")
    monkeypatch.setattr(side_database, "scratch_name", lambda maker, taken: named(maker, {*taken, named(maker, taken)}))
    refused = shop.drill()
    assert "would have the name of the live one" in refused["msg"]
    assert value(shop.options, "SELECT count(*) FROM public.orders") == 40


def test_tools_of_the_servers_version_are_needed(shop: Shop, tmp_path: Path) -> None:
    shop.back_up()
    (tmp_path / "empty").mkdir()
    refused = shop.drill(tools_directory=str(tmp_path / "empty"))
    assert f"pg_restore of PostgreSQL {shop.server.major} is missing" in refused["msg"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["terminated", "killed"])
def test_an_interrupted_drill_is_cleared(shop: Shop, number: int) -> None:
    shop.back_up()
    shop.prerequisites.write_text(f"{PREREQUISITES} SELECT pg_sleep(2);")
    arguments = shop.path / "arguments.json"
    arguments.write_text(json.dumps({"ANSIBLE_MODULE_ARGS": shop.options_of_drill()}))
    program = (
        "import sys, ansible.module_utils as m; m.__path__.append('module_utils');"
        "sys.path.insert(0, 'library'); import pg_restore_drill; pg_restore_drill.main()"
    )
    running = subprocess.Popen(
        [sys.executable, "-c", program, str(arguments)], cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    for _ in range(100):
        if shop.scratch_databases():
            break
        time.sleep(0.1)
    (left,) = shop.scratch_databases()
    time.sleep(0.5)
    os.kill(running.pid, number)
    running.communicate(timeout=30)
    # After a kill of the module, the server still completes its current statement.
    gone = "SELECT count(*) FROM pg_stat_activity WHERE datname = %s"
    for _ in range(50):
        if not value(shop.server.options, gone, (left,)):
            break
        time.sleep(0.1)
    assert shop.scratch_databases() == ([] if number == signal.SIGTERM else [left])
    shop.prerequisites.write_text(PREREQUISITES)
    found = shop.drill()
    assert not found["failed"], found["msg"]
    assert found["cleared_databases"] == ([] if number == signal.SIGTERM else [left])
    assert shop.scratch_databases() == []


def test_a_database_that_only_looks_like_ours_is_left_alone(shop: Shop) -> None:
    shop.back_up()
    theirs = "runbook_drill_0123456789ab"
    with connect(shop.server.superuser_options) as connection, connection.cursor() as cursor:
        cursor.execute(f"CREATE DATABASE {theirs} OWNER postgres")
        try:
            assert not shop.drill()["failed"]
            assert shop.scratch_databases() == [theirs]
        finally:
            cursor.execute(f"DROP DATABASE {theirs}")


def test_a_drill_leaves_the_database_that_another_has_just_made(shop: Shop) -> None:
    """Two databases of one server are promoted at once: nobody is connected to the other's scratch database yet."""
    shop.back_up()
    with connect(shop.server.superuser_options) as maker, maker.cursor() as cursor:
        made = side_database.scratch_name(maker, [])
        side_database.create(cursor, made, None, connection_limit=side_database.CONNECTION_LIMIT, owner="postgres")
        assert shop.drill()["cleared_databases"] == []
        assert shop.scratch_databases() == [made]
    assert shop.drill()["cleared_databases"] == [made]
    assert shop.scratch_databases() == []


def test_another_server_must_have_the_same_version(shop: Shop) -> None:
    shop.back_up()
    try:
        find_tool("initdb", 15)
    except RunbookError as error:
        pytest.skip(error.msg)
    with running_server(15) as older:
        refused = shop.drill(scratch_connection=older.options)
        assert "the server is PostgreSQL 15" in refused["msg"]


def test_another_server_serves_that_lacks_a_role(shop: Shop) -> None:
    query({**shop.options, "user": SUPERUSER}, "CREATE ROLE auditor")
    query(shop.options, "GRANT SELECT ON public.orders TO auditor")
    shop.back_up()
    query(shop.options, "REVOKE SELECT ON public.orders FROM auditor")
    query({**shop.options, "user": SUPERUSER}, "DROP ROLE auditor")
    with running_server(shop.server.major) as other:
        found = shop.drill(scratch_connection=other.options)
        assert not found["failed"], found["msg"]
        assert query(other.options, "SELECT 1 FROM pg_roles WHERE rolname = 'auditor'") == []
        assert found["scratch_server"].startswith(other.options["host"])


@pytest.mark.parametrize("encoding", ["SQL_ASCII", "LATIN1"])
def test_another_server_keeps_the_encoding(
    server: Server, run_module: RunModule, tmp_path: Path, encoding: str
) -> None:
    """Bytes that are no UTF-8 would be refused or converted there."""
    source = server.options_for("encoded")
    make = f"CREATE DATABASE encoded ENCODING '{encoding}' LOCALE 'C' TEMPLATE template0 OWNER postgres"
    query(server.superuser_options, make)
    try:
        query(source, "CREATE TABLE public.notes (id integer PRIMARY KEY, note text)")
        query(source, "INSERT INTO public.notes VALUES (1, 'caf' || chr(233)), (2, 'x')")
        backup = str(tmp_path / "backup")
        snapshot = {
            "directory": str(tmp_path / "snapshot"),
            "fingerprints": [{"name": "notes", "table": "public.notes", "key": "id"}],
        }
        taken = run_module(
            "pg_backup", connection=source, directory=backup, schemas=["public"], minimum_bytes=1, snapshot=snapshot
        )
        assert not taken["failed"], taken["msg"]
        with running_server(server.major) as other:
            found = run_module(
                "pg_restore_drill", connection=source, backup_directory=backup, scratch_connection=other.options
            )
            assert not found["failed"], found["msg"]
            assert found["rows_compared"] == 2
    finally:
        server.drop_database(source)
