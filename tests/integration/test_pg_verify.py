"""Checks against a real database: one instant, all failures at once, nothing written."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.runbook.database.connection import SessionSettings, session
from ansible.module_utils.runbook.journal import steps
from ansible.module_utils.runbook.journal.schema import ensure
from ansible.module_utils.runbook.plan.migration_file import Direction, Step
from support.orders import create_shop, write_file
from support.servers import Options, query, value

Verify = Callable[..., dict[str, Any]]

LEFT = "SELECT count(*) FILTER (WHERE note IS NULL) AS without_note, count(*) AS rows_examined FROM public.orders"
STEP = Step(1, "move", 1, "SELECT 1", ("SELECT 1",), "transaction", (), data=False, sha256="")
OFFENDERS = "SELECT id, note FROM public.orders WHERE note IS NULL ORDER BY id"


@pytest.fixture
def shop(empty_database: Options) -> Options:
    create_shop(empty_database)
    return empty_database


@pytest.fixture
def verify(shop: Options, run_module: Callable[..., dict[str, Any]]) -> Verify:
    def call(*checks: dict[str, Any], **options: Any) -> dict[str, Any]:
        return run_module("pg_verify", connection=shop, checks=list(checks), **options)

    return call


def check(directory: Path, name: str = "notes", text: str = LEFT, **more: Any) -> dict[str, Any]:
    path = write_file(directory, f"{name}.sql", text)
    return {"name": name, "title": f"About {name}", "query": path, "expect": {"without_note": 0}, **more}


def test_a_check_passes_in_both_modes_and_writes_nothing(verify: Verify, shop: Options, tmp_path: Path) -> None:
    before = value(shop, "SELECT pg_snapshot_xmax(pg_current_snapshot())")
    for mode in (False, True):
        result = verify(check(tmp_path), _check=mode)
        assert not result["failed"]
        assert not result["changed"]
        assert result["statuses"] == {"passed": 1}
        (entry,) = result["results"]
        assert entry["status"] == "passed"
        assert entry["query"] == LEFT
        assert entry["expectation"] == "without_note = 0"
        assert entry["observed"] == {"without_note": 0}
        assert entry["rows_examined"] == 50
    assert value(shop, "SELECT pg_snapshot_xmax(pg_current_snapshot())") == before, "no transaction wrote"


def test_a_failure_shows_the_first_rows_and_how_many_there_are(verify: Verify, shop: Options, tmp_path: Path) -> None:
    query(shop, "UPDATE public.orders SET note = NULL WHERE id <= 25")
    result = verify(check(tmp_path, offenders=write_file(tmp_path, "rows.sql", OFFENDERS + ";")))
    assert result["failed"]
    assert "1 of 1 checks failed" in result["msg"]
    assert "About notes (notes): found without_note = 25. Expected: without_note = 0; 50 rows examined" in result["msg"]
    assert "Offending rows, 25 in all:\n  id=1, note=None\n" in result["msg"]
    assert "… and 5 more" in result["msg"]
    (entry,) = result["results"]
    assert (len(entry["offenders"]), entry["offenders_total"]) == (20, 25)
    assert result["failed_checks"] == ["notes"]
    query(shop, "UPDATE public.orders SET note = 'again' WHERE id <= 25")
    assert not verify(check(tmp_path))["failed"]


def test_a_check_without_a_query_counts_its_offenders(verify: Verify, shop: Options, tmp_path: Path) -> None:
    counted = {
        **check(tmp_path, offenders=write_file(tmp_path, "rows.sql", OFFENDERS), counted_by="order_count"),
        "query": None,
        "examined": write_file(tmp_path, "count.sql", "SELECT count(*) AS order_count FROM public.orders"),
        "expect": {"offending_rows": 0},
    }
    (entry,) = verify(counted)["results"]
    assert (entry["status"], entry["observed"], entry["rows_examined"]) == ("passed", {"offending_rows": 0}, 50)
    assert (entry["query"], entry["offenders"]) == (OFFENDERS, [])

    query(shop, "UPDATE public.orders SET note = NULL WHERE id <= 25")
    result = verify(counted)
    assert "About notes (notes): found offending_rows = 25. Expected: offending_rows = 0; 50 rows exam" in result["msg"]
    (entry,) = result["results"]
    assert (len(entry["offenders"]), entry["offenders_total"]) == (20, 25)

    query(shop, "TRUNCATE public.orders CASCADE")
    (entry,) = verify(counted, snapshot_counts={"order_count": 0})["results"]
    assert entry["status"] == "nothing_to_examine"
    assert verify(counted, snapshot_counts={"order_count": 50})["failed"]


def test_a_query_the_server_refuses_fails_and_the_others_still_run(
    verify: Verify, shop: Options, tmp_path: Path
) -> None:
    query(shop, "UPDATE public.orders SET note = NULL WHERE id = 7")
    broken = check(tmp_path, "broken", "SELECT nothing FROM public.orders")
    good = check(tmp_path, "lines", "SELECT 0 AS without_note, count(*) AS rows_examined FROM public.lines")
    result = verify(broken, check(tmp_path), good)
    assert [entry["status"] for entry in result["results"]] == ["failed", "failed", "passed"]
    assert "2 of 3 checks failed" in result["msg"]
    assert 'About broken (broken): the server refused the query: column "nothing" does not exist' in result["msg"]
    assert result["results"][0]["sqlstate"] == "42703"
    assert "About notes (notes): found without_note = 1" in result["msg"]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("SELECT 0 AS without_note", "the query must return rows_examined"),
        ("SELECT 0 AS other, 5 AS rows_examined", "the query returns no column without_note; it returns other"),
        ("SELECT 0 AS without_note, 1 AS rows_examined WHERE false", "exactly one row; it returned 0 rows"),
        ("SELECT n AS without_note, 1 AS rows_examined FROM generate_series(1, 3) AS n", "it returned 3 rows"),
        ("DELETE FROM public.lines RETURNING 0 AS without_note", "cannot execute DELETE in a read-only transaction"),
        ("SELECT 0 AS without_note, 1 AS rows_examined FROM pg_sleep(3)", "canceling statement due to statement"),
    ],
)
def test_a_query_that_cannot_be_judged_fails(
    verify: Verify, shop: Options, tmp_path: Path, text: str, complaint: str
) -> None:
    result = verify(check(tmp_path, text=text), statement_timeout_seconds=1)
    assert result["failed"]
    assert complaint in result["msg"]
    assert value(shop, "SELECT count(*) FROM public.lines") == 200


def test_nothing_to_examine_passes_only_where_there_was_nothing(verify: Verify, shop: Options, tmp_path: Path) -> None:
    query(shop, "TRUNCATE public.orders CASCADE")
    counted = check(tmp_path, counted_by="order_count")
    assert verify(counted, snapshot_counts={"order_count": 0})["statuses"] == {"nothing_to_examine": 1}
    assert verify(counted)["statuses"] == {"nothing_to_examine": 1}
    lost = verify(counted, snapshot_counts={"order_count": 50})
    assert "it examined no rows, but the snapshot counted 50 (order_count)" in lost["msg"]
    assert "it examined no rows, so it proves nothing" in verify(check(tmp_path))["msg"]


def test_an_informational_check_never_fails(verify: Verify, shop: Options, tmp_path: Path) -> None:
    query(shop, "UPDATE public.orders SET note = NULL WHERE id = 7")
    broken = check(tmp_path, "broken", "SELECT nothing FROM public.orders", informational=True)
    result = verify(check(tmp_path, informational=True), broken)
    assert not result["failed"]
    assert result["statuses"] == {"information": 2}
    assert result["results"][0]["observed"] == {"without_note": 1}
    assert "does not exist" in result["results"][1]["why"]


def test_what_is_not_applied_is_listed_beside_what_runs(verify: Verify, tmp_path: Path) -> None:
    later = check(tmp_path, "later", "SELECT nothing", applied=False)
    result = verify(check(tmp_path), later, _check=True)
    assert result["statuses"] == {"passed": 1, "would_be_checked": 1}
    assert result["results"][1]["expectation"] == "without_note = 0"
    assert result["queries"] == [LEFT]


def test_a_check_is_asked_once_the_history_has_what_it_looks_at(verify: Verify, tmp_path: Path) -> None:
    there = check(tmp_path, "there", needs_versions=["20240101000000"])
    later = check(tmp_path, "later", "SELECT nothing", needs_versions=["20240101000000", "20240102000000"])
    result = verify(there, later, versions=["20240101000000", "20240103000000"])
    assert [entry["status"] for entry in result["results"]] == ["passed", "would_be_checked"]
    assert result["pending"] == ["20240102000000", "20240103000000"]


@pytest.mark.parametrize("way", ["applied", "reverted"])
def test_a_check_waits_for_a_later_migration_that_is_half_done(
    verify: Verify, shop: Options, tmp_path: Path, way: Direction
) -> None:
    first, later = "20240101000000", "20240102000000"
    query(shop, "UPDATE public.orders SET note = NULL WHERE id = 7")
    with session(shop, SessionSettings()) as connection, connection.cursor() as cursor:
        ensure(connection)
        steps.put(cursor, steps.Work("a run", later, way), STEP, "intent")
        earlier = check(tmp_path, needs_versions=[first])
        waits = verify(earlier, versions=[first, later])
        assert not waits["failed"], waits["msg"]
        assert (waits["pending"], waits["statuses"]) == ([later], {"would_be_checked": 1})
        assert waits["results"][0]["why"] == f"cannot be judged while migration {later} is half {way}"
        assert verify(check(tmp_path), versions=[first, later])["failed"], "a check that needs no version is judged"
        steps.close(cursor, steps.Work("a run", later, way), 2)
        assert verify(earlier, versions=[first, later])["failed"], "nothing is half done any more"


def test_the_result_file_holds_a_failure_too(verify: Verify, shop: Options, tmp_path: Path) -> None:
    query(shop, "UPDATE public.orders SET note = NULL WHERE id = 7")
    path = tmp_path / "results/40-checks.json"
    assert verify(check(tmp_path), result_file=str(path), _check=True)["failed"]
    assert not path.exists()
    assert verify(check(tmp_path), result_file=str(path))["failed"]
    kept = json.loads(path.read_text())
    assert kept["failed"] is True
    assert kept["results"][0]["status"] == "failed"
    assert path.stat().st_mode & 0o777 == 0o600


def test_all_checks_see_the_same_instant(verify: Verify, shop: Options, tmp_path: Path) -> None:
    instant = "SELECT 0 AS without_note, 1 AS rows_examined, pg_current_snapshot()::text AS seen"
    result = verify(check(tmp_path, "first", instant), check(tmp_path, "second", instant))
    assert len({entry["observed"]["seen"] for entry in result["results"]}) == 1


def test_no_server_keeps_the_documented_keys(run_module: Any, shop: Options, tmp_path: Path) -> None:
    result = run_module("pg_verify", connection={**shop, "port": 1}, checks=[check(tmp_path)])
    assert result["failed"]
    assert "cannot connect to" in result["msg"]
    assert (result["results"], result["failed_checks"], result["statuses"]) == ([], [], {})
