"""A migration survives locks, leftovers, kills and a second run, or refuses them by name."""

from __future__ import annotations

import contextlib
import json
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.runbook.database.connection import SessionSettings, session
from ansible.module_utils.runbook.errors import RunbookError
from ansible.module_utils.runbook.journal import lease
from ansible.module_utils.runbook.locking import blockers
from ansible.module_utils.runbook.migration import step_runner
from ansible.module_utils.runbook.migration.backfill.health import Health
from ansible.module_utils.runbook.migration.migrate import migrate
from support.modules import run_module
from support.servers import Options, Server, connect, query, value
from support.tiny import MOVE, ORDERS_WITH_ADDRESS, PREPARE, SETTINGS, copy_plan, load_shop, plan_of, replace_in

#: Limits that make a test fail soon where production would wait.
HASTY = {
    "lock_timeout_seconds": 0.4,
    "lock_attempts": 2,
    "lock_pause_seconds": 0.05,
    "batch_lock_timeout_seconds": 0.3,
    "batch_attempts": 2,
    "lock_attempts_limit_seconds": 1.0,
    "batch_rows_least": 40,
    "batch_rows_most": 40,
    "range_rows": 100,
    "workers": 2,
}
PATIENT = {**HASTY, "lock_attempts": 200, "lock_attempts_limit_seconds": 300.0, "batch_lock_timeout_seconds": 60.0}
SOME_ORDER = "(SELECT id FROM shop.orders WHERE address IS NOT NULL ORDER BY id OFFSET 150 LIMIT 1)"


@pytest.fixture
def shop(empty_database: Options) -> Options:
    load_shop(empty_database)
    return empty_database


def call(options: Options, version: str, **params: Any) -> dict[str, Any]:
    """Call what pg_migration calls; its failures are exceptions here."""
    usual = {"connection": options, "plan": plan_of(), "plan_settings": SETTINGS, "state": "applied", "run": None}
    usual |= {"volume_class": "", "snapshot_counts": {}, "limits": HASTY}
    return migrate({**usual, "version": version, **params}, check_mode=False)


def failure(options: Options, version: str, **params: Any) -> RunbookError:
    with pytest.raises(RunbookError) as caught:
        call(options, version, **params)
    return caught.value


@contextlib.contextmanager
def holding(options: Options, statement: str) -> Iterator[None]:
    """Another session's transaction that has run a statement and stays open."""
    with connect(options, application_name="the till") as connection, connection.cursor() as cursor:
        cursor.execute("BEGIN")
        cursor.execute(statement)
        yield
        cursor.execute("COMMIT")


class Background:
    """A migration in a thread of its own."""

    def __init__(self, options: Options, version: str, **params: Any) -> None:
        self.outcome: dict[str, Any] | RunbookError = {}
        self._thread = threading.Thread(target=self._run, args=(options, version), kwargs=params)
        self._options = options

    def _run(self, options: Options, version: str, **params: Any) -> None:
        try:
            self.outcome = call(options, version, **params)
        except RunbookError as error:
            self.outcome = error

    def start(self) -> None:
        self._thread.start()

    def start_and_wait_until_blocked(self) -> int:
        """Start, and return the pid of the session that waits for another one."""
        self.start()
        statement = (
            "SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'runbook % migration'"
            " AND datname = current_database() AND cardinality(pg_blocking_pids(pid)) > 0"
        )
        for _ in range(400):
            if rows := query(self._options, statement):
                return int(rows[0][0])
            assert self._thread.is_alive(), self.outcome
            time.sleep(0.05)
        raise AssertionError("the migration was never blocked")

    def end(self) -> dict[str, Any] | RunbookError:
        self._thread.join(60)
        assert not self._thread.is_alive()
        return self.outcome


def moved_once(options: Options) -> None:
    """Every order with an address has exactly one shipment, and the journal's batches add up to it."""
    (found,) = query(
        options,
        "SELECT count(*), count(DISTINCT o.shipment_id), (SELECT count(*) FROM shop.shipments),"
        " (SELECT sum(rows_moved) FROM migration_runbook.batch) FROM shop.orders o WHERE o.address IS NOT NULL",
    )
    assert found == (ORDERS_WITH_ADDRESS,) * 4


# --- locks ---------------------------------------------------------------------------------------------------------


def test_a_lock_that_is_never_given_fails_and_names_who_holds_it(shop: Options) -> None:
    with holding(shop, "LOCK TABLE shop.orders IN ACCESS SHARE MODE"):
        error = failure(shop, PREPARE)
    assert "step 1 (helper schema, table and column)" in error.msg
    assert "Gave up after 2 attempts" in error.msg
    assert re.search(r"Blocked by pid (\d+) .* or by: SELECT pg_terminate_backend\(\1\)\.", error.msg)
    assert "user postgres, application the till, client backend, idle in transaction" in error.msg
    assert "query since" in error.msg
    assert "LOCK TABLE shop.orders" in error.msg
    assert (error.left_as, error.sqlstate) == ("unchanged", "55P03")
    assert value(shop, "SELECT to_regclass('shop.shipments') IS NULL"), "the refused step left half of itself behind"


def test_a_lock_that_is_given_later_is_tried_for_again(shop: Options) -> None:
    with holding(shop, "LOCK TABLE shop.orders IN ACCESS SHARE MODE"):
        background = Background(shop, PREPARE, limits=PATIENT)
        background.start_and_wait_until_blocked()
        time.sleep(0.8)  # longer than one lock_timeout: the first attempt has failed
    outcome = background.end()
    assert isinstance(outcome, dict), outcome
    assert outcome["steps"][0]["attempts"] > 1


def test_a_long_transaction_in_the_way_is_reported_before_the_first_try(
    shop: Options, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(step_runner, "LONG_LIVED_SECONDS", 0.5)
    screen = tmp_path / "progress.jsonl"
    screen.touch()
    query(shop, "CREATE SCHEMA orders_split")
    query(shop, "CREATE TABLE shop.shipments (id uuid PRIMARY KEY, address text NOT NULL, insured boolean NOT NULL)")
    with holding(shop, "LOCK TABLE shop.shipments IN ROW EXCLUSIVE MODE"):
        time.sleep(0.6)
        failure(shop, PREPARE, progress_file=str(screen))
    told = [line for line in map(json.loads, screen.read_text().splitlines()) if line["kind"] == "lock"]
    assert (told[0]["step"], told[0]["state"]) == ("key to shipments", "waiting")
    assert told[0]["reason"].startswith("Blockers before the first attempt: pid ")
    assert "application the till" in told[0]["reason"]
    steps = call(shop, PREPARE)["steps"]
    assert [step["report"] for step in steps] == [""] * 3


def test_an_index_build_tells_whom_it_waits_for(shop: Options, tmp_path: Path) -> None:
    screen = tmp_path / "progress.jsonl"
    screen.touch()
    with connect(shop, application_name="the till") as other, other.cursor() as cursor:
        background = Background(shop, PREPARE, progress_file=str(screen))
        cursor.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        cursor.execute("SELECT count(*) FROM pg_catalog.pg_class")
        background.start_and_wait_until_blocked()
        for _ in range(200):
            told = [line for line in map(json.loads, screen.read_text().splitlines()) if line["kind"] == "concurrently"]
            if told:
                break
            time.sleep(0.05)
        cursor.execute("COMMIT")
    assert isinstance(background.end(), dict)
    assert told[-1]["state"] == "waiting"
    assert "waiting for " in told[-1]["reason"], "the phase of the build is not told"
    assert "application the till" in told[-1]["reason"]


def test_the_second_table_gets_a_tenth_and_the_blocked_step_can_be_resumed(
    shop: Options, monkeypatch: pytest.MonkeyPatch
) -> None:
    timeouts: list[tuple[str, float]] = []
    lock_table = blockers.lock_table

    def remember(cursor: Any, lock: Any, timeout_seconds: float) -> None:
        timeouts.append((lock.table, round(timeout_seconds, 3)))
        lock_table(cursor, lock, timeout_seconds)

    monkeypatch.setattr(blockers, "lock_table", remember)
    query(shop, "CREATE SCHEMA orders_split")
    query(shop, "CREATE TABLE shop.shipments (id uuid PRIMARY KEY, address text NOT NULL, insured boolean NOT NULL)")
    with holding(shop, "LOCK TABLE shop.shipments IN ROW EXCLUSIVE MODE"):
        error = failure(shop, PREPARE)
    assert "step 3 (key to shipments)" in error.msg
    assert error.left_as == "resumable"
    assert timeouts == [("shop.orders", 0.4), ("shop.shipments", 0.04)] * 2
    resumed = call(shop, PREPARE)
    assert [step["status"] for step in resumed["steps"]] == ["done_before", "done_before", "done"]


def test_behind_autovacuum_the_next_attempt_waits_longer_than_deadlock_timeout(
    shop: Options, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    set_local = blockers.set_local

    def remember(cursor: Any, name: str, seconds: float) -> None:
        if name == "lock_timeout":
            waits.append(round(seconds, 3))
        set_local(cursor, name, seconds)

    monkeypatch.setattr(blockers, "set_local", remember)
    monkeypatch.setattr(blockers, "is_autovacuum", lambda found: bool(found))
    monkeypatch.setattr(blockers, "deadlock_timeout_seconds", lambda cursor: 0.5)
    with holding(shop, "LOCK TABLE shop.orders IN ACCESS SHARE MODE"):
        failure(shop, PREPARE)
    assert waits == [0.4, 0.7]


@pytest.fixture
def autovacuum(server: Server, shop: Options) -> Iterator[None]:
    """Autovacuum is at work on shop.orders, and takes its time."""
    admin = server.superuser_options
    slow = "autovacuum_vacuum_threshold = 0, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_cost_limit = 1"
    query(shop, f"ALTER TABLE shop.orders SET ({slow}, autovacuum_vacuum_cost_delay = 100)")
    query(
        shop,
        "INSERT INTO shop.orders (id, customer) SELECT gen_random_uuid(), n::text FROM generate_series(1, 30000) n",
    )
    query(shop, "DELETE FROM shop.orders WHERE customer ~ '^[0-9]'")
    for setting in ("autovacuum_naptime = '1s'", "autovacuum = on"):
        query(admin, f"ALTER SYSTEM SET {setting}")
    query(admin, "SELECT pg_reload_conf()")
    at_work = "SELECT 1 FROM pg_locks WHERE relation = 'shop.orders'::regclass AND mode = 'ShareUpdateExclusiveLock'"
    try:
        deadline = time.monotonic() + 30
        while not query(shop, at_work):
            assert time.monotonic() < deadline, "autovacuum does not come"
            time.sleep(0.05)
        yield
    finally:
        for setting in ("autovacuum_naptime", "autovacuum"):
            query(admin, f"ALTER SYSTEM RESET {setting}")
        query(admin, "SELECT pg_reload_conf()")


def test_autovacuum_gives_way_though_the_role_may_not_see_what_it_is(shop: Options, autovacuum: None) -> None:
    hidden = "SELECT backend_type IS NULL FROM pg_stat_activity WHERE usesysid IS NULL AND datname = current_database()"
    assert (True,) in query(shop, hidden), "the role sees everything: nothing was shown"
    looked = run_module(
        "pg_environment_info", connection=dict(shop), plan=plan_of(), plan_settings=SETTINGS, fail_on_blocking=False
    )
    found = {entry["name"]: entry for entry in looked["findings"]}
    assert found["autovacuum"]["severity"] == "information"
    assert "lock_holder" not in found
    with connect(shop) as connection, connection.cursor() as cursor:
        signals = Health(["shop.orders"], {})
        signals.read(cursor)
    assert signals.readings["autovacuum"] == 1
    prepared = call(shop, PREPARE)
    assert max(step["attempts"] for step in prepared["steps"]) == 2


def test_a_locked_row_fails_the_batch_and_names_who_holds_it(shop: Options) -> None:
    call(shop, PREPARE)
    locked = value(shop, f"SELECT {SOME_ORDER}")
    with holding(shop, f"SELECT 1 FROM shop.orders WHERE id = {SOME_ORDER} FOR UPDATE"):
        error = failure(shop, MOVE)
    assert "step 2 (move the addresses)" in error.msg
    assert "In the batch of shop.orders after " in error.msg
    assert f"The row that cannot be moved is {locked}. Given up after " in error.msg
    assert "Blocked by pid" in error.msg
    assert "application the till" in error.msg
    assert error.left_as == "resumable"
    assert error.facts["steps"][0]["status"] == "done"
    call(shop, MOVE)
    moved_once(shop)


# --- what an earlier run left behind -------------------------------------------------------------------------------


def test_an_invalid_index_is_dropped_and_built_again(server: Server, shop: Options) -> None:
    query(shop, "ALTER TABLE shop.orders ADD COLUMN shipment_id uuid")
    query(shop, "CREATE INDEX orders_shipment_id ON shop.orders (shipment_id) WHERE shipment_id IS NOT NULL")
    superuser = server.options_for(shop["dbname"], user=server.superuser_options["user"])
    query(superuser, "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'shop.orders_shipment_id'::regclass")
    before = value(shop, "SELECT 'shop.orders_shipment_id'::regclass::oid")
    result = call(shop, PREPARE)
    assert result["steps"][1]["status"] == "done"
    assert 'DROP INDEX CONCURRENTLY IF EXISTS "shop"."orders_shipment_id"' in result["queries"]
    assert value(shop, "SELECT indisvalid FROM pg_index WHERE indexrelid = 'shop.orders_shipment_id'::regclass")
    assert value(shop, "SELECT 'shop.orders_shipment_id'::regclass::oid") != before


def test_a_valid_index_with_the_same_definition_is_kept(shop: Options) -> None:
    query(shop, "ALTER TABLE shop.orders ADD COLUMN shipment_id uuid")
    query(
        shop,
        "CREATE INDEX orders_shipment_id ON shop.orders USING btree (shipment_id) WHERE ((shipment_id IS NOT NULL))",
    )
    before = value(shop, "SELECT 'shop.orders_shipment_id'::regclass::oid")
    assert call(shop, PREPARE)["steps"][1]["status"] == "already_present"
    assert value(shop, "SELECT 'shop.orders_shipment_id'::regclass::oid") == before


def test_an_index_with_another_definition_is_refused(shop: Options) -> None:
    query(shop, "CREATE INDEX orders_shipment_id ON shop.orders (customer)")
    error = failure(shop, PREPARE)
    assert "an index of this name exists with another definition" in error.msg
    assert "Found: USING btree (customer). In the file: USING btree (shipment_id) WHERE" in error.msg
    assert error.left_as == "resumable"


def test_an_index_build_that_waits_too_long_names_the_transaction_and_is_built_again(shop: Options) -> None:
    with connect(shop, application_name="the till") as other, other.cursor() as cursor:
        background = Background(shop, PREPARE, limits={**HASTY, "long_step_limit_seconds": 3.0})
        cursor.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        cursor.execute("SELECT count(*) FROM pg_catalog.pg_class")  # an old snapshot, and no lock on the table
        background.start_and_wait_until_blocked()
        outcome = background.end()
    assert isinstance(outcome, RunbookError)
    assert "step 2 (index on the new column)" in outcome.msg
    assert "(long_step_limit_seconds). Blocked by pid" in outcome.msg
    assert "application the till" in outcome.msg
    assert outcome.left_as == "resumable"
    assert not value(shop, "SELECT indisvalid FROM pg_index WHERE indexrelid = 'shop.orders_shipment_id'::regclass")
    assert call(shop, PREPARE)["steps"][1]["status"] == "done"
    assert value(shop, "SELECT indisvalid FROM pg_index WHERE indexrelid = 'shop.orders_shipment_id'::regclass")


# --- kills and resumes ---------------------------------------------------------------------------------------------


def test_a_failure_inside_the_backfill_goes_on_after_its_last_batch(shop: Options) -> None:
    call(shop, PREPARE)
    query(shop, "INSERT INTO shop.brake VALUES (100)")
    error = failure(shop, MOVE)
    assert "the brake is on. hint: DELETE FROM shop.brake" in error.msg
    assert (error.left_as, error.next_command) == ("resumable", "run the same task again")
    already = value(shop, "SELECT count(*) FROM shop.shipments")
    assert (error.facts["changed"], error.facts["rows_moved"]) == (True, already)
    assert 100 < already < ORDERS_WITH_ADDRESS
    query(shop, "DELETE FROM shop.brake")
    resumed = call(shop, MOVE)
    assert [step["status"] for step in resumed["steps"]] == ["done_before", "done", "done"]
    assert resumed["rows_moved"] == ORDERS_WITH_ADDRESS
    moved_once(shop)


def test_a_killed_session_is_resumed_with_each_row_once(shop: Options) -> None:
    call(shop, PREPARE)
    with holding(shop, f"SELECT 1 FROM shop.orders WHERE id = {SOME_ORDER} FOR UPDATE"):
        background = Background(shop, MOVE, limits=PATIENT)
        pid = background.start_and_wait_until_blocked()
        query(shop, "SELECT pg_terminate_backend(%s)", (pid,))
        outcome = background.end()
    assert isinstance(outcome, RunbookError)
    assert "closed the connection" in outcome.msg or "administrator command" in outcome.msg
    assert outcome.left_as == "resumable"
    assert 0 < value(shop, "SELECT count(*) FROM shop.shipments") < ORDERS_WITH_ADDRESS
    call(shop, MOVE)
    moved_once(shop)


def test_rows_that_come_behind_the_walk_are_moved_before_it_ends(shop: Options) -> None:
    call(shop, PREPARE)
    with holding(shop, f"SELECT 1 FROM shop.orders WHERE id = {SOME_ORDER} FOR UPDATE"):
        background = Background(shop, MOVE, limits=PATIENT)
        background.start_and_wait_until_blocked()
        smallest = "00000000-0000-0000-0000-000000000001"
        query(shop, "INSERT INTO shop.orders (id, customer, address) VALUES (%s, 'late', 'street')", (smallest,))
    outcome = background.end()
    assert isinstance(outcome, dict), outcome
    assert outcome["rows_moved"] == ORDERS_WITH_ADDRESS + 1
    assert value(shop, "SELECT count(*) FROM shop.orders WHERE address IS NOT NULL AND shipment_id IS NULL") == 0


def test_a_half_applied_migration_can_be_reverted(shop: Options) -> None:
    call(shop, PREPARE)
    query(shop, "INSERT INTO shop.brake VALUES (100)")
    failure(shop, MOVE)
    call(shop, MOVE, state="reverted")
    assert value(shop, "SELECT count(*) FROM shop.shipments") == 0
    query(shop, "DELETE FROM shop.brake")
    again = call(shop, MOVE)
    assert [step["status"] for step in again["steps"]] == ["done"] * 3
    assert again["rows_moved"] == ORDERS_WITH_ADDRESS


def test_a_step_edited_after_a_failure_runs_again(shop: Options, tmp_path: Path) -> None:
    call(shop, PREPARE)
    query(shop, "INSERT INTO shop.brake VALUES (100)")
    failure(shop, MOVE)
    directory = copy_plan(tmp_path)
    replace_in(directory / "migrations" / "20250301000001_move_addresses.sql", "'the brake is on'", "'stop'")
    error = failure(shop, MOVE, plan=plan_of(directory))
    assert "stop. hint" in error.msg, "the edited function was not made"


# --- one writer at a time ------------------------------------------------------------------------------------------


def test_a_second_run_is_refused_and_told_who_is_at_work(shop: Options) -> None:
    call(shop, PREPARE)
    with holding(shop, f"SELECT 1 FROM shop.orders WHERE id = {SOME_ORDER} FOR UPDATE"):
        first = Background(shop, MOVE, limits=PATIENT)
        first.start_and_wait_until_blocked()
        error = failure(shop, MOVE)
        held = "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND classid = %s AND objid = %s"
        pid = value(shop, held, lease.LOCK_KEY)
    assert "another run is active: run 2" in error.msg
    assert f"(session {pid} of user postgres" in error.msg
    assert "has held the lease for " in error.msg
    assert f"SELECT pg_terminate_backend({pid})" in error.next_command
    assert error.left_as == "unchanged"
    assert isinstance(first.end(), dict)
    moved_once(shop)


def test_of_two_runs_started_at_once_one_writes(shop: Options) -> None:
    call(shop, PREPARE)
    both = [Background(shop, MOVE), Background(shop, MOVE)]
    for one in both:
        one.start()
    outcomes = [one.end() for one in both]
    refused = [outcome.msg for outcome in outcomes if isinstance(outcome, RunbookError)]
    # The later one is refused, or comes when the earlier one is through and finds nothing to do.
    assert len(refused) <= 1
    assert all("another run" in msg for msg in refused), refused
    assert sum(isinstance(outcome, dict) and outcome["changed"] for outcome in outcomes) == 1
    moved_once(shop)


def test_a_run_that_lost_its_lease_stops_writing(shop: Options) -> None:
    call(shop, PREPARE)
    with holding(shop, f"SELECT 1 FROM shop.orders WHERE id = {SOME_ORDER} FOR UPDATE"):
        background = Background(shop, MOVE, limits={**PATIENT, "batch_lock_timeout_seconds": 0.3, "batch_attempts": 50})
        background.start_and_wait_until_blocked()
        # Between two attempts of the batch the lease's row is free: somebody else takes it.
        query(shop, "UPDATE migration_runbook.lease SET fence = fence + 1, run_id = 'other', holder = 'someone else'")
        outcome = background.end()
    assert isinstance(outcome, RunbookError)
    assert "has lost its lease to run other (someone else): this session stops writing" in outcome.msg
    assert outcome.left_as == "resumable"


def test_a_takeover_ends_the_sessions_of_a_dead_run(shop: Options) -> None:
    call(shop, PREPARE)
    fence = value(shop, "SELECT fence FROM migration_runbook.lease")
    left_behind = lease.application_name("20250101T000000Z-dead00")
    with connect(shop, application_name=left_behind) as worker, worker.cursor() as cursor:
        cursor.execute("BEGIN")
        cursor.execute("SELECT fence FROM migration_runbook.lease FOR SHARE")
        pid = worker.info.backend_pid
        call(shop, MOVE)
        assert query(shop, "SELECT 1 FROM pg_stat_activity WHERE pid = %s", (pid,)) == []
    assert value(shop, "SELECT fence FROM migration_runbook.lease") > fence


def test_the_lease_is_free_after_a_failure(shop: Options) -> None:
    call(shop, PREPARE)
    query(shop, "INSERT INTO shop.brake VALUES (0)")
    failure(shop, MOVE)
    with session(shop, SessionSettings()) as connection, lease.held(connection, "20250101T000000Z-000000") as held:
        assert held.fence > 0
    assert value(shop, "SELECT released_at IS NOT NULL FROM migration_runbook.lease")
