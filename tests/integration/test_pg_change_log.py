"""pg_change_log: what the application writes is known to the row, and everything else still counts as a difference."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from support.journal import note_step
from support.servers import SUPERUSER, Options, application_session, connect, query, value
from support.shop import FINGERPRINTS, TABLES, customer_id, open_shop, order_id, query_file

RunModule = Callable[..., dict[str, Any]]

QUICK = {"locking": {"lock_timeout_seconds": 0.2, "lock_attempts": 2, "lock_pause_seconds": 0.05}}
LOGGED = "SELECT operation::text, key, old_hash IS NOT NULL FROM migration_runbook.change ORDER BY id"


class Shop:
    """A shop whose changes are logged, with a snapshot taken after that."""

    def __init__(self, options: Options, run_module: RunModule, directory: Path) -> None:
        self.options, self._run_module, self.directory = options, run_module, directory
        open_shop(options)

    def log(self, **params: Any) -> dict[str, Any]:
        wanted = {"connection": self.options, "tables": TABLES, **QUICK}
        if params.get("state") == "absent":
            del wanted["tables"]
        return self._run_module("pg_change_log", **{**wanted, **params})

    def snapshot(self, state: str, **params: Any) -> dict[str, Any]:
        wanted = {"connection": self.options, "state": state, "directory": str(self.directory / "snapshot")}
        if state == "taken":
            wanted["fingerprints"] = FINGERPRINTS
        return self._run_module("pg_snapshot", **{**wanted, **params})

    def summary(self) -> dict[str, dict[str, Any]]:
        told = self._run_module(
            "pg_status_info", connection=self.options, snapshot_directory=str(self.directory / "snapshot")
        )
        return {table["table"]: table for table in told["change_log"]["tables"]}

    def write(self, *statements: str, **options: str) -> None:
        """Run statements in one transaction, as the application does."""
        with connect({**self.options, **options}) as connection, connection.cursor() as cursor:
            cursor.execute("BEGIN")
            for statement in statements:
                cursor.execute(statement)
            cursor.execute("COMMIT")

    def differences(self) -> dict[str, dict[str, Any]]:
        found = self.snapshot("compared")
        assert found["change_log"], found["msg"]
        return {entry["name"]: entry for entry in found["differences"]}


@pytest.fixture
def shop(empty_database: Options, run_module: RunModule, tmp_path: Path) -> Shop:
    shop = Shop(empty_database, run_module, tmp_path)
    made = shop.log()
    assert not made["failed"], made["msg"]
    assert made["changed"]
    assert not shop.snapshot("taken")["failed"]
    return shop


BEHIND = "SET LOCAL session_replication_role = replica"

WAYS = {
    "an insert": [
        f"INSERT INTO public.orders (id, customer_id, place) VALUES ('{order_id(90)}', '{customer_id(1)}', 9)"
    ],
    "an update": [f"UPDATE public.orders SET note = 'new' WHERE id = '{order_id(7)}'"],
    "an update of many": ["UPDATE public.orders SET cents = cents + 1"],
    "an update of nothing": ["UPDATE public.orders SET cents = cents"],
    "a delete": [f"DELETE FROM public.orders WHERE id = '{order_id(7)}'"],
    "a cascade": [f"DELETE FROM public.customers WHERE id = '{customer_id(2)}'"],
    "another key": [f"UPDATE public.orders SET id = '{order_id(91)}' WHERE id = '{order_id(7)}'"],
    "keys that move on": ["UPDATE public.\"Odd Names\" SET key = CASE key WHEN 'one' THEN 'two' ELSE key || '!' END"],
    "two changes of a row": [
        f"UPDATE public.orders SET note = 'once' WHERE id = '{order_id(7)}'",
        f"UPDATE public.orders SET note = 'twice' WHERE id = '{order_id(7)}'",
    ],
    "a row deleted and made again": [
        f"DELETE FROM public.orders WHERE id = '{order_id(7)}'",
        f"INSERT INTO public.orders (id, customer_id, place) VALUES ('{order_id(7)}', '{customer_id(1)}', 77)",
    ],
    "a row made and deleted": [
        "INSERT INTO public.\"Odd Names\" VALUES ('short lived', '', 0)",
        "DELETE FROM public.\"Odd Names\" WHERE key = 'short lived'",
    ],
    "an insert that becomes an update": [
        "INSERT INTO public.\"Odd Names\" VALUES ('one', 'y', 2), ('new', 'y', 3)"
        ' ON CONFLICT (key) DO UPDATE SET "a, b" = excluded."a, b"'
    ],
    "a merge": [
        "MERGE INTO public.\"Odd Names\" o USING (VALUES ('one'), ('new')) AS v (key) ON o.key = v.key"
        " WHEN MATCHED THEN DELETE WHEN NOT MATCHED THEN INSERT VALUES (v.key, '', 1)"
    ],
    "keys of odd characters": ['UPDATE public."Odd Names" SET "c""d" = 9 WHERE key ~ \'[\\t ä]\''],
}


@pytest.mark.parametrize("way", WAYS)
def test_what_the_application_writes_is_no_difference(shop: Shop, way: str) -> None:
    shop.write(*WAYS[way])
    found = shop.snapshot("compared")
    assert not found["failed"], found["msg"]
    assert found["change_log"]
    assert {entry["status"] for entry in found["fingerprints"]} == {"passed"}
    assert any(table["changes"] for table in shop.summary().values()), "nothing was logged, so nothing was shown"


@pytest.mark.parametrize("way", WAYS)
def test_and_a_row_changed_behind_the_log_still_is_one(shop: Shop, way: str) -> None:
    shop.write(*WAYS[way])
    shop.write(BEHIND, f"UPDATE public.orders SET note = 'behind' WHERE id = '{order_id(8)}'")
    shop.write(BEHIND, "DELETE FROM public.\"Odd Names\" WHERE key = 'COPY a.b FROM stdin;'")
    found = shop.differences()
    written = {key for _, key, _ in query(shop.options, LOGGED)}
    wanted = {"orders": ("changed_keys", order_id(8)), "odd_names": ("missing_keys", "COPY a.b FROM stdin;")}
    for name, (kind, key) in wanted.items():
        if key not in written:
            assert found[name][kind] == [key]
    assert set(found) == {name for name, (_, key) in wanted.items() if key not in written}


def test_a_row_changed_behind_the_log_and_then_by_the_application_is_found(shop: Shop) -> None:
    shop.write(BEHIND, f"UPDATE public.orders SET note = 'behind' WHERE id IN ('{order_id(3)}', '{order_id(4)}')")
    shop.write(BEHIND, f"DELETE FROM public.orders WHERE id = '{order_id(5)}'")
    shop.write(
        f"UPDATE public.orders SET note = 'mine' WHERE id = '{order_id(3)}'",
        f"DELETE FROM public.orders WHERE id = '{order_id(4)}'",
        f"INSERT INTO public.orders (id, customer_id, place) VALUES ('{order_id(5)}', '{customer_id(1)}', 55)",
        f"UPDATE public.orders SET note = 'mine' WHERE id = '{order_id(6)}'",
    )
    orders = shop.differences()["orders"]
    assert orders["changed_keys"] == [order_id(3), order_id(4)]
    assert orders["missing_keys"] == [order_id(5)]
    assert "check these rows" in shop.snapshot("compared")["next_command"]


def test_cascaded_deletes_are_logged(shop: Shop) -> None:
    shop.write(f"DELETE FROM accounts.users WHERE id = '{customer_id(2)}'", user=SUPERUSER)
    deleted = query(shop.options, LOGGED)
    assert len(deleted) == 1 + 8, deleted
    assert {(operation, hashed) for operation, _, hashed in deleted} == {("D", True)}
    assert shop.differences() == {}
    assert shop.summary()["public.orders"]["deleted"] == 8


def test_statements_of_row_triggers_on_the_same_rows_are_explained(shop: Shop) -> None:
    shop.write(
        "CREATE FUNCTION public.again() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN"
        " UPDATE public.orders SET details = '{}' WHERE id = NEW.id AND details::text <> '{}'; RETURN NULL; END$$",
        "CREATE TRIGGER again AFTER INSERT OR UPDATE ON public.orders FOR EACH ROW EXECUTE FUNCTION public.again()",
    )
    shop.write(
        f"UPDATE public.orders SET note = 'mine' WHERE id IN ('{order_id(3)}', '{order_id(4)}')",
        "INSERT INTO public.orders (id, customer_id, place, details)"
        f" VALUES ('{order_id(90)}', '{customer_id(1)}', 9, '[1]')",
    )
    assert shop.differences() == {}
    orders = shop.summary()["public.orders"]
    assert (orders["inserted"], orders["updated"], orders["deleted"]) == (1, 2, 0)
    shop.write(BEHIND, f"UPDATE public.orders SET note = 'behind' WHERE id = '{order_id(8)}'")
    assert shop.differences()["orders"]["changed_keys"] == [order_id(8)]


def test_a_write_in_flight_at_the_snapshot_counts_once(
    empty_database: Options, run_module: RunModule, tmp_path: Path
) -> None:
    shop = Shop(empty_database, run_module, tmp_path)
    assert shop.log()["changed"]
    edit = "UPDATE public.orders SET note = note || '!' WHERE id = %s"
    with connect(shop.options) as early, connect(shop.options) as late:
        for connection in (early, late):
            connection.autocommit = False
        with early.cursor() as cursor:
            cursor.execute(edit, (order_id(1),))
            cursor.execute("SAVEPOINT part")
            cursor.execute(edit, (order_id(2),))
        with late.cursor() as cursor:
            cursor.execute(edit, (order_id(3),))
            cursor.execute("SAVEPOINT part")
            cursor.execute(edit, (order_id(4),))
        early.commit()
        assert not shop.snapshot("taken")["failed"]
        late.commit()
    assert shop.summary()["public.orders"]["updated"] == 2, "early was seen by the snapshot, late was not"
    assert shop.differences() == {}
    shop.write(BEHIND, f"UPDATE public.orders SET note = 'behind' WHERE id = '{order_id(1)}'")
    assert shop.differences()["orders"]["changed_keys"] == [order_id(1)]


def test_writers_that_began_before_the_log_are_waited_for_and_named(
    empty_database: Options, run_module: RunModule, tmp_path: Path
) -> None:
    shop = Shop(empty_database, run_module, tmp_path)
    with connect(shop.options, application_name="the_application") as writer, writer.cursor() as cursor:
        cursor.execute("BEGIN")
        cursor.execute(f"UPDATE public.orders SET note = 'unlogged' WHERE id = '{order_id(1)}'")
        refused = shop.log()
        assert refused["failed"]
        assert "the change log's triggers on public.orders could not be made" in refused["msg"]
        assert "Gave up after 2 attempts" in refused["msg"]
        assert "application the_application" in refused["msg"]
        assert refused["object"] == "public.orders"
        assert refused["left_as"] == "resumable"
        assert refused["sqlstate"] == "55P03"
        cursor.execute("COMMIT")
    made = shop.log()
    assert [table["status"] for table in made["tables"]] == ["kept", "made", "made", "made"]


def test_the_log_is_made_once_and_taken_away_whole(
    empty_database: Options, run_module: RunModule, tmp_path: Path
) -> None:
    shop = Shop(empty_database, run_module, tmp_path)
    ours = "SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'runbook%%' OR tgname LIKE 'runbook%'"

    would = shop.log(_check=True)
    assert would["changed"]
    assert "change log: would be made for public.customers, public.orders" in would["msg"]
    assert value(shop.options, ours) == 0
    assert value(shop.options, "SELECT to_regnamespace('migration_runbook') IS NULL")

    assert shop.log()["changed"]
    assert value(shop.options, ours) == 16
    for check in (True, False):
        again = shop.log(_check=check)
        assert not again["changed"]
        assert {table["status"] for table in again["tables"]} == {"kept"}

    would = shop.log(state="absent", _check=True)
    assert would["changed"]
    assert value(shop.options, ours) == 16
    removed = shop.log(state="absent")
    assert removed["changed"]
    assert value(shop.options, ours) == 0
    assert value(shop.options, "SELECT to_regclass('migration_runbook.change') IS NULL")
    assert value(shop.options, "SELECT count(*) FROM pg_proc WHERE proname LIKE 'change_log%'") == 0
    for check in (True, False):
        assert not shop.log(state="absent", _check=check)["changed"]


def test_a_trigger_that_was_switched_off_is_told_and_made_again(shop: Shop) -> None:
    shop.write("ALTER TABLE public.orders DISABLE TRIGGER runbook_change_log_update")
    shop.write(f"UPDATE public.orders SET note = 'unlogged' WHERE id = '{order_id(1)}'")
    (difference,) = shop.differences().values()
    assert difference["changed_keys"] == [order_id(1)]
    assert "triggers on public.orders were dropped, disabled or replaced" in difference["explanation"]

    made = shop.log()
    assert {table["table"]: table["status"] for table in made["tables"]}["public.orders"] == "made"
    (difference,) = shop.differences().values()
    assert "the change log of public.orders began after the snapshot" in difference["explanation"]
    assert not shop.snapshot("compared", application_writes=True)["failed"]


def test_the_log_stays_while_a_run_is_open(shop: Shop, run_module: RunModule, tmp_path: Path) -> None:
    run = {"id": "20250301T000000Z-abcdef", "plan_hash": "0" * 64, "directory": str(tmp_path / "run")}
    run_module("pg_journal", connection=shop.options, state="run_opened", run=run, plan_name="shop")
    note_step(shop.options, run["id"])
    for check in (True, False):
        refused = shop.log(state="absent", _check=check)
        assert refused["failed"]
        assert f"run {run['id']} is open: its comparison with the snapshot needs the change log." in refused["msg"]
        assert "migrate.yml" in refused["next_command"]


def test_the_runs_own_writes_are_not_the_applications(shop: Shop) -> None:
    with connect(shop.options) as connection, connection.cursor() as cursor:
        cursor.execute("SET runbook.run_id = '20250301T000000Z-abcdef'")
        cursor.execute(f"UPDATE public.orders SET note = 'ours' WHERE id = '{order_id(1)}'")
        cursor.execute(f"DELETE FROM public.customers WHERE id = '{customer_id(3)}'")
        assert query(shop.options, LOGGED) == []
        cursor.execute("RESET runbook.run_id")
        cursor.execute(f"UPDATE public.orders SET note = 'theirs' WHERE id = '{order_id(4)}'")
    assert query(shop.options, LOGGED) == [("U", order_id(4), True)]


@pytest.fixture
def users(database: Options, run_module: RunModule) -> tuple[Options, str]:
    """The demo's database, logged, and a user of it who has a post with comments."""
    tables = [{"table": f"public.{name}", "key": "id"} for name in ("posts", "comments")]
    made = run_module("pg_change_log", connection=database, tables=tables, **QUICK)
    assert made["changed"], made["msg"]
    user = value(
        database,
        "SELECT p.user_id::text FROM public.posts p JOIN public.comments c ON c.post_id = p.id"
        " WHERE NOT EXISTS (SELECT FROM public.playlist_tracks e WHERE e.track_id = p.id) LIMIT 1",
    )
    return database, user


def test_a_user_under_row_level_security_can_write_and_cannot_hide(users: tuple[Options, str]) -> None:
    database, user = users
    with application_session(database, user) as connection, connection.cursor() as cursor:
        # The setting is believed from the table's owner only; a cascade runs as that owner and must not be believed.
        cursor.execute("SET runbook.run_id = '20250301T000000Z-abcdef'")
        cursor.execute("UPDATE public.posts SET content = content || '!' WHERE user_id = auth.uid()")
        edited = cursor.rowcount
        cursor.execute(
            "INSERT INTO public.posts (user_id, content, post_type) VALUES (auth.uid(), 'hello', 'text')"
            " RETURNING id::text"
        )
        (made,) = cursor.fetchone() or ("",)
        cursor.execute(
            "DELETE FROM public.posts WHERE id = (SELECT p.id FROM public.posts p JOIN public.comments c"
            " ON c.post_id = p.id WHERE p.user_id = auth.uid() LIMIT 1)"
        )
        assert cursor.rowcount == 1
        for hidden in ("SELECT * FROM migration_runbook.change", "SELECT migration_runbook.change_log_1()"):
            with pytest.raises(psycopg2.errors.InsufficientPrivilege):
                cursor.execute(hidden)
    logged = query(
        database,
        "SELECT w.table_name, operation::text, count(*) FROM migration_runbook.change c"
        " JOIN migration_runbook.watch w ON w.id = c.watch_id GROUP BY 1, 2",
    )
    counts = {(table, operation): number for table, operation, number in logged}
    assert counts["public.posts", "U"] == edited > 0
    assert counts["public.posts", "I"] == 1
    assert counts["public.posts", "D"] == 1
    assert counts["public.comments", "D"] >= 1
    assert made in {key for _, key, _ in query(database, LOGGED)}


def test_a_temporary_type_of_the_callers_is_not_run_as_the_definer(users: tuple[Options, str]) -> None:
    database, user = users
    with application_session(database, user) as connection, connection.cursor() as cursor:
        cursor.execute(
            "CREATE FUNCTION pg_temp.spy(value pg_catalog.text) RETURNS boolean LANGUAGE plpgsql AS"
            " $$BEGIN RAISE EXCEPTION 'run as %', current_user; END$$"
        )
        cursor.execute("CREATE DOMAIN pg_temp.text AS pg_catalog.text CHECK (pg_temp.spy(VALUE))")
        cursor.execute("UPDATE public.posts SET content = content || '!' WHERE user_id = auth.uid()")
        assert cursor.rowcount > 0


def test_truncate_is_logged_and_said(shop: Shop) -> None:
    shop.write('TRUNCATE public."Odd Names"')
    shop.write("INSERT INTO public.nothing_yet VALUES (gen_random_uuid())")
    (difference,) = shop.differences().values()
    assert difference["name"] == "odd_names"
    assert difference["missing"] == 4
    assert "public.Odd Names was truncated" in difference["explanation"]
    assert shop.summary()["public.Odd Names"]["truncations"] == 1


def test_columns_that_a_migration_adds_do_not_count(shop: Shop) -> None:
    shop.write("ALTER TABLE public.orders ADD COLUMN shipped boolean DEFAULT true")
    shop.write(f"UPDATE public.orders SET shipped = false, note = 'new' WHERE id = '{order_id(1)}'")
    assert shop.differences() == {}
    made = shop.log()
    assert made["changed"], "a snapshot taken from here on has the column, so the log must have it too"
    assert [table["status"] for table in made["tables"]] == ["kept", "made", "kept", "kept"]


def test_a_resumed_run_keeps_the_columns_of_its_snapshot(shop: Shop, run_module: RunModule, tmp_path: Path) -> None:
    run = {"id": "20250301T000000Z-abcdef", "plan_hash": "0" * 64, "directory": str(tmp_path / "run")}
    run_module("pg_journal", connection=shop.options, state="run_opened", run=run, plan_name="shop")
    run_module("pg_journal", connection=shop.options, state="recorded", run=run, phase="snapshot_taken", details={})
    shop.write("ALTER TABLE public.orders ADD COLUMN shipped boolean DEFAULT true")
    assert not shop.log(run={"id": run["id"]})["changed"]


def test_the_application_goes_on_when_a_migration_takes_a_column_away(shop: Shop) -> None:
    shop.write("ALTER TABLE public.orders DROP COLUMN note CASCADE", 'ALTER TABLE public."Odd Names" DROP COLUMN key')
    shop.write(f"UPDATE public.orders SET cents = 1 WHERE id = '{order_id(1)}'", 'DELETE FROM public."Odd Names"')
    found = shop.differences()
    assert "column note no longer exists" in found["orders"]["explanation"]
    assert "column key no longer exists" in found["odd_names"]["explanation"]


def test_hashes_do_not_depend_on_what_the_applications_session_has_set(
    empty_database: Options, run_module: RunModule, tmp_path: Path
) -> None:
    options = empty_database
    with connect(options) as connection, connection.cursor() as cursor:
        cursor.execute(
            "CREATE TABLE public.visits"
            " (day date PRIMARY KEY, seen timestamptz[], span tstzrange, weight real, raw bytea[]);"
            "INSERT INTO public.visits SELECT day, ARRAY[now()], tstzrange(now(), NULL), 0.1, ARRAY['\\x00'::bytea]"
            "  FROM (VALUES ('2024-03-01'::date), ('2024-03-02')) AS v (day)"
        )
    table = [{"table": "public.visits", "key": "day"}]
    assert run_module("pg_change_log", connection=options, tables=table, **QUICK)["changed"]
    wanted = {"connection": options, "directory": str(tmp_path / "snapshot")}
    run_module("pg_snapshot", **wanted, fingerprints=[{"name": "visits", **table[0]}])
    with connect(options) as connection, connection.cursor() as cursor:
        cursor.execute("SET TimeZone = 'Asia/Tokyo'; SET DateStyle = 'German'; SET extra_float_digits = 0")
        cursor.execute("SET bytea_output = 'escape'; SET IntervalStyle = 'postgres_verbose'")
        cursor.execute("UPDATE public.visits SET weight = 3 WHERE day = '2024-03-01'")
        cursor.execute("DELETE FROM public.visits WHERE day = '2024-03-02'")
    found = run_module("pg_snapshot", **wanted, state="compared")
    assert not found["failed"], found["msg"]
    assert found["change_log"]


def test_rows_of_a_query_are_explained_by_the_keys_that_the_plan_names(
    empty_database: Options, run_module: RunModule, tmp_path: Path
) -> None:
    shop = Shop(empty_database, run_module, tmp_path)
    kept = [{"table": "public.orders", "kept_columns": ["customer_id"]}]
    assert shop.log(kept=kept)["changed"]
    first_order = query_file(
        tmp_path, "first", "SELECT DISTINCT ON (customer_id) id, note FROM public.orders ORDER BY customer_id, place"
    )
    touched = query_file(
        tmp_path,
        "touched",
        "SELECT o.id FROM written w JOIN public.orders o ON o.customer_id = (w.old_values ->> 'customer_id')::uuid"
        " UNION SELECT w.key::uuid FROM written w WHERE w.table_name = 'public.orders'",
    )
    entry = {"name": "first_orders", "query": first_order, "key": "id"}
    shop.snapshot("taken", fingerprints=[{**entry, "by_application": touched}, {**entry, "name": "unsaid"}])
    shop.write(f"DELETE FROM public.orders WHERE id = '{order_id(0)}'")
    (difference,) = shop.differences().values()
    assert difference["name"] == "unsaid"
    assert "the plan does not define which of its rows the application's changes affect" in difference["explanation"]
    shop.write(BEHIND, f"UPDATE public.orders SET note = 'behind' WHERE id = '{order_id(1)}'")
    assert shop.differences()["first_orders"]["changed_keys"] == [order_id(1)]


def test_counts_are_judged_without_what_the_application_did(
    empty_database: Options, run_module: RunModule, tmp_path: Path
) -> None:
    shop = Shop(empty_database, run_module, tmp_path)
    kept = [{"table": "public.orders", "kept_columns": ["cents"]}]
    assert shop.log(kept=kept)["changed"]
    count = {
        "query": query_file(tmp_path, "n", "SELECT count(*) FROM public.orders WHERE cents >= 10"),
        "after_migration": "equal",
    }
    moved = query_file(
        tmp_path,
        "moved",
        "SELECT count(*) FILTER (WHERE o.cents >= 10) - count(*) FILTER (WHERE (w.old_values ->> 'cents')::int >= 10)"
        " FROM written w LEFT JOIN public.orders o ON o.id = w.key::uuid WHERE w.table_name = 'public.orders'",
    )
    names = query_file(tmp_path, "names", 'SELECT count(*) FROM public."Odd Names"')
    shop.snapshot(
        "taken",
        counts=[
            {"name": "dear", **count, "by_application": moved},
            {"name": "unsaid", **count},
            {"name": "untouched", "query": names, "after_migration": "equal"},
        ],
    )
    shop.write(
        f"UPDATE public.orders SET cents = 100 WHERE id IN ('{order_id(1)}', '{order_id(2)}')",
        f"DELETE FROM public.orders WHERE id = '{order_id(20)}'",
        f"UPDATE public.orders SET cents = 50 WHERE id = '{order_id(30)}'",
    )
    found = {entry["name"]: entry for entry in shop.snapshot("compared")["counts"]}
    assert (found["dear"]["before"], found["dear"]["after"], found["dear"]["by_application"]) == (30, 31, 1)
    assert found["dear"]["status"] == "passed"
    assert found["unsaid"]["status"] == "information"
    assert "the application made 4 changes to public.orders" in found["unsaid"]["explanation"]
    assert found["untouched"]["status"] == "passed"

    shop.write(BEHIND, f"DELETE FROM public.orders WHERE id = '{order_id(39)}'")
    failed = {entry["name"]: entry for entry in shop.snapshot("compared")["counts"]}["dear"]
    assert failed["status"] == "failed"
    assert failed["explanation"] == "30 now, +1 of them by the application, expected 30"


def test_a_restore_takes_the_log_away(shop: Shop, run_module: RunModule, tmp_path: Path) -> None:
    taken = run_module(
        "pg_backup",
        connection=shop.options,
        directory=str(tmp_path / "backup"),
        schemas=["public"],
        minimum_bytes=1,
        snapshot={"directory": str(tmp_path / "with_backup"), "fingerprints": FINGERPRINTS},
    )
    assert not taken["failed"], taken["msg"]
    shop.write(*WAYS["a cascade"])
    wanted = {"connection": shop.options, "backup_directory": str(tmp_path / "backup")}
    part = run_module("pg_restore", **wanted, tables=TABLES[:2])
    assert not part["failed"], part["msg"]
    left = query(shop.options, "SELECT table_name FROM migration_runbook.watch WHERE ended_at IS NULL ORDER BY id")
    assert [name for (name,) in left] == [table["table"] for table in TABLES[2:]]
    whole = run_module("pg_restore", **wanted, tables=TABLES)
    assert not whole["failed"], whole["msg"]
    assert value(shop.options, "SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'runbook%'") == 0
    assert value(shop.options, "SELECT to_regclass('migration_runbook.change') IS NULL")


def test_rows_that_are_copied_in_are_logged(shop: Shop) -> None:
    with connect(shop.options) as connection, connection.cursor() as cursor:
        cursor.copy_expert('COPY public."Odd Names" FROM STDIN', io.StringIO("a\tb\t1\nc\td\t2\n"))
    assert query(shop.options, LOGGED) == [("I", "a", False), ("I", "c", False)]
    assert shop.differences() == {}


def test_a_table_or_column_that_is_not_there_is_refused(shop: Shop) -> None:
    gone = shop.log(tables=[{"table": "public.gone", "key": "id"}])
    assert "public.gone" in gone["msg"]
    assert gone["failed"]
    column = shop.log(
        tables=[{"table": "public.orders", "key": "id"}],
        kept=[{"table": "public.orders", "kept_columns": ["colour"]}],
    )
    assert "table public.orders has no column colour, which the change log needs." in column["msg"]


def test_a_snapshot_of_another_version_is_compared_as_without_a_log(shop: Shop) -> None:
    path = shop.directory / "snapshot" / "snapshot.json"
    kept = json.loads(path.read_text())
    del kept["server"]["visible"]
    path.write_text(json.dumps(kept))
    shop.write(f"UPDATE public.orders SET note = 'new' WHERE id = '{order_id(1)}'")
    found = shop.snapshot("compared")
    assert found["failed"]
    assert not found["change_log"]
    assert "if the application wrote meanwhile" in found["next_command"]


def test_a_lock_that_is_waited_for_is_told_to_the_screen(shop: Shop) -> None:
    screen = shop.directory / "progress.jsonl"
    screen.touch()
    with connect(shop.options, application_name="the till") as other, other.cursor() as cursor:
        cursor.execute("BEGIN; LOCK TABLE public.orders IN ACCESS SHARE MODE")
        assert shop.log(state="absent", progress_file=str(screen))["failed"]
    told = [json.loads(line) for line in screen.read_text().splitlines()]
    assert {(line["step"], line["state"]) for line in told} == {
        ("the change log's triggers on public.orders", "waiting")
    }
    assert all("application the till" in line["reason"] for line in told)
