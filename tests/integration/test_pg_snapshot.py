"""pg_snapshot: counts, samples and fingerprints, and the names of the rows that differ."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.runbook.evidence import row_hashes
from support.servers import Options, connect, value
from support.shop import FINGERPRINTS, customer_id, open_shop, order_id, query_file

RunModule = Callable[..., dict[str, Any]]
Snapshot = Callable[..., dict[str, Any]]


@pytest.fixture
def shop(empty_database: Options) -> Options:
    open_shop(empty_database)
    return empty_database


@pytest.fixture
def snapshot(run_module: RunModule, shop: Options, tmp_path: Path) -> Snapshot:
    def call(state: str, **params: Any) -> dict[str, Any]:
        wanted = {"connection": shop, "state": state, "directory": str(tmp_path / "snapshot")}
        if state == "taken":
            wanted["fingerprints"] = FINGERPRINTS
        return run_module("pg_snapshot", **{**wanted, **params})

    return call


def change(options: Options, *statements: str) -> None:
    with connect(options) as connection, connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


def by_name(result: dict[str, Any], part: str = "fingerprints") -> dict[str, dict[str, Any]]:
    return {entry["name"]: entry for entry in result[part]}


def test_a_snapshot_is_taken_once_and_compares_equal(snapshot: Snapshot, shop: Options, tmp_path: Path) -> None:
    would = snapshot("taken", _check=True)
    assert would["changed"]
    assert "would take a snapshot" in would["msg"]
    assert not (tmp_path / "snapshot").exists()

    parts = {
        "counts": [{"name": "orders", "query": query_file(tmp_path, "n", "SELECT count(*) FROM public.orders;")}],
        "samples": [{"name": "first", "query": query_file(tmp_path, "s", "SELECT name FROM public.customers LIMIT 2")}],
    }
    taken = snapshot("taken", **parts)
    assert not taken["failed"], taken["msg"]
    assert taken["changed"]
    assert taken["counts_by_name"] == {"orders": 40}
    assert [entry["before"] for entry in taken["fingerprints"]] == [5, 40, 4, 0]
    assert taken["samples"][0]["before"] == [{"name": "Customer 1"}, {"name": "Customer 2"}]
    kept = json.loads((tmp_path / "snapshot" / "snapshot.json").read_text())
    columns = [column["name"] for column in kept["fingerprints"][1]["columns"]]
    assert columns[:4] == ["id", "number", "customer_id", "place"]

    assert not snapshot("taken", **parts)["changed"]
    for check in (False, True):
        same = snapshot("compared", expectation="restore", _check=check)
        assert not same["failed"], same["msg"]
        assert not same["changed"]
        assert same["differences"] == []
        assert {entry["status"] for entry in same["fingerprints"] + same["counts"]} == {"passed"}


def test_changed_missing_and_new_rows_are_named(snapshot: Snapshot, shop: Options) -> None:
    snapshot("taken")
    change(
        shop,
        "SET session_replication_role = replica",
        f"UPDATE public.orders SET note = note || ' ' WHERE id = '{order_id(7)}'",
        f"DELETE FROM public.orders WHERE id = '{order_id(3)}'",
        f"INSERT INTO public.orders (id, customer_id, place) VALUES ('{order_id(99)}', '{customer_id(1)}', 99)",
    )
    found = snapshot("compared")
    assert found["failed"]
    (difference,) = found["differences"]
    assert (difference["changed_keys"], difference["missing_keys"], difference["extra_keys"]) == (
        [order_id(7)],
        [order_id(3)],
        [order_id(99)],
    )
    assert f"1 row changed ({order_id(7)}), 1 row missing ({order_id(3)})" in found["msg"]
    assert f"1 row not there before ({order_id(99)})" in found["msg"]
    assert found["object"] == "public.orders"


def test_writes_of_the_application_are_shown_and_accepted_when_told(snapshot: Snapshot, shop: Options) -> None:
    assert not snapshot("taken")["failed"]
    change(shop, "DELETE FROM public.orders WHERE id = (SELECT id FROM public.orders ORDER BY id LIMIT 1)")
    refused = snapshot("compared")
    assert refused["failed"]
    assert "-e application_writes=true" in refused["msg"]
    told = snapshot("compared", application_writes=True)
    assert not told["failed"]
    assert "differ from the snapshot" in told["msg"]
    assert [entry["name"] for entry in told["differences"]] == [entry["name"] for entry in refused["differences"]]


@pytest.mark.parametrize(
    ("statement", "name"),
    [
        ("UPDATE public.customers SET balance = 1.5 WHERE balance = 1.50", "customers"),
        ("UPDATE public.customers SET mood = 'bad' WHERE name = 'Customer 2'", "customers"),
        ("UPDATE public.customers SET mood = NULL WHERE name = 'Customer 2'", "customers"),
        ("UPDATE public.customers SET joined = joined + interval '1 microsecond'", "customers"),
        ("UPDATE public.orders SET details = '{\"n\": 1}' WHERE place = 1", "orders"),
        ("UPDATE public.orders SET tags = '{\"a,b\"}' WHERE place = 1", "orders"),
        ("UPDATE public.orders SET tags = '{A,b}' WHERE place = 1", "orders"),
        ('UPDATE public."Odd Names" SET "a, b" = \'\' WHERE "a, b" IS NULL', "odd_names"),
    ],
)
def test_every_stored_difference_is_seen(snapshot: Snapshot, shop: Options, statement: str, name: str) -> None:
    snapshot("taken")
    change(shop, "SET session_replication_role = replica", statement)
    assert [entry["name"] for entry in snapshot("compared")["differences"]] == [name]


def test_values_that_two_rows_swapped_are_seen(snapshot: Snapshot, shop: Options) -> None:
    snapshot("taken")
    change(
        shop,
        "SET session_replication_role = replica",
        "UPDATE public.customers SET name = CASE name WHEN 'Customer 1' THEN 'Customer 2' ELSE 'Customer 1' END"
        " WHERE name IN ('Customer 1', 'Customer 2')",
    )
    (difference,) = snapshot("compared")["differences"]
    assert difference["changed_keys"] == [customer_id(1), customer_id(2)]


def test_the_order_of_rows_and_later_columns_do_not_matter(snapshot: Snapshot, shop: Options) -> None:
    snapshot("taken")
    change(
        shop,
        "CREATE TABLE public.copy AS SELECT * FROM public.customers ORDER BY id DESC",
        "ALTER TABLE public.customers ADD COLUMN later int DEFAULT 7",
        "SET session_replication_role = replica",
        "DELETE FROM public.customers",
        "INSERT INTO public.customers SELECT *, 8 FROM public.copy",
    )
    assert not snapshot("compared", expectation="restore")["failed"]


def test_a_column_that_is_gone_or_has_another_type_is_a_difference(snapshot: Snapshot, shop: Options) -> None:
    snapshot("taken")
    change(
        shop,
        "ALTER TABLE public.orders DROP COLUMN details, ALTER COLUMN place TYPE bigint",
        "DROP TABLE public.nothing_yet",
    )
    found = snapshot("compared")
    explanations = {entry["name"]: entry["explanation"] for entry in found["differences"]}
    assert "column place was integer and is bigint" in explanations["orders"]
    assert "column details no longer exists" in explanations["orders"]
    assert 'relation "public.nothing_yet" does not exist' in explanations["nothing_yet"]


def test_keys_with_any_text_are_merged_in_order(snapshot: Snapshot, shop: Options) -> None:
    change(
        shop,
        "INSERT INTO public.\"Odd Names\" SELECT E'\\t' || i || '\\' || chr(i), 'x', i FROM generate_series(1, 300) i",
    )
    snapshot("taken")
    change(shop, 'UPDATE public."Odd Names" SET "a, b" = \'y\' WHERE "c""d" > 60')
    (difference,) = snapshot("compared")["differences"]
    assert (difference["changed"], difference["missing"], difference["extra"]) == (240, 0, 0)
    assert len(difference["changed_keys"]) == 20
    assert "240 rows changed" in difference["explanation"]
    assert "… and 220 more" in difference["explanation"]


@pytest.mark.parametrize(
    ("relation", "statement", "fails"),
    [
        ("at_least", "INSERT INTO public.nothing_yet VALUES (gen_random_uuid())", False),
        ("at_least", "DELETE FROM public.nothing_yet WHERE id = '{first}'", True),
        ("at_most", "DELETE FROM public.nothing_yet WHERE id = '{first}'", False),
        ("at_most", "INSERT INTO public.nothing_yet VALUES (gen_random_uuid())", True),
        ("any", "DELETE FROM public.nothing_yet", False),
        ("equal", "DELETE FROM public.nothing_yet WHERE id = '{first}'", True),
    ],
)
def test_each_relation_after_a_migration_and_equality_after_a_restore(
    snapshot: Snapshot, shop: Options, tmp_path: Path, relation: str, statement: str, fails: bool
) -> None:
    first = "00000000-0000-4000-8000-000000000001"
    change(shop, f"INSERT INTO public.nothing_yet VALUES ('{first}')")
    snapshot(
        "taken",
        counts=[
            {
                "name": "rows",
                "query": query_file(tmp_path, "n", "SELECT count(*) FROM public.nothing_yet"),
                "after_migration": relation,
            }
        ],
        fingerprints=[
            {"name": "them", "table": "public.nothing_yet", "key": "id", "after_migration": relation},
        ],
    )
    change(shop, statement.format(first=first))
    after = snapshot("compared")
    assert after["failed"] is fails
    status = "information" if relation == "any" else "failed" if fails else "passed"
    assert by_name(after)["them"]["status"] == status
    assert by_name(after, "counts")["rows"]["status"] == status
    assert snapshot("compared", expectation="restore")["failed"]


def test_rows_of_a_query_are_compared_by_its_text_at_the_time(
    snapshot: Snapshot, shop: Options, tmp_path: Path
) -> None:
    path = query_file(
        tmp_path,
        "last",
        "-- one row per customer\nSELECT customer_id, max(place) AS last FROM public.orders GROUP BY 1; -- end",
    )
    snapshot("taken", fingerprints=[{"name": "last", "query": path, "key": "customer_id"}])
    Path(path).write_text("SELECT nonsense")
    assert not snapshot("compared")["failed"]
    change(shop, f"DELETE FROM public.orders WHERE id = '{order_id(39)}'")
    (difference,) = snapshot("compared")["differences"]
    assert difference["changed_keys"] == [customer_id(5)]


@pytest.mark.parametrize(
    ("fingerprint", "says"),
    [
        ({"table": "public.orders", "key": "nosuch"}, "the rows have no column nosuch"),
        ({"table": "public.orders", "key": "place"}, "the key place is not unique: 0 appears twice"),
        ({"table": "public.orders", "key": "note_or_null"}, "the rows have no column note_or_null"),
        ({"table": "public.nosuch", "key": "id"}, 'relation "public.nosuch" does not exist'),
        ({"table": "public.orders"}, "missing required arguments: key"),
        ({"key": "id"}, "one of the following is required: table, query"),
    ],
)
def test_a_fingerprint_that_cannot_be_taken_is_refused(
    snapshot: Snapshot, tmp_path: Path, fingerprint: dict[str, str], says: str
) -> None:
    refused = snapshot("taken", fingerprints=[{"name": "wrong", **fingerprint}])
    assert refused["failed"]
    assert says in refused["msg"]
    assert not (tmp_path / "snapshot").exists()


def test_rows_without_a_key_are_refused(snapshot: Snapshot, tmp_path: Path) -> None:
    path = query_file(
        tmp_path, "q", "SELECT nullif(place, 3) AS place FROM public.orders WHERE customer_id::text LIKE '%1'"
    )
    refused = snapshot("taken", fingerprints=[{"name": "wrong", "query": path, "key": "place"}])
    assert "the key place is null" in refused["msg"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("SELECT 1 AS one, 2 AS two", "the query must return one column"),
        ("SELECT 1, 2", "each column under a distinct name"),
        ("SELECT generate_series(1, 2)", "exactly one row"),
        ("SELECT nosuch", 'column "nosuch" does not exist'),
    ],
)
def test_a_count_is_one_value(snapshot: Snapshot, tmp_path: Path, text: str, says: str) -> None:
    refused = snapshot("taken", counts=[{"name": "odd", "query": query_file(tmp_path, "odd", text)}])
    assert "the snapshot's count odd" in refused["msg"]
    assert says in refused["msg"]


def test_row_hashes_that_were_changed_are_noticed_when_they_are_needed(
    snapshot: Snapshot, shop: Options, tmp_path: Path
) -> None:
    snapshot("taken")
    kept = tmp_path / "snapshot" / "orders.hashes"
    whole = kept.read_bytes()
    change(shop, f"DELETE FROM public.orders WHERE id = '{order_id(3)}'")
    for damaged, says in (
        (b"nothing", "orders.hashes cannot be read: the file is cut off"),
        (whole[:-24], "orders.hashes are damaged: 39 rows, 40 were written"),
        (whole[:-1] + bytes([whole[-1] ^ 1]), "orders.hashes are damaged: 40 rows, 40 were written"),
    ):
        kept.write_bytes(damaged)
        refused = snapshot("compared")
        assert "the row hashes in" in refused["msg"]
        assert says in refused["msg"]
    kept.unlink()
    assert "orders.hashes cannot be read" in snapshot("compared")["msg"]


@pytest.mark.parametrize(("blocks", "in_memory"), [(1, 70), (3, 1_000_000)])
def test_tables_of_any_key_are_read_in_parts_and_their_rows_named(
    snapshot: Snapshot, shop: Options, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, blocks: int, in_memory: int
) -> None:
    monkeypatch.setattr(row_hashes, "BLOCKS_AT_A_TIME", blocks)
    monkeypatch.setattr(row_hashes, "ROWS_IN_MEMORY", in_memory)
    monkeypatch.setattr(row_hashes, "ROWS_AT_A_TIME", 1)
    types = ["smallint", "integer", "bigint", "uuid", "text"]
    for kind in types:
        key = "lpad(to_hex(n), 32, '0')::uuid" if kind == "uuid" else f"(n - 300)::{kind}"
        change(
            shop,
            f"CREATE TABLE public.by_{kind} (key {kind} PRIMARY KEY, note text)",
            f"INSERT INTO public.by_{kind} SELECT {key}, repeat('x', 100) || n FROM generate_series(1, 600) AS n",
        )
    change(shop, "CREATE TABLE public.loose (key integer, note text)", "INSERT INTO public.loose VALUES (1), (2)")
    tables = [*(f"by_{kind}" for kind in types), "loose"]
    fingerprints = [{"name": name, "table": f"public.{name}", "key": "key"} for name in tables]
    taken = snapshot("taken", fingerprints=fingerprints)
    assert [entry["before"] for entry in taken["fingerprints"]] == [600] * 5 + [2]
    files = {path.name for path in (tmp_path / "snapshot").iterdir()}
    # No index makes the keys of loose unique: the server compares them.
    assert files == {*(f"{name}.hashes" for name in tables), "snapshot.json"}
    assert not snapshot("compared")["failed"]
    for name in tables:
        change(shop, f"UPDATE public.{name} SET note = 'other' WHERE key::text IN ('-5', '1') OR note LIKE '%x7'")
    found = by_name(snapshot("compared"))
    integers = ["-293", "-5", "1"]  # in the order of their text
    assert [found[name]["changed_keys"] for name in tables[:3]] == [integers] * 3
    assert found["by_uuid"]["changed_keys"] == ["00000000-0000-0000-0000-000000000007"]
    assert found["by_text"]["changed_keys"] == integers
    assert found["loose"]["changed_keys"] == ["1"]


def test_a_snapshot_that_is_not_there_or_of_another_method_is_refused(snapshot: Snapshot, tmp_path: Path) -> None:
    assert "the data snapshot cannot be read" in snapshot("compared")["msg"]
    snapshot("taken")
    path = tmp_path / "snapshot" / "snapshot.json"
    path.write_text(path.read_text().replace("hash_record_extended-2", "md5-0"))
    assert "was made by another version of the runbook (method 'md5-0'" in snapshot("compared")["msg"]


def test_rows_hidden_by_row_level_security_are_an_error_not_a_lower_count(
    run_module: RunModule, shop: Options, tmp_path: Path
) -> None:
    change({**shop, "user": "supabase_admin"}, "CREATE ROLE reader LOGIN", "GRANT SELECT ON public.orders TO reader")
    try:
        refused = run_module(
            "pg_snapshot",
            connection={**shop, "user": "reader"},
            directory=str(tmp_path / "hidden"),
            fingerprints=[{"name": "orders", "table": "public.orders", "key": "id"}],
        )
        assert "would be affected by row-level security policy" in refused["msg"]
    finally:
        change({**shop, "user": "supabase_admin"}, "DROP OWNED BY reader", "DROP ROLE reader")
    assert value(shop, "SELECT count(*) FROM public.orders") == 40
