"""How far a run is, read from its journal: true while it works, without counting tables."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import psycopg2
import pytest
from ansible.module_utils.runbook.database.connection import SessionSettings, session
from ansible.module_utils.runbook.journal import lease, runs
from support.servers import Options, connect, query, value

Look = Callable[..., dict[str, Any]]
RUN = "20250122T101500Z-3f9a1c"
PLAN = {
    "migrations": [
        {"version": "1", "name": "move", "title": "Move orders", "progress": "/nowhere/progress.sql"},
        {"version": "2", "name": "other", "title": "Others", "progress": "/nowhere/progress.sql"},
    ]
}


@pytest.fixture
def journal(empty_database: Options) -> Options:
    """A database whose journal has an open run."""
    with session(empty_database, SessionSettings()) as connection:
        runs.open_run(connection, plan="orders_split", plan_hash="a" * 64, run_id=RUN)
    return empty_database


@pytest.fixture
def working(journal: Options) -> Iterator[None]:
    """Somebody holds the lease."""
    with session(journal, SessionSettings()) as connection, lease.held(connection, RUN):
        yield


@pytest.fixture
def look(journal: Options, run_module: Callable[..., dict[str, Any]]) -> Look:
    def one(**options: Any) -> dict[str, Any]:
        result = run_module("pg_status_info", connection=journal, **options)
        assert not result["failed"], result["msg"]
        if "view" not in options:
            assert result["summary"] == result["journal"]["summary"]
        return dict(result["journal"])

    return one


def write(options: Options, statement: str, *parameters: Any) -> None:
    with connect(options) as connection, connection.cursor() as cursor:
        cursor.execute(statement, parameters or None)


def begin_step(options: Options, kind: str = "backfill", rows_total: int | None = 4000) -> None:
    write(
        options,
        "INSERT INTO migration_runbook.step (run_id, version, direction, step_number, name, kind, sha256, state,"
        " rows_total) VALUES (%s, '1', 'applied', 3, 'move the orders', %s, '', 'intent', %s)",
        RUN, kind, rows_total,
    )  # fmt: skip


def move(options: Options, since: int, until: int, rows: int = 50) -> None:
    """Two workers commit one batch each in every second of a period, given in seconds before now."""
    write(
        options,
        "INSERT INTO migration_runbook.batch (step_id, run_id, version, direction, step_number, after_key, upto_key,"
        " rows_moved, milliseconds, worker, at) SELECT s.id, s.run_id, '1', 'applied', 3, 'k' || %s - ago, 'k', %s, 20,"
        " worker, date_trunc('second', clock_timestamp()) - make_interval(secs => ago) + interval '0.3 s'"
        " FROM migration_runbook.step s, generate_series(%s, %s, -1) AS ago, generate_series(1, 2) AS worker",
        since, rows, since, until,
    )  # fmt: skip


def pause(options: Options, since: int, until: int | None, signal: str = "lock_waiters") -> None:
    write(
        options,
        "INSERT INTO migration_runbook.pause (run_id, version, signal, reason, started_at, ended_at)"
        " VALUES (%s, '1', %s, 'nine sessions wait', clock_timestamp() - make_interval(secs => %s),"
        " clock_timestamp() - make_interval(secs => %s))",
        RUN, signal, since, until,
    )  # fmt: skip


def test_a_walk_shows_rows_rate_and_time_left(journal: Options, working: None, look: Look) -> None:
    begin_step(journal)
    move(journal, 20, 1)
    running = look()["running"]
    assert (running["version"], running["step"], running["kind"]) == ("1", "move the orders", "backfill")
    assert (running["state"], running["rows_done"], running["rows_total"], running["percent"]) == (
        "running", 2000, 4000, 50.0,
    )  # fmt: skip
    assert running["rows_per_second"] == pytest.approx(100, abs=6)
    assert running["eta_seconds"] == pytest.approx(20, abs=2)
    assert running["eta_low_seconds"] <= running["eta_seconds"] <= running["eta_high_seconds"]
    assert running["workers"] == 2
    assert (running["batch"]["upto"], running["batch"]["rows"], running["batch"]["milliseconds"]) == ("k", 50, 20)


def test_a_walk_that_got_stuck_becomes_slower(journal: Options, working: None, look: Look) -> None:
    begin_step(journal)
    move(journal, 20, 11)
    assert look()["running"]["rows_per_second"] == pytest.approx(50, abs=6)


def test_a_pause_is_named_and_does_not_slow_the_rate(journal: Options, working: None, look: Look) -> None:
    begin_step(journal)
    move(journal, 20, 11)
    pause(journal, 10, None)
    shown = look()
    assert (shown["running"]["state"], shown["running"]["reason"]) == ("paused", "nine sessions wait")
    assert shown["running"]["rows_per_second"] == pytest.approx(100, abs=11)
    assert shown["summary"][0] == "1 move the orders: 1000 of 4000 rows (25.0 %), paused: nine sessions wait"
    assert shown["summary"][1].startswith("pauses so far: 1, 10 s in all; the newest: now lock_waiters 10 s")


def test_giving_way_is_said_while_it_lasts(journal: Options, working: None, look: Look) -> None:
    begin_step(journal)
    move(journal, 20, 11)
    event = "INSERT INTO migration_runbook.event (run_id, phase, status, details) VALUES (%s, 'pace', %s, %s)"
    details = json.dumps({"version": "1", "reason": "sessions other than the workers make 50 transactions per second"})
    query(journal, event, (RUN, "gives way", details))
    shown = look()
    assert shown["running"]["state"] == "running"
    assert shown["summary"][0].endswith(", gives way: sessions other than the workers make 50 transactions per second")
    query(journal, event, (RUN, "full speed", details))
    assert "gives way" not in look()["summary"][0]
    query(journal, event, (RUN, "gives way", details))
    query(journal, "UPDATE migration_runbook.event SET at = at - interval '1 minute'")
    assert "gives way" not in look()["summary"][0], "a call that was killed said it"


def test_pauses_that_ended_are_summed_up(journal: Options, look: Look) -> None:
    pause(journal, 100, 70, "operator")
    pause(journal, 60, 20)
    shown = look()
    assert [(entry["signal"], entry["seconds"], entry["open"]) for entry in shown["pauses"]] == [
        ("lock_waiters", 40.0, False), ("operator", 30.0, False),
    ]  # fmt: skip
    assert shown["summary"][0].startswith("pauses so far: 2, 70 s in all; the newest: ")
    assert shown["summary"][0].endswith(" operator 30 s")


def test_a_walk_whose_run_was_killed_has_no_end(journal: Options, look: Look) -> None:
    begin_step(journal)
    move(journal, 120, 100)
    pause(journal, 99, None)
    running = look()["running"]
    assert (running["state"], running["reason"], running["eta_seconds"]) == ("interrupted", "", None)
    assert running["rows_per_second"] == pytest.approx(100, abs=6)
    assert "interrupted; the same command resumes it" in look()["summary"][0]


def test_a_walk_without_a_total_says_what_it_knows(journal: Options, working: None, look: Look) -> None:
    begin_step(journal, rows_total=None)
    move(journal, 8, 1)
    shown = look()
    assert (shown["running"]["percent"], shown["running"]["eta_seconds"]) == (None, None)
    assert shown["summary"][0].startswith("1 move the orders: 800 rows, ")


def test_a_walk_that_has_just_begun_shows_nothing_done(journal: Options, working: None, look: Look) -> None:
    begin_step(journal)
    running = look()["running"]
    assert (running["rows_done"], running["batch"], running["rows_per_second"]) == (0, None, None)


def test_while_rows_are_moved_no_table_is_counted(journal: Options, working: None, look: Look) -> None:
    begin_step(journal)
    move(journal, 5, 1)
    # The progress queries are files that nobody could read.
    first, second = look(run={"plan": PLAN}, view="monitor")["progress"]
    assert (first["rows_done"], first["rows_total"], first["percent"], first["problem"]) == (500, 4000, 12.5, "")
    assert (second["rows_done"], second["problem"]) == (None, "not counted while rows are moved")


def test_until_a_migration_moves_rows_its_progress_query_is_not_asked(journal: Options, look: Look) -> None:
    begin_step(journal, kind="transaction", rows_total=None)
    first, second = PLAN["migrations"]
    plan = {"migrations": [{**first, "backfill": {"function": "shop.move"}}, second]}
    seen = look(run={"plan": plan}, view="monitor")["progress"]
    assert [entry["problem"] for entry in seen] == ["nothing moved yet"] * 2


def test_a_step_that_is_done_is_not_shown(journal: Options, working: None, look: Look) -> None:
    begin_step(journal)
    write(journal, "UPDATE migration_runbook.step SET state = 'done'")
    assert (look()["running"], look()["summary"]) == ({}, [])


def test_what_an_operator_said_is_shown(journal: Options, look: Look, run_module: Any) -> None:
    assert look()["control"]["revision"] == 0
    run_module("pg_control", connection=journal, control="set", workers=3, wait_seconds=0)
    shown = look()
    assert (shown["control"]["revision"], shown["control"]["workers"]) == (1, 3)
    assert shown["summary"][-1].startswith("in force: run; workers=3 (set by ")


def test_an_index_that_waits_names_whom_it_waits_for(journal: Options, working: None, look: Look) -> None:
    write(journal, "CREATE TABLE public.orders AS SELECT n AS id FROM generate_series(1, 100) AS n")
    begin_step(journal, kind="concurrently", rows_total=None)
    ended: list[BaseException] = []

    def build() -> None:
        settings = SessionSettings(application_name=f"runbook {RUN} migration", lock_timeout_seconds=0)
        try:
            with session(journal, settings) as connection, connection.cursor() as cursor:
                cursor.execute("CREATE INDEX CONCURRENTLY orders_id ON public.orders (id)")
        except psycopg2.Error as error:
            ended.append(error)

    with connect(journal) as reader, reader.cursor() as cursor:
        cursor.execute("BEGIN; SET LOCAL application_name = 'a long report'; SELECT count(*) FROM public.orders;"
                       " LOCK TABLE public.orders IN ROW EXCLUSIVE MODE")  # fmt: skip
        pid = reader.info.backend_pid
        builder = threading.Thread(target=build)
        builder.start()
        try:
            wait_until(lambda: query(journal, "SELECT pid FROM pg_stat_progress_create_index WHERE lockers_total > 0"))
            shown = look()
        finally:
            cursor.execute("ROLLBACK")
            builder.join()
    assert ended == []
    (session_shown,) = shown["activity"]
    assert session_shown["phase"].startswith("waiting for ")
    assert f"pid {pid} " in session_shown["blocked_by"]
    assert "application a long report" in session_shown["blocked_by"]
    assert shown["summary"][0] == "1 move the orders: concurrently step at work"
    assert f"runbook {RUN} migration (pid " in shown["summary"][1]
    assert (
        "CREATE INDEX CONCURRENTLY orders_id ON public.orders (id) waits for a lock. Blocked by" in shown["summary"][1]
    )
    assert look()["activity"] == []


def test_a_database_without_journal_has_nothing_to_show(empty_database: Options, run_module: Any) -> None:
    shown = run_module("pg_status_info", connection=empty_database)["journal"]
    assert (shown["running"], shown["pauses"], shown["control"], shown["activity"], shown["summary"]) == (
        {}, [], {}, [], [],
    )  # fmt: skip


def test_a_journal_of_an_earlier_version_is_read_as_far_as_it_goes(journal: Options, look: Look) -> None:
    write(
        journal,
        "DROP TABLE migration_runbook.control, migration_runbook.pause, migration_runbook.range;"
        " ALTER TABLE migration_runbook.step DROP COLUMN rows_total",
    )
    shown = look()
    assert (shown["open_run"]["run_id"], shown["running"], shown["summary"]) == (RUN, {}, [])
    assert value(journal, "SELECT to_regclass('migration_runbook.control') IS NULL")


def wait_until(condition: Callable[[], Any]) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end, "what the test waits for does not come"
        time.sleep(0.02)
