"""pg_restore_swap: the restored database takes the live one's place whole, or nothing was changed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from ansible.module_utils.runbook.restore import database_settings, swap_database
from ansible.module_utils.runbook.restore import swap as swap_module
from support.servers import REPOSITORY, SUPERUSER, Options, Server, connect, query, value
from support.swap_shop import RUN, SwapShop

RunModule = Callable[..., dict[str, Any]]


@pytest.fixture
def shop(server: Server, empty_database: Options, run_module: RunModule, tmp_path: Path) -> Iterator[SwapShop]:
    made = SwapShop(server, empty_database, run_module, tmp_path)
    yield made
    for name in made.databases() - {made.live}:
        server.drop_database({"dbname": name})


def test_the_restored_database_takes_the_place_with_all_that_belongs_to_it(shop: SwapShop) -> None:
    before = shop.everything()
    shop.back_up()
    watch = shop.run_module(
        "pg_change_log", connection=shop.options, state="present", run={"id": RUN["id"]},
        tables=[{"table": "public.orders", "key": "id"}],
    )  # fmt: skip
    assert not watch["failed"], watch["msg"]
    shop.migrate()
    migrated = shop.everything()
    assert migrated["text"] != before["text"]

    would = shop.swap("prepare", _check=True)
    assert not would["failed"], would["msg"]
    assert would["state"] == "absent"
    assert shop.databases() == {shop.live}

    application = psycopg2.connect(
        host=shop.options["host"], port=shop.options["port"], dbname=shop.live, user="postgres"
    )
    prepared = shop.swap("prepare")
    assert not prepared["failed"], prepared["msg"]
    assert prepared["rows"]["public.orders"] == 40
    assert prepared["rows_compared"] == 5 + 40 + 4
    assert prepared["schema_lines"] > 100
    assert prepared["left_out"] == [] or all("runbook_change_log" in entry for entry in prepared["left_out"])
    assert shop.everything() == migrated  # the application still runs on what is there
    taken = shop.swap("prepare")
    assert taken["msg"].startswith("reused, already verified")
    assert not taken["changed"]

    switched = shop.swap("switch")
    assert not switched["failed"], switched["msg"]
    assert len(switched["ended_sessions"]) >= 1
    assert 0 < switched["rename_seconds"] < 5
    assert "CONNECT to anon" in switched["given"]
    with pytest.raises(psycopg2.Error):
        application.cursor().execute("SELECT 1")
    assert shop.everything() == before
    assert shop.databases() == {shop.live, shop.names.kept}
    kept = shop.everything(shop.names.kept)
    assert [line for line in kept["text"] if "shipped" in line]
    assert kept["comment"] == shop.names.kept_mark
    assert shop.run_state() == "open"
    assert query(
        shop.options, "SELECT details ->> 'kept_database' FROM migration_runbook.event WHERE phase = 'restored'"
    ) == [(shop.names.kept,)]

    for phase in ("prepare", "switch"):
        again = shop.swap(phase)
        assert not again["failed"], again["msg"]
        assert not again["changed"]
        assert again["state"] == "switched"
        assert shop.names.kept in again["msg"]
    shop.close()
    # The journal continues after the copied rows.
    reopened = shop.run_module(
        "pg_journal", connection=shop.options, state="run_opened", plan_name="shop",
        run={"id": "20250302T000000Z-bbbbbb", "plan_hash": "b" * 64, "environment": "staging", "host": "shop_database"},
        phase="environment_verified",
    )  # fmt: skip
    assert not reopened["failed"], reopened["msg"]


def test_sessions_that_keep_coming_back_do_not_stop_it(shop: SwapShop) -> None:
    shop.back_up()
    shop.migrate()
    assert not shop.swap("prepare")["failed"]
    over = threading.Event()
    oids: list[int] = []

    def come_back() -> None:
        while not over.is_set():
            try:
                with connect({**shop.options, "user": "postgres"}) as connection, connection.cursor() as cursor:
                    cursor.execute("SELECT oid::int FROM pg_database WHERE datname = current_database()")
                    oids.extend(cursor.fetchone() or ())
                    cursor.execute("SELECT pg_sleep(0.05)")
            except psycopg2.Error:
                time.sleep(0.01)

    threads = [threading.Thread(target=come_back) for _ in range(4)]
    for thread in threads:
        thread.start()
    time.sleep(0.3)
    switched = shop.swap("switch")
    time.sleep(0.5)
    over.set()
    for thread in threads:
        thread.join()
    assert not switched["failed"], switched["msg"]
    assert switched["ended_sessions"]
    assert len(set(oids)) == 2  # first the old database, then the new one, by the same name


def test_a_backup_of_some_schemas_is_refused(shop: SwapShop) -> None:
    shop.back_up(scope="tables")
    refused = shop.swap("prepare")
    assert "contains only the plan's schemas" in refused["msg"]
    assert "Nothing was changed." in refused["msg"]
    assert "without -e restore_mode=swap" in refused["next_command"]
    assert shop.databases() == {shop.live}


def as_superuser(shop: SwapShop, *statements: str) -> None:
    for statement in statements:
        query(shop.super_options, statement)


@pytest.mark.parametrize(
    ("hinder", "again", "says", "next_command"),
    [
        (
            ["ALTER ROLE swapper NOCREATEDB"], ["ALTER ROLE swapper CREATEDB"],
            "swapper may not create databases", "ALTER ROLE swapper CREATEDB",
        ),
        (
            ["ALTER DATABASE {live} OWNER TO supabase_admin"], ["ALTER DATABASE {live} OWNER TO postgres"],
            "does not own the database", "GRANT supabase_admin TO swapper",
        ),
        (
            ["CREATE TABLE reports.more (id int)", "GRANT SELECT ON reports.more TO swapper"], [],
            "not a member of supabase_admin (1 objects)", "GRANT those roles TO swapper",
        ),
        (
            ["SELECT pg_create_logical_replication_slot('shop_slot', 'pgoutput')"],
            ["SELECT pg_drop_replication_slot('shop_slot')"],
            "replication slot shop_slot", '{"rollback_options": {"leave_replication_behind": true}}',
        ),
        (
            [
                "CREATE SUBSCRIPTION shop_subscription CONNECTION 'dbname=elsewhere' PUBLICATION shop"
                " WITH (connect = false, slot_name = NONE, enabled = false)"
            ],
            ["DROP SUBSCRIPTION shop_subscription"],
            "subscription shop_subscription", '{"rollback_options": {"leave_replication_behind": true}}',
        ),
        (
            ["ALTER DATABASE {live} IS_TEMPLATE true"], ["ALTER DATABASE {live} IS_TEMPLATE false"],
            "is a template", "without -e restore_mode=swap",
        ),
    ],
    ids=["createdb", "owner", "owners", "slot", "subscription", "template"],
)  # fmt: skip
def test_what_stands_in_the_way_is_named(
    shop: SwapShop, hinder: list[str], again: list[str], says: str, next_command: str
) -> None:
    shop.back_up()
    as_superuser(shop, *[text.format(live=shop.live) for text in hinder])
    try:
        refused = shop.swap("prepare")
        if "leave_replication_behind" in next_command:
            assert not shop.swap("prepare", leave_replication_behind=True, _check=True)["failed"]
    finally:
        as_superuser(shop, *[text.format(live=shop.live) for text in again])
    assert refused["failed"]
    assert says in refused["msg"]
    assert "Nothing was changed." in refused["msg"]
    assert next_command in refused["next_command"]
    assert shop.databases() == {shop.live}


def test_a_session_of_a_superuser_is_refused_by_name(shop: SwapShop) -> None:
    shop.back_up()
    with connect({**shop.super_options}, application_name="host metrics"):
        refused = shop.swap("prepare")
    assert "swapper may not end pid" in refused["msg"]
    assert f"user {SUPERUSER}, host metrics" in refused["msg"]
    assert shop.databases() == {shop.live}


def test_a_prepared_transaction_is_refused_by_name(shop: SwapShop) -> None:
    shop.back_up()
    with connect({**shop.options, "user": "postgres"}) as connection, connection.cursor() as cursor:
        cursor.execute("BEGIN; UPDATE public.orders SET cents = 1; PREPARE TRANSACTION 'shop_two_phase'")
        try:
            refused = shop.swap("prepare")
        finally:
            cursor.execute("ROLLBACK PREPARED 'shop_two_phase'")
    assert "shop_two_phase" in refused["msg"]
    assert "COMMIT PREPARED 'shop_two_phase'" in refused["next_command"]


def test_room_tools_and_the_place_of_the_work_are_checked(shop: SwapShop, tmp_path: Path) -> None:
    shop.back_up()
    assert "1000 bytes are free as the inventory says" in shop.swap("prepare", free_disk_bytes=1000)["msg"]
    itself = shop.swap("prepare", maintenance_database=shop.live)
    assert "a session cannot rename its own database" in itself["msg"]
    assert "rollback_options.maintenance_database" in itself["next_command"]
    (tmp_path / "empty").mkdir()
    assert "is missing" in shop.swap("prepare", tools_directory=str(tmp_path / "empty"))["msg"]
    assert "no verified database is ready" in shop.swap("switch")["msg"]
    assert shop.databases() == {shop.live}


def test_a_setting_that_the_role_may_not_give_is_found_before_the_load(shop: SwapShop) -> None:
    shop.back_up()
    as_superuser(shop, f"ALTER DATABASE {shop.live} SET log_statement = 'all'")
    refused = shop.swap("prepare")
    assert "log_statement" in refused["msg"]
    assert "Nothing was changed." in refused["msg"]
    assert shop.databases() == {shop.live}


@pytest.mark.parametrize("name", ["side", "kept"])
def test_a_database_of_somebody_else_with_the_name_is_left_alone(shop: SwapShop, name: str) -> None:
    shop.back_up()
    theirs = getattr(shop.names, name)
    query(shop.server.options, f'CREATE DATABASE "{theirs}"')
    refused = shop.swap("prepare")
    assert f"the database {theirs} exists and was not created by the restore of this run" in refused["msg"]
    assert shop.databases() == {shop.live, theirs}


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        ("DELETE FROM public.orders WHERE place = 1", "public.orders has"),
        ("UPDATE public.orders SET cents = 7 WHERE place = 1", "differs from its data snapshot"),
        ("DROP POLICY own ON public.orders", "schema of the restored database differs"),
        ("REVOKE SELECT (note) ON public.orders FROM authenticated", "schema of the restored database differs"),
        ("ALTER PUBLICATION shop_changes DROP TABLE public.orders", "schema of the restored database differs"),
        (
            "ALTER DEFAULT PRIVILEGES FOR ROLE postgres IN SCHEMA public REVOKE SELECT ON TABLES FROM anon",
            "schema of the restored database differs",
        ),
        ("ALTER TABLE reports.marks DROP CONSTRAINT marks_order_id_fkey", "schema of the restored database differs"),
        ("COMMENT ON TABLE public.orders IS 'something else'", "schema of the restored database differs"),
    ],
    ids=["row", "value", "policy", "grant", "publication", "default privilege", "key", "comment"],
)
def test_whatever_differs_beside_is_found(
    shop: SwapShop, monkeypatch: pytest.MonkeyPatch, damage: str, says: str
) -> None:
    shop.back_up()
    fill = swap_database.fill

    def fill_badly(archive: Any, options: Any, *more: Any) -> Any:
        found = fill(archive, options, *more)
        query({**options, "user": SUPERUSER}, damage)
        return found

    monkeypatch.setattr(swap_module.swap_database, "fill", fill_badly)
    refused = shop.swap("prepare")
    assert refused["failed"]
    assert says in refused["msg"]
    assert "Nothing was changed." in refused["msg"]
    assert shop.databases() == {shop.live}


def test_what_was_lost_on_the_way_to_the_name_is_rolled_back(shop: SwapShop, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.back_up()
    shop.migrate()
    migrated = shop.everything()
    assert not shop.swap("prepare")["failed"]
    give = database_settings.apply

    def fail(cursor: Any, name: str, facts: Any) -> Any:
        give(cursor, name, facts)
        cursor.execute("SELECT 1/0")

    monkeypatch.setattr(database_settings, "apply", fail)
    refused = shop.swap("switch")
    assert "the switch was rolled back: division by zero" in refused["msg"]
    assert refused["left_as"] == "resumable"
    monkeypatch.undo()
    assert shop.everything() == migrated
    assert not shop.swap("switch")["failed"]


def test_a_connection_lost_during_the_switch_tells_how_to_learn_which_of_the_two_it_was(
    shop: SwapShop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.back_up()
    shop.migrate()
    migrated = shop.everything()
    assert not shop.swap("prepare")["failed"]
    maintenance = {**shop.super_options, "dbname": "template1"}

    def lose(cursor: Any, name: str, facts: Any) -> Any:
        query(maintenance, "SELECT pg_terminate_backend(%s)", (cursor.connection.info.backend_pid,))
        cursor.execute("SELECT 1")

    monkeypatch.setattr(database_settings, "apply", lose)
    lost = shop.swap("switch")
    assert (
        "the connection was lost during the switch, which either committed as a whole or changed nothing" in lost["msg"]
    )
    assert lost["left_as"] == "resumable"
    assert lost["next_command"] == "run the same command again: it finds out which"
    monkeypatch.undo()
    assert shop.databases() == {shop.live, shop.names.side}
    assert shop.everything() == migrated
    assert not shop.swap("switch")["failed"]
    assert shop.databases() == {shop.live, shop.names.kept}


def test_who_may_not_be_ended_during_the_switch_stops_it(shop: SwapShop) -> None:
    shop.back_up()
    assert not shop.swap("prepare")["failed"]
    with connect(shop.super_options):
        refused = shop.swap("switch", rename_attempts=1)
    assert f"{shop.live} could not be renamed in 1 attempts" in refused["msg"]
    assert "There is 1 other session" in refused["msg"] or "other session" in refused["msg"]
    assert refused["left_as"] == "resumable"
    assert shop.databases() == {shop.live, shop.names.side}
    assert not shop.swap("switch")["failed"]


def start(shop: SwapShop, phase: str) -> subprocess.Popen[bytes]:
    arguments = shop.path / f"{phase}.json"
    arguments.write_text(json.dumps({"ANSIBLE_MODULE_ARGS": shop.arguments(phase)}))
    program = (
        "import sys, ansible.module_utils as m; m.__path__.append('module_utils');"
        "sys.path.insert(0, 'library'); import pg_restore_swap; pg_restore_swap.main()"
    )
    return subprocess.Popen(
        [sys.executable, "-c", program, str(arguments)], cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def wait_for(condition: Callable[[], Any]) -> None:
    for _ in range(200):
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError("it did not come to that")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["terminated", "killed"])
def test_interrupted_while_it_loads_it_loads_again(shop: SwapShop, number: int) -> None:
    before = shop.everything()
    shop.back_up()
    shop.migrate()
    running = start(shop, "prepare")
    wait_for(lambda: shop.names.side in shop.databases())
    os.kill(running.pid, number)
    running.communicate(timeout=30)
    left = shop.databases() - {shop.live}
    assert left == (set() if number == signal.SIGTERM else {shop.names.side})
    assert not shop.swap("prepare")["failed"]
    assert not shop.swap("switch")["failed"]
    assert shop.everything() == before


def test_killed_before_the_rename_and_after_it(shop: SwapShop) -> None:
    before = shop.everything()
    shop.back_up()
    shop.migrate()
    migrated = shop.everything()
    assert not shop.swap("prepare")["failed"]
    with connect(shop.super_options):  # the rename waits for this session
        running = start(shop, "switch")
        wait_for(
            lambda: value(
                shop.server.superuser_options,
                "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'ALTER DATABASE%%RENAME%%' AND state = 'active'"
                " AND pid <> pg_backend_pid()",
            )
        )
        os.kill(running.pid, signal.SIGKILL)
        running.communicate(timeout=30)
    wait_for(
        lambda: (
            not value(
                shop.server.superuser_options,
                "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'runbook%%'",
            )
        )
    )
    assert shop.databases() == {shop.live, shop.names.side}
    assert shop.everything() == migrated
    running = start(shop, "switch")
    wait_for(lambda: shop.names.kept in shop.databases())
    os.kill(running.pid, signal.SIGKILL)
    running.communicate(timeout=30)
    again = shop.swap("switch")
    assert again["state"] == "switched"
    assert not again["changed"]
    assert shop.everything() == before


def test_two_swaps_of_one_database_are_never_at_work(shop: SwapShop) -> None:
    shop.back_up()
    with connect(shop.server.options) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(%s, hashtext(%s))", (swap_module.LOCK_CLASS, shop.live))
        refused = shop.swap("prepare")
    assert f"another restore by swap of {shop.live} is running" in refused["msg"]


def test_a_run_that_is_rolled_back_is_not_rolled_back_again(shop: SwapShop) -> None:
    shop.back_up()
    assert not shop.swap("prepare")["failed"]
    assert not shop.swap("switch")["failed"]
    shop.close()
    query(shop.server.superuser_options, f'DROP DATABASE "{shop.names.kept}"')
    refused = shop.swap("prepare")
    assert "is already rolled back" in refused["msg"]
    assert shop.databases() == {shop.live}
