"""pg_restore in place: after any damage the rows are those of the backup, or nothing was changed."""

from __future__ import annotations

import json
import re
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.runbook.backup import tools
from ansible.module_utils.runbook.restore import in_place, side_tables
from support.servers import SUPERUSER, Options, Server, connect, query, value
from support.shop import FINGERPRINTS, TABLES, customer_id, open_shop, order_id, query_file

RunModule = Callable[..., dict[str, Any]]

REVERT = """-- step: take the view and the column away
-- lock: public.orders ACCESS EXCLUSIVE
DROP VIEW IF EXISTS public.open_orders;
ALTER TABLE public.orders DROP COLUMN IF EXISTS shipped;
-- step: bring the old name back
DO $$ BEGIN
  IF EXISTS (SELECT FROM pg_attribute WHERE attrelid = 'public.orders'::regclass AND attname = 'remark') THEN
    ALTER TABLE public.orders RENAME COLUMN remark TO note;
  END IF;
END $$;
-- step: the key again
ALTER TABLE public.orders DROP CONSTRAINT IF EXISTS orders_customer_id_fkey;
ALTER TABLE public.orders ADD CONSTRAINT orders_customer_id_fkey
  FOREIGN KEY (customer_id) REFERENCES public.customers ON DELETE CASCADE NOT VALID;
-- step: move rows back
-- data
SELECT 1 / 0;
-- step: validate the key
ALTER TABLE public.orders VALIDATE CONSTRAINT orders_customer_id_fkey;
"""

MIGRATE = """
ALTER TABLE public.orders ADD COLUMN shipped boolean DEFAULT true;
ALTER TABLE public.orders RENAME COLUMN note TO remark;
CREATE VIEW public.open_orders AS SELECT id FROM public.orders WHERE shipped;
ALTER TABLE public.orders DROP CONSTRAINT orders_customer_id_fkey;
INSERT INTO supabase_migrations.schema_migrations VALUES ('20250301000001', '{}', 'ship');
"""

DAMAGE = f"""
SET session_replication_role = replica;
DELETE FROM public.orders WHERE place = 2;
UPDATE public.orders SET cents = cents + 1 WHERE place = 3;
UPDATE public.orders SET place = -place WHERE place IN (4, 5);
UPDATE public.orders SET place = CASE place WHEN -4 THEN 5 ELSE 4 END WHERE place < 0;
INSERT INTO public.orders (id, customer_id, place) VALUES ('{order_id(99)}', '{customer_id(1)}', 99);
UPDATE public.customers SET balance = 1.5;
DELETE FROM public."Odd Names" WHERE key = 'one';
INSERT INTO public.nothing_yet VALUES (gen_random_uuid());
"""


class Shop:
    """A shop with a backup, and what it looked like when that was taken."""

    def __init__(self, server: Server, options: Options, run_module: RunModule, tmp_path: Path) -> None:
        self.options, self.run_module, self.path = options, run_module, tmp_path
        self._pg_dump = tools.find_tool("pg_dump", server.major)
        self.revert = tmp_path / "20250301000001_ship.sql"
        self.revert.write_text(REVERT)
        open_shop(options)
        self.before = self.everything()

    def back_up(self, *, snapshot: bool = True, **params: Any) -> None:
        wanted: dict[str, Any] = {"minimum_bytes": 1, **params}
        if snapshot:
            wanted["snapshot"] = {"directory": str(self.path / "snapshot"), "fingerprints": FINGERPRINTS}
        taken = self.run_module(
            "pg_backup", connection=self.options, directory=str(self.path / "backup"), schemas=["public"], **wanted
        )
        assert not taken["failed"], taken["msg"]

    def change(self, statements: str, user: str = "postgres") -> None:
        with connect({**self.options, "user": user}) as connection, connection.cursor() as cursor:
            cursor.execute(statements)

    def restore(self, **params: Any) -> dict[str, Any]:
        wanted = {"connection": self.options, "backup_directory": str(self.path / "backup"), "tables": TABLES}
        quick = {"locking": {"lock_timeout_seconds": 0.2, "lock_attempts": 2, "lock_pause_seconds": 0.05}}
        return self.run_module("pg_restore", **{**wanted, **quick, **params})

    def everything(self) -> str:
        """The database as pg_dump writes it, in an order and form that does not depend on how it came to be."""
        environment = tools.tool_environment({**self.options, "user": SUPERUSER}, "test")
        text = subprocess.run([self._pg_dump], env=environment, check=True, capture_output=True, text=True).stdout
        # A random key, and where sequences stand: they are never set back.
        text = re.sub(r"^(\\(un)?restrict |SELECT pg_catalog.setval).*$", "", text, flags=re.MULTILINE)
        blocks = re.compile(r"(^COPY [^\n]* FROM stdin;\n)(.*?)(^\\\.$)", re.DOTALL | re.MULTILINE)
        return blocks.sub(lambda found: found[1] + "".join(sorted(found[2].splitlines(keepends=True))) + found[3], text)

    def catalog(self) -> list[tuple[Any, ...]]:
        """Return what pg_dump does not show: identity, trigger state, validity, membership."""
        return query(
            {**self.options, "user": SUPERUSER},
            "SELECT 'table', oid::text, relname::text FROM pg_class WHERE relnamespace = 'public'::regnamespace"
            " AND relkind IN ('r', 'p') UNION ALL"
            " SELECT 'trigger', tgname || tgenabled::text, tgrelid::regclass::text FROM pg_trigger"
            "  WHERE NOT tgisinternal UNION ALL"
            " SELECT 'constraint', conname || convalidated::text, conrelid::regclass::text FROM pg_constraint UNION ALL"
            " SELECT 'published', pubname::text, tablename::text FROM pg_publication_tables ORDER BY 1, 2, 3",
        )

    def untouched(self) -> bool:
        """Whether no side table is left."""
        return not value(self.options, "SELECT to_regnamespace(%s) IS NOT NULL", (side_tables.SCHEMA,))


@pytest.fixture
def shop(server: Server, empty_database: Options, run_module: RunModule, tmp_path: Path) -> Shop:
    return Shop(server, empty_database, run_module, tmp_path)


def test_after_a_migration_and_any_damage_the_database_is_as_it_was(shop: Shop) -> None:
    shop.back_up()
    catalog = shop.catalog()
    shop.change(MIGRATE)
    shop.change(DAMAGE)
    damaged = shop.everything()

    would = shop.restore(revert_files=[str(shop.revert)], _check=True)
    assert not would["failed"], would["msg"]
    assert would["changed"]
    assert "public.orders: 36 rows now, 40 in the backup" in would["msg"]
    assert would["reverted_versions"] == ["20250301000001"]
    assert len(would["steps"]) == 4
    assert {entry["name"] for entry in would["differences"]} == {"customers", "orders", "odd_names", "nothing_yet"}
    assert shop.everything() == damaged

    restored = shop.restore(revert_files=[str(shop.revert)])
    assert not restored["failed"], restored["msg"]
    assert restored["changed"]
    counts = {
        name: tuple(row[word] for word in ("deleted", "inserted", "updated", "unchanged"))
        for name, row in restored["rows"].items()
    }
    assert counts == {
        "public.customers": (0, 0, 5, 0),
        "public.orders": (1, 5, 15, 20),
        "public.Odd Names": (0, 1, 0, 3),
        "public.nothing_yet": (1, 0, 0, 0),
    }
    assert restored["removed_rows"] == 2
    assert "2 rows that are not in the backup were removed, regardless of their origin; no safety" in restored["msg"]
    assert restored["steps"][-1] == "20250301000001: validate the key"
    assert restored["sequences_left"] == ["public.orders_number_seq"]
    assert shop.everything() == shop.before
    assert shop.catalog() == catalog
    assert shop.untouched()

    again = shop.restore(revert_files=[str(shop.revert)])
    assert not again["failed"], again["msg"]
    assert not again["changed"]
    assert again["reverted_versions"] == []


def test_columns_that_came_after_the_backup_keep_their_values(shop: Shop) -> None:
    shop.back_up()
    shop.change("ALTER TABLE public.orders ADD COLUMN weight int; UPDATE public.orders SET weight = cents, note = 'x'")
    restored = shop.restore()
    assert restored["rows"]["public.orders"]["updated"] == 40, restored["msg"]
    assert value(shop.options, "SELECT count(*) FROM public.orders WHERE weight = cents AND note <> 'x'") == 40


def test_no_trigger_fires(shop: Shop) -> None:
    shop.back_up()
    shop.change("UPDATE public.orders SET cents = 0")
    assert not shop.restore()["failed"]
    assert value(shop.options, "SELECT count(*) FROM public.orders WHERE updated_at = '2024-01-01'") == 40


@pytest.mark.parametrize("state", ["ALWAYS", "REPLICA"])
def test_a_trigger_that_would_fire_all_the_same_is_refused(shop: Shop, state: str) -> None:
    shop.back_up()
    shop.change(f"UPDATE public.orders SET cents = 0; ALTER TABLE public.orders ENABLE {state} TRIGGER touch")
    refused = shop.restore()
    assert "triggers that fire under the replica role would change restored rows" in refused["msg"]
    assert "public.orders: touch" in refused["msg"]
    assert refused["left_as"] == "unchanged"
    assert value(shop.options, "SELECT sum(cents) FROM public.orders") == 0
    assert shop.untouched()


def test_a_key_of_another_schema_that_would_break_stops_everything(shop: Shop) -> None:
    shop.back_up()
    shop.change(MIGRATE)
    shop.change(f"INSERT INTO public.orders (id, customer_id, place) VALUES ('{order_id(99)}', '{customer_id(1)}', 99)")
    shop.change(f"INSERT INTO reports.marks VALUES (99, '{order_id(99)}')", SUPERUSER)
    damaged = shop.everything()
    refused = shop.restore(revert_files=[str(shop.revert)])
    assert refused["failed"]
    assert "1 rows by marks_order_id_fkey (reports.marks order_id → public.orders)" in refused["msg"]
    assert f"referencing {order_id(99)}" in refused["msg"]
    assert "Nothing was changed." in refused["msg"]
    assert refused["sqlstate"] == "23503"
    assert shop.everything() == damaged
    assert shop.untouched()


def test_a_parent_that_was_removed_meanwhile_stops_everything(shop: Shop) -> None:
    shop.back_up()
    shop.change(f"DELETE FROM accounts.users WHERE id = '{customer_id(2)}'", SUPERUSER)
    refused = shop.restore()
    assert "customers_id_fkey (public.customers id → accounts.users)" in refused["msg"]
    assert value(shop.options, "SELECT count(*) FROM public.customers") == 4


def test_orphans_behind_a_key_that_never_was_valid_come_back_and_no_others(shop: Shop) -> None:
    shop.change(
        f"""ALTER TABLE public.orders DROP CONSTRAINT orders_customer_id_fkey;
        UPDATE public.orders SET customer_id = '{customer_id(77)}' WHERE place = 0;
        ALTER TABLE public.orders ADD CONSTRAINT orders_customer_id_fkey
          FOREIGN KEY (customer_id) REFERENCES public.customers NOT VALID;""".replace(
            "WHERE place = 0", f"WHERE id = '{order_id(0)}'"
        )
    )
    shop.back_up()
    shop.change("SET session_replication_role = replica; DELETE FROM public.orders")
    restored = shop.restore()
    assert not restored["failed"], restored["msg"]
    keys = {key["name"]: (key["orphans"], key["orphans_allowed"]) for key in restored["foreign_keys"]}
    assert keys["orders_customer_id_fkey"] == (1, 1)
    assert keys["marks_order_id_fkey"] == (0, 0)


def test_without_the_right_to_replica_role_nothing_begins(shop: Shop) -> None:
    shop.back_up()
    shop.change("DELETE FROM public.orders WHERE place = 2")
    shop.change("REVOKE SET ON PARAMETER session_replication_role FROM postgres", SUPERUSER)
    try:
        refused = shop.restore()
    finally:
        shop.change("GRANT SET ON PARAMETER session_replication_role TO postgres", SUPERUSER)
    assert "this role may not set session_replication_role" in refused["msg"]
    assert "GRANT SET ON PARAMETER" in refused["next_command"]
    assert refused["sqlstate"] == "42501"


def test_a_key_that_cannot_be_read_is_refused_before_anything_begins(shop: Shop) -> None:
    shop.back_up()
    shop.change("REVOKE SELECT ON reports.marks FROM postgres", SUPERUSER)
    refused = shop.restore()
    assert "foreign keys cannot be checked after the restore" in refused["msg"]
    assert refused["next_command"].startswith("GRANT SELECT ON reports.marks")


def test_a_snapshot_that_is_not_met_rolls_back(shop: Shop) -> None:
    count = {"name": "marks", "query": query_file(shop.path, "marks", "SELECT count(*) FROM reports.marks")}
    taken = shop.run_module(
        "pg_backup",
        connection=shop.options,
        directory=str(shop.path / "backup"),
        schemas=["public"],
        minimum_bytes=1,
        snapshot={"directory": str(shop.path / "snapshot"), "counts": [count]},
    )
    assert not taken["failed"], taken["msg"]
    shop.change("DELETE FROM reports.marks", SUPERUSER)
    shop.change(DAMAGE)
    damaged = shop.everything()
    refused = shop.restore()
    assert "the restore was rolled back: the rows do not match the snapshot: 1 of 1 items differ" in refused["msg"]
    assert "marks: 0 now, expected 5" in refused["msg"]
    assert shop.everything() == damaged


def test_tables_that_are_not_restored_are_shown_and_not_judged(shop: Shop) -> None:
    shop.back_up()
    shop.change("SET session_replication_role = replica; DELETE FROM public.customers; DELETE FROM public.orders")
    shop.change("INSERT INTO public.nothing_yet VALUES (gen_random_uuid())")
    restored = shop.restore(tables=TABLES[:2])
    assert not restored["failed"], restored["msg"]
    entries = {entry["name"]: entry for entry in restored["fingerprints"]}
    assert entries["nothing_yet"]["status"] == "information"
    assert not entries["nothing_yet"]["identical"]
    assert entries["orders"]["status"] == "passed"


def test_a_table_that_stays_locked_is_given_up_with_the_name_of_the_session(shop: Shop, tmp_path: Path) -> None:
    screen = tmp_path / "progress.jsonl"
    screen.touch()
    shop.back_up()
    shop.change(DAMAGE)
    damaged = shop.everything()
    with connect(shop.options, application_name="long report") as other, other.cursor() as cursor:
        cursor.execute("BEGIN; SELECT count(*) FROM public.orders")
        refused = shop.restore(progress_file=str(screen))
    told = [line for line in map(json.loads, screen.read_text().splitlines()) if line["kind"] == "lock"]
    assert {(line["step"], line["state"]) for line in told} == {("lock the tables", "waiting")}
    assert "application long report" in told[0]["reason"]
    assert "Gave up after 2 attempts" in refused["msg"]
    assert "application long report" in refused["msg"]
    assert refused["sqlstate"] == "55P03"
    assert shop.everything() == damaged
    assert shop.untouched()


def test_a_lock_that_is_freed_is_tried_again(shop: Shop, tmp_path: Path) -> None:
    screen = tmp_path / "progress.jsonl"
    screen.touch()
    shop.back_up()
    shop.change(DAMAGE)
    with connect(shop.options) as other, other.cursor() as cursor:
        cursor.execute("BEGIN; SELECT count(*) FROM public.orders")
        freed = threading.Timer(1.0, cursor.execute, ["ROLLBACK"])
        freed.start()
        restored = shop.restore(
            locking={"lock_attempts": 100, "lock_pause_seconds": 0.05, "lock_timeout_seconds": 0.2},
            progress_file=str(screen),
        )
        freed.join()
    assert not restored["failed"], restored["msg"]
    assert restored["lock_attempts"] > 1
    last = json.loads(screen.read_text().splitlines()[-1])
    assert (last["step"], last["state"]) == ("lock the tables", "done"), (
        "the restore is shown as waiting while it works"
    )
    assert shop.everything() == shop.before


def test_only_one_restore_at_a_time(shop: Shop) -> None:
    shop.back_up()
    with connect(shop.options) as other, other.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(%s, %s)", (0x52554E42, 1))
        refused = shop.restore()
    assert "another migration or restore is active" in refused["msg"]


@pytest.mark.parametrize(
    ("steps", "says"),
    [
        ("-- step: fails\nALTER TABLE public.orders DROP COLUMN nosuch;", "revert 20250301000001: fails"),
        (
            "-- step: slow\nCREATE INDEX CONCURRENTLY slow ON public.orders (place);",
            "uses CONCURRENTLY, but a restore in place is one transaction",
        ),
        ("-- step: takes a column\nALTER TABLE public.orders DROP COLUMN tags;", "public.orders lacks column tags"),
        ("-- step: another type\nALTER TABLE public.orders ALTER place TYPE bigint;", "dissimilar column types"),
    ],
)
def test_revert_files_that_do_not_lead_back_change_nothing(shop: Shop, steps: str, says: str) -> None:
    shop.back_up()
    shop.change(MIGRATE.replace("RENAME COLUMN note TO remark", "ALTER note SET DEFAULT 'x'"))
    shop.change(DAMAGE)
    damaged = shop.everything()
    shop.revert.write_text(steps)
    refused = shop.restore(revert_files=[str(shop.revert)])
    assert refused["failed"]
    assert says in refused["msg"]
    assert "Nothing was changed." in refused["msg"]
    assert shop.everything() == damaged
    assert shop.untouched()


def test_vacuum_steps_are_left_out_and_settings_reach_the_files(shop: Shop) -> None:
    shop.back_up()
    shop.change(MIGRATE)
    shop.revert.write_text(
        REVERT + "-- step: tidy up\nVACUUM public.orders;\n"
        "-- step: ask\nDO $$ BEGIN IF current_setting('shop_helper.public') <> 'true' OR "
        "current_setting('runbook.run_id') = '' THEN RAISE 'unset'; END IF; END $$;"
    )
    restored = shop.restore(
        revert_files=[str(shop.revert)], helper_schema="shop_helper", plan_settings={"public": True}
    )
    assert not restored["failed"], restored["msg"]
    assert restored["steps"][-2] == "20250301000001: ask"
    assert shop.everything() == shop.before


def test_a_damaged_backup_is_found_before_anything_begins(shop: Shop) -> None:
    shop.back_up()
    (shop.path / "backup" / "data" / "toc.dat").write_text("nothing")
    refused = shop.restore()
    assert "data/toc.dat has 7 bytes" in refused["msg"]
    assert refused["damaged_files"] == ["data/toc.dat"]


def test_a_backup_without_the_table_or_of_another_database_is_refused(shop: Shop, server: Server) -> None:
    shop.back_up()
    refused = shop.restore(tables=[{"table": "reports.marks", "key": "id"}])
    assert "contains no rows of reports.marks" in refused["msg"]
    refused = shop.restore(tables=[{"table": "public.orders", "key": "code"}])
    assert "the backup does not contain column code of public.orders" in refused["msg"]
    other = server.create_database()
    assert f"this is {other['dbname']}" in shop.restore(connection=other)["msg"]
    server.drop_database(other)
    shop.change("DROP TABLE public.nothing_yet")
    assert "table public.nothing_yet no longer exists" in shop.restore()["msg"]


def test_without_room_for_the_side_tables_nothing_begins(shop: Shop) -> None:
    shop.back_up()
    refused = shop.restore(free_disk_bytes=1000)
    assert "1000 bytes are free as the inventory says, the restored tables need about" in refused["msg"]
    assert shop.untouched()


def test_a_schema_of_the_same_name_is_not_dropped(shop: Shop) -> None:
    shop.back_up()
    shop.change(f"CREATE SCHEMA {side_tables.SCHEMA}", SUPERUSER)
    refused = shop.restore()
    assert "exists and was not created by a restore" in refused["msg"]
    assert not shop.untouched()


def test_the_application_reads_and_writes_until_the_tables_are_locked(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.back_up()
    seen = []
    whole = side_tables._load

    def load_and_look(*args: Any) -> None:
        whole(*args)
        shop.change("UPDATE public.customers SET name = name || '!'")
        seen.append(value(shop.options, "SELECT count(*) FROM public.orders"))

    monkeypatch.setattr(side_tables, "_load", load_and_look)
    restored = shop.restore()
    assert not restored["failed"], restored["msg"]
    assert seen == [40, 40, 40, 40]
    assert shop.everything() == shop.before


def test_a_safety_backup_is_named_where_rows_were_removed(shop: Shop) -> None:
    shop.back_up()
    shop.change(DAMAGE)
    safety = str(shop.path / "safety")
    refused = shop.restore(safety_backup_directory=safety)
    assert "the backup's manifest cannot be read" in refused["msg"]
    shop.run_module("pg_backup", connection=shop.options, directory=safety, schemas=["public"], minimum_bytes=1)
    restored = shop.restore(safety_backup_directory=safety)
    assert f"the safety backup {safety} contains them" in restored["msg"]
    assert restored["safety_backup_directory"] == safety


def test_a_run_learns_of_its_restore_and_its_steps_become_history(shop: Shop) -> None:
    one_run = {"id": "20250101T000000Z-abcdef", "plan_hash": "0" * 64, "directory": str(shop.path / "run")}
    shop.run_module("pg_journal", connection=shop.options, state="run_opened", run=one_run, plan_name="shop")
    shop.back_up(run=one_run)
    shop.change(MIGRATE)
    shop.change(
        "INSERT INTO migration_runbook.step (run_id, version, direction, step_number, name, kind, sha256, state)"
        " VALUES ('x', '20250301000001', 'applied', 1, 'ship', 'transaction', '', 'done')"
    )
    restored = shop.restore(revert_files=[str(shop.revert)], run=one_run)
    assert not restored["failed"], restored["msg"]
    (event,) = query(shop.options, "SELECT status, details FROM migration_runbook.event WHERE phase = 'restored'")
    assert event[0] == "ok"
    assert event[1]["reverted_versions"] == ["20250301000001"]
    assert value(shop.options, "SELECT superseded_at IS NOT NULL FROM migration_runbook.step")
    assert value(shop.options, "SELECT released_at IS NOT NULL FROM migration_runbook.lease")


def test_a_run_that_is_not_open_is_refused(shop: Shop) -> None:
    shop.back_up()
    refused = shop.restore(run={"id": "20250101T000000Z-abcdef"})
    assert "run 20250101T000000Z-abcdef is not in this database's journal" in refused["msg"]


def test_a_session_that_is_ended_during_the_restore_is_not_called_unchanged(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.back_up()
    shop.change(DAMAGE)

    def end_session(cursor: Any, _tables: Any) -> None:
        shop.change(f"SELECT pg_terminate_backend({cursor.connection.info.backend_pid})")
        cursor.execute("SELECT 1")

    monkeypatch.setattr(in_place, "require_no_eager_triggers", end_session)
    refused = shop.restore()
    assert (
        "the connection was lost during the restore, which either committed as a whole or changed nothing"
        in refused["msg"]
    )
    assert refused["left_as"] == "resumable"
    monkeypatch.undo()
    assert not shop.restore()["failed"]
    assert shop.everything() == shop.before
    assert shop.untouched()


def test_a_restore_that_was_killed_leaves_nothing_that_stops_the_next(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.back_up()
    shop.change(DAMAGE)
    with monkeypatch.context() as patched:
        patched.setattr(side_tables, "_load", lambda *_: time.sleep(0) or (_ for _ in ()).throw(SystemExit))
        patched.setattr(side_tables, "_drop", lambda *_: None)
        with pytest.raises(SystemExit):
            shop.restore()
    assert not shop.untouched()
    assert not shop.restore()["failed"]
    assert shop.everything() == shop.before
