"""The engine at work: workers, ranges, halved batches, pauses, an operator who speaks, and an end that is proven."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.runbook.control import control
from ansible.module_utils.runbook.database.connection import SessionSettings, session
from ansible.module_utils.runbook.errors import RunbookError
from ansible.module_utils.runbook.journal import guard, runs
from ansible.module_utils.runbook.migration.backfill import ranges, throttle
from ansible.module_utils.runbook.migration.migrate import migrate
from support.servers import Options, connect, query, value
from support.tiny import MOVE, PREPARE, SETTINGS, copy_plan, load_shop, plan_of, replace_in

ORDERS = 2000
SMALL = {"batch_rows_least": 20, "batch_rows_most": 20, "range_rows": 200, "workers": 2}
RUN = "20260101T000000Z-abcdef"


@pytest.fixture
def shop(empty_database: Options) -> Options:
    """A shop with 2,000 orders that carry an address, and the plan's first migration applied."""
    load_shop(empty_database)
    query(empty_database, "DELETE FROM shop.orders")
    query(
        empty_database,
        "INSERT INTO shop.orders (id, customer, address)"
        " SELECT md5(n::text)::uuid, 'customer ' || n, 'street ' || n FROM generate_series(1, %s) n",
        (ORDERS,),
    )
    query(empty_database, "ANALYZE shop.orders")
    call(empty_database, PREPARE)
    return empty_database


@pytest.fixture
def slow_plan(tmp_path: Path) -> dict[str, Any]:
    """The tiny plan, each of its batches 20 ms slower."""
    directory = copy_plan(tmp_path)
    replace_in(
        directory / "migrations" / f"{MOVE}_move_addresses.sql", "BEGIN\n", "BEGIN\n    PERFORM pg_sleep(0.02);\n"
    )
    return plan_of(directory)


def call(options: Options, version: str, **params: Any) -> dict[str, Any]:
    usual = {"connection": options, "plan": plan_of(), "plan_settings": SETTINGS, "state": "applied", "run": None}
    usual |= {"volume_class": "", "snapshot_counts": {}, "limits": SMALL}
    return migrate({**usual, "version": version, **params}, check_mode=False)


class Background:
    """A migration in a thread, as another terminal sees it."""

    def __init__(self, options: Options, **params: Any) -> None:
        self.options = options
        self.outcome: dict[str, Any] | RunbookError | None = None
        self._thread = threading.Thread(target=self._run, kwargs=params)
        self._thread.start()

    def _run(self, **params: Any) -> None:
        try:
            self.outcome = call(self.options, MOVE, **params)
        except RunbookError as error:
            self.outcome = error

    def end(self) -> dict[str, Any] | RunbookError | None:
        self._thread.join(60)
        assert not self._thread.is_alive()
        return self.outcome

    def say(self, **values: Any) -> None:
        """Write the control row, as pg_control does."""
        with connect(self.options) as connection, connection.cursor() as cursor:
            cursor.execute("BEGIN")
            before = control.lock(cursor, self.run_id)
            control.write(cursor, self.run_id, control.Control(**{"command": before.command, **values}), "the test")
            cursor.execute("COMMIT")

    @property
    def run_id(self) -> str:
        wait_until(lambda: bool(query(self.options, "SELECT 1 FROM migration_runbook.batch")))
        return str(value(self.options, "SELECT run_id FROM migration_runbook.batch LIMIT 1"))


def wait_until(holds: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.02)


def moved(options: Options) -> int:
    return int(value(options, "SELECT count(*) FROM shop.shipments"))


def batches(options: Options, what: str) -> Any:
    return value(options, f"SELECT {what} FROM migration_runbook.batch WHERE version = %s", (MOVE,))


def all_moved_once(options: Options) -> None:
    """Each order has its shipment, and the journal's batches add up to them."""
    (found,) = query(
        options,
        "SELECT count(*), count(DISTINCT o.shipment_id), (SELECT count(*) FROM shop.shipments),"
        " (SELECT sum(b.rows_moved) FROM migration_runbook.batch b) FROM shop.orders o WHERE o.address IS NOT NULL",
    )
    assert len(set(found)) == 1, found


# --- ranges and workers --------------------------------------------------------------------------------------------


def test_ranges_cover_every_key_once(shop: Options) -> None:
    with session(shop, SessionSettings()) as connection, connection.cursor() as cursor:
        found = ranges.divide(cursor, "shop.orders", "id", 200, 2)
    assert 8 <= len(found) <= 10
    assert (found[0].after, found[-1].upto) == (None, None)
    assert [one.upto for one in found[:-1]] == [one.after for one in found[1:]]
    sizes = [
        value(
            shop,
            "SELECT count(*) FROM shop.orders WHERE (%s::uuid IS NULL OR id > %s::uuid)"
            " AND (%s::uuid IS NULL OR id <= %s::uuid)",
            (one.after, one.after, one.upto, one.upto),
        )
        for one in found
    ]
    assert sum(sizes) == ORDERS
    assert max(sizes) < 500


@pytest.mark.parametrize(
    ("looked_at", "times"),
    [("", 1), ("(shipment_id)", 1), ("(id)", 2)],  # shipment_id is new: nothing is known of it
)
def test_the_table_is_analyzed_for_the_walk_once(shop: Options, tmp_path: Path, looked_at: str, times: int) -> None:
    directory, mark = copy_plan(tmp_path), "-- step: move the addresses\n"
    step = f"-- step: look\nANALYZE shop.orders {looked_at};\n\n" if looked_at else ""
    replace_in(directory / "migrations" / f"{MOVE}_move_addresses.sql", mark, step + mark)
    analyzed = "SELECT analyze_count FROM pg_stat_user_tables WHERE relid = 'shop.orders'::regclass"
    before = value(shop, analyzed)
    call(shop, MOVE, plan=plan_of(directory))
    at_the_end = 1  # VACUUM (ANALYZE) behind the walk
    assert value(shop, analyzed) - before == times + at_the_end


@pytest.mark.parametrize("type_name", ["bigint", "text", "timestamptz"])
def test_keys_of_other_types_are_divided_in_their_own_order(shop: Options, type_name: str) -> None:
    expressions = {"bigint": "n", "text": "'key ' || n", "timestamptz": "timestamptz '2024-01-01' + n * interval '1 h'"}
    query(shop, f"CREATE TABLE shop.other (id {type_name} PRIMARY KEY)")
    query(shop, f"INSERT INTO shop.other SELECT {expressions[type_name]} FROM generate_series(-1000, 1000) n")
    query(shop, "ANALYZE shop.other")
    with session(shop, SessionSettings()) as connection, connection.cursor() as cursor:
        found = ranges.divide(cursor, "shop.other", "id", 200, 2)
        cursor.execute(
            f"SELECT bool_and(a < b) FROM unnest(%s::{type_name}[], %s::{type_name}[]) AS pair (a, b)",
            ([one.after for one in found[1:-1]], [one.upto for one in found[1:-1]]),
        )
        assert cursor.fetchone() == (True,)
        (alone,) = ranges.around(cursor, "shop.other", "id", [str(found[0].upto)])
    assert alone.upto == found[0].upto
    assert alone.after is not None


def test_two_workers_share_the_ranges_and_move_each_row_once(shop: Options, slow_plan: dict[str, Any]) -> None:
    result = call(shop, MOVE, plan=slow_plan)
    assert result["rows_moved"] == ORDERS
    all_moved_once(shop)
    per_worker = query(shop, "SELECT worker, sum(rows_moved) FROM migration_runbook.batch GROUP BY 1 ORDER BY 1")
    assert [worker for worker, _ in per_worker] == [1, 2]
    assert min(rows for _, rows in per_worker) > ORDERS / 4, "one of them did almost everything"
    ours = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'runbook%'"
    wait_until(lambda: value(shop, ours) == 0, seconds=5)  # a server process ends a moment after its connection


def test_a_slow_range_does_not_hold_the_others(shop: Options) -> None:
    first = "(SELECT id FROM shop.orders ORDER BY id LIMIT 1)"
    with connect(shop) as other, other.cursor() as cursor:
        cursor.execute("BEGIN")
        cursor.execute(f"SELECT FROM shop.orders WHERE id = {first} FOR UPDATE")
        background = Background(shop)
        wait_until(lambda: moved(shop) > ORDERS * 0.8)
        cursor.execute("COMMIT")
    assert isinstance(background.end(), dict)
    all_moved_once(shop)


def test_a_batch_waits_for_no_disk_and_locks_its_rows_for_its_budget(shop: Options) -> None:
    query(shop, "ALTER TABLE shop.shipments ADD COLUMN how text DEFAULT current_setting('synchronous_commit')")
    call(shop, MOVE)
    assert query(shop, "SELECT DISTINCT how FROM shop.shipments") == [("off",)]


# --- batches that fail ---------------------------------------------------------------------------------------------


def test_a_row_that_cannot_be_moved_is_found_by_halving_and_named(shop: Options) -> None:
    bad = value(shop, "UPDATE shop.orders SET address = '' WHERE customer = 'customer 777' RETURNING id::text")
    query(shop, "ALTER TABLE shop.shipments ADD CONSTRAINT somewhere CHECK (address <> '')")
    with pytest.raises(RunbookError) as caught:
        call(shop, MOVE)
    assert f"The row that cannot be moved is {bad}." in caught.value.msg
    assert 'violates check constraint "somewhere"' in caught.value.msg
    assert (caught.value.left_as, caught.value.sqlstate) == ("resumable", "23514")
    query(shop, "UPDATE shop.orders SET address = 'found' WHERE id = %s", (bad,))
    assert call(shop, MOVE)["rows_moved"] == ORDERS
    all_moved_once(shop)


def test_the_row_is_named_where_a_batch_is_one_row_and_others_before_it_want_no_move(shop: Options) -> None:
    first, second, bad = (key for (key,) in query(shop, "SELECT id::text FROM shop.orders ORDER BY id LIMIT 3"))
    query(shop, "UPDATE shop.orders SET address = NULL WHERE id IN (%s, %s)", (first, second))
    query(shop, "UPDATE shop.orders SET address = '' WHERE id = %s", (bad,))
    query(shop, "ALTER TABLE shop.shipments ADD CONSTRAINT somewhere CHECK (address <> '')")
    with pytest.raises(RunbookError) as caught:
        call(shop, MOVE, limits={**SMALL, "batch_rows": 1, "batch_rows_least": 1, "batch_rows_most": 1, "workers": 1})
    assert f"The row that cannot be moved is {bad}." in caught.value.msg


def test_a_deadlock_is_tried_again(shop: Options, tmp_path: Path) -> None:
    directory = copy_plan(tmp_path)
    query(shop, "CREATE SEQUENCE shop.tries")
    replace_in(
        directory / "migrations" / f"{MOVE}_move_addresses.sql",
        "BEGIN\n",
        "BEGIN\n    IF nextval('shop.tries') = 5 THEN RAISE EXCEPTION 'made up' USING ERRCODE = '40P01'; END IF;\n",
    )
    assert call(shop, MOVE, plan=plan_of(directory))["rows_moved"] == ORDERS
    assert batches(shop, "max(attempts)") == 2
    all_moved_once(shop)


def test_batches_grow_within_their_bounds_towards_the_budget(shop: Options) -> None:
    bounds = {"batch_rows": 10, "batch_rows_least": 10, "batch_rows_most": 300, "batch_budget_milliseconds": 60000}
    call(shop, MOVE, limits={**bounds, "workers": 1})
    sizes = [rows for (rows,) in query(shop, "SELECT rows_moved FROM migration_runbook.batch ORDER BY id")]
    assert sizes[:4] == [10, 10, 20, 40]  # the first one plans every statement, and teaches nothing
    assert max(sizes) == 300


# --- what the operator says ----------------------------------------------------------------------------------------


def test_pause_and_resume_take_effect_within_a_batch(shop: Options, slow_plan: dict[str, Any]) -> None:
    background = Background(shop, plan=slow_plan)
    background.say(command="pause")
    # Each worker ends the batch it is in, and one that read the row just before; then nothing moves.
    time.sleep(0.3)
    standing = moved(shop)
    time.sleep(0.5)
    assert moved(shop) == standing < ORDERS
    assert query(shop, "SELECT signal, reason, ended_at FROM migration_runbook.pause") == [
        ("operator", "paused by the test", None)
    ]
    background.say(command="run")
    assert isinstance(background.end(), dict)
    assert value(shop, "SELECT ended_at > started_at FROM migration_runbook.pause")
    all_moved_once(shop)


def test_a_pause_is_not_ended_by_a_batch_that_takes_long(shop: Options, tmp_path: Path) -> None:
    """It holds the lease, which a paused run says that it lives in."""
    directory = copy_plan(tmp_path)
    path = directory / "migrations" / f"{MOVE}_move_addresses.sql"
    # While the brake of this test is on, a batch waits for it behind the lease.
    waits = "PERFORM pg_sleep(CASE WHEN (SELECT on_ FROM shop.long_batch) THEN 2.5 ELSE 0.01 END);"
    replace_in(path, "BEGIN\n", f"BEGIN\n    {waits}\n")
    query(shop, "CREATE TABLE shop.long_batch AS SELECT false AS on_")
    progress = tmp_path / "progress.jsonl"
    progress.touch()
    background = Background(shop, plan=plan_of(directory), progress_file=str(progress))
    assert background.run_id
    query(shop, "UPDATE shop.long_batch SET on_ = true")
    time.sleep(0.2)
    background.say(command="pause")
    # A short batch of the other worker has read it, or the first long one does.
    wait_until(lambda: bool(query(shop, "SELECT 1 FROM migration_runbook.pause")))
    query(shop, "UPDATE shop.long_batch SET on_ = false")
    time.sleep(1.5)
    assert background.outcome is None
    assert query(shop, "SELECT signal, ended_at FROM migration_runbook.pause") == [("operator", None)]
    background.say(command="run")
    assert isinstance(background.end(), dict)
    all_moved_once(shop)


def test_what_stopped_a_paused_run_is_told_and_not_the_pause(
    shop: Options, slow_plan: dict[str, Any], tmp_path: Path
) -> None:
    progress = tmp_path / "progress.jsonl"
    progress.touch()
    limits = {**SMALL, "postpone_limit_seconds": 0.5}
    background = Background(shop, plan=slow_plan, progress_file=str(progress), limits=limits)
    background.say(command="pause")
    assert isinstance(background.end(), RunbookError)
    last = told(progress)[-1]
    assert last["state"] == "failed"
    assert "was paused for longer than 0.5 s: paused by the test" in last["reason"]


def test_abort_ends_the_run_as_resumable_and_the_next_start_goes_on(shop: Options, slow_plan: dict[str, Any]) -> None:
    background = Background(shop, plan=slow_plan)
    background.say(command="abort")
    outcome = background.end()
    assert isinstance(outcome, RunbookError)
    assert "aborted by the test" in outcome.msg
    assert outcome.left_as == "resumable"
    already = moved(shop)
    assert 0 < already < ORDERS
    assert call(shop, MOVE, plan=slow_plan)["rows_moved"] == ORDERS  # another call: another run id, nobody aborted it
    all_moved_once(shop)


def test_size_and_workers_are_set_while_it_runs(shop: Options, slow_plan: dict[str, Any]) -> None:
    background = Background(shop, plan=slow_plan, limits={**SMALL, "workers": 1})
    background.say(batch_rows=7, workers=3)
    wait_until(lambda: batches(shop, "count(*) FILTER (WHERE rows_moved = 7 AND worker = 3)") > 0)
    background.say(batch_rows=11, workers=1)
    assert isinstance(background.end(), dict)
    newest = query(shop, "SELECT worker, rows_moved FROM migration_runbook.batch ORDER BY id DESC LIMIT 6 OFFSET 1")
    assert {worker for worker, _ in newest} == {1}
    assert max(rows for _, rows in newest) == 11
    all_moved_once(shop)


def test_a_postponed_contract_waits_until_it_is_told(shop: Options) -> None:
    plan = plan_of()
    next(one for one in plan["migrations"] if one["version"] == MOVE)["contract"] = True
    background = Background(shop, plan=plan, postpone_contract=True)
    wait_until(lambda: bool(query(shop, "SELECT 1 FROM migration_runbook.pause WHERE signal = 'postponed'")))
    time.sleep(0.3)
    assert moved(shop) == 0
    run_id = value(shop, "SELECT run_id FROM migration_runbook.pause")
    with connect(shop) as connection, connection.cursor() as cursor:
        cursor.execute("BEGIN")
        control.lock(cursor, run_id)
        control.write(cursor, run_id, control.Control(postpone_contract=False), "the test")
        cursor.execute("COMMIT")
    assert isinstance(background.end(), dict)
    assert moved(shop) == ORDERS
    assert value(shop, "SELECT ended_at IS NOT NULL FROM migration_runbook.pause")


def test_a_contract_that_is_postponed_for_too_long_stops_and_changes_nothing(shop: Options) -> None:
    plan = plan_of()
    next(one for one in plan["migrations"] if one["version"] == MOVE)["contract"] = True
    with pytest.raises(RunbookError) as caught:
        call(shop, MOVE, plan=plan, postpone_contract=True, limits={**SMALL, "postpone_limit_seconds": 0.5})
    assert "stopped after more than 0.5 s: waiting before the contract migration; continue" in caught.value.msg
    assert caught.value.left_as == "unchanged"
    assert moved(shop) == 0


# --- health --------------------------------------------------------------------------------------------------------


def test_the_operators_query_pauses_while_it_returns_a_reason(
    shop: Options, slow_plan: dict[str, Any], tmp_path: Path
) -> None:
    query(shop, "CREATE TABLE shop.busy (why text)")
    query(shop, "INSERT INTO shop.busy VALUES ('the shop has a sale')")
    (tmp_path / "reason.sql").write_text("SELECT why FROM shop.busy")
    background = Background(shop, plan=slow_plan, health_query_file=str(tmp_path / "reason.sql"))
    wait_until(lambda: bool(query(shop, "SELECT 1 FROM migration_runbook.pause")))
    assert moved(shop) == 0
    assert query(shop, "SELECT signal, reason FROM migration_runbook.pause") == [
        ("operator_query", "the shop has a sale")
    ]
    query(shop, "DELETE FROM shop.busy")
    assert isinstance(background.end(), dict)
    all_moved_once(shop)


@contextlib.contextmanager
def an_application_at_work(options: Options) -> Iterator[None]:
    """Some hundred short transactions per second in a session of its own."""
    end = threading.Event()

    def work() -> None:
        with connect(options, application_name="the till") as connection, connection.cursor() as cursor:
            while not end.wait(0.002):
                cursor.execute("SELECT count(*) FROM shop.orders WHERE customer = 'customer 1'")

    till = threading.Thread(target=work)
    till.start()
    try:
        yield
    finally:
        end.set()
        till.join()


def told(path: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return [line for line in lines if line["kind"] == "backfill"]


def test_workers_give_way_while_the_application_works_until_the_operator_says_otherwise(
    shop: Options, slow_plan: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(throttle, "SLOW_SECONDS", 0.2)
    path = tmp_path / "progress.jsonl"
    path.touch()
    with session(shop, SessionSettings()) as connection, connection.cursor() as cursor:
        runs.open_run(connection, plan="orders_split", plan_hash="a" * 64, run_id=RUN)
        for phase in guard.REQUIRED_PHASES:
            runs.record(cursor, RUN, phase, "ok")
    journal = {"run": {"id": RUN, "plan_hash": "a" * 64}}
    limits = {**SMALL, "batch_rows": 10, "batch_rows_least": 10, "batch_rows_most": 10, "give_way_ratio": 4.0}
    since_event = "WHERE at > (SELECT min(at) FROM migration_runbook.event WHERE phase = 'pace')"
    with an_application_at_work(shop):
        background = Background(shop, plan=slow_plan, limits=limits, progress_file=str(path), **journal)
        wait_until(lambda: bool(query(shop, "SELECT 1 FROM migration_runbook.event WHERE phase = 'pace'")))
        wait_until(lambda: value(shop, f"SELECT count(*) FROM migration_runbook.batch {since_event}") >= 8)
        # Batches of at least 20 ms, and a rest of four times as long after each.
        apart = value(
            shop,
            "SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY apart) FROM (SELECT extract(epoch FROM at - lag(at)"
            f" OVER (PARTITION BY worker ORDER BY id)) AS apart FROM migration_runbook.batch {since_event}) AS batches",
        )
        background.say(levels={"transactions_per_second": {"slow": None}})
        assert isinstance(background.end(), dict)
    assert apart > 0.08, "nobody rested"
    all_moved_once(shop)
    slow = [line for line in told(path) if line["reason"]]
    assert {line["state"] for line in slow} == {"running"}
    events = "SELECT status, details ->> 'reason' FROM migration_runbook.event WHERE phase = 'pace' ORDER BY id"
    reasons = query(shop, events)
    assert [status for status, _ in reasons] == ["gives way", "full speed"]
    assert slow[0]["reason"] == f"gives way: {reasons[0][1]}"
    assert slow[0]["reason"].startswith("gives way: sessions other than the workers make ")
    assert slow[0]["reason"].endswith(" transactions per second (slow level 20)")


def test_the_batches_of_the_run_are_not_taken_for_the_application(
    shop: Options, slow_plan: dict[str, Any], tmp_path: Path
) -> None:
    path = tmp_path / "progress.jsonl"
    path.touch()
    # 200 batches by two workers: some 70 transactions per second, and time enough for a rate.
    limits = {**SMALL, "batch_rows": 10, "batch_rows_least": 10, "batch_rows_most": 10, "give_way_ratio": 4.0}
    call(shop, MOVE, plan=slow_plan, limits=limits, progress_file=str(path))
    assert batches(shop, "count(*) / extract(epoch FROM max(at) - min(at))") > 40, "too few to be mistaken for it"
    assert [line["reason"] for line in told(path) if line["reason"]] == []


def test_an_old_snapshot_pauses_and_a_pause_without_end_stops_the_run(shop: Options) -> None:
    with connect(shop, application_name="the till") as other, other.cursor() as cursor:
        cursor.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        cursor.execute("SELECT count(*) FROM pg_catalog.pg_class")
        time.sleep(0.2)
        with pytest.raises(RunbookError) as caught:
            call(
                shop,
                MOVE,
                health_levels={"oldest_snapshot_seconds": {"pause": 0.1}},
                limits={**SMALL, "pause_limit_seconds": 1.0},
            )
    assert "was paused for longer than 1 s: the oldest snapshot is" in caught.value.msg
    assert "dead rows cannot be pruned (pause level 0.1)" in caught.value.msg
    assert caught.value.left_as == "resumable"
    assert moved(shop) == 0
    call(shop, MOVE)
    all_moved_once(shop)


def test_an_abort_level_stops_the_run(shop: Options) -> None:
    with connect(shop) as other, other.cursor() as cursor:
        cursor.execute("BEGIN")
        cursor.execute("SELECT pg_catalog.txid_current()")
        with pytest.raises(RunbookError) as caught:
            call(shop, MOVE, health_levels={"oldest_transaction_seconds": {"abort": 0}})
    assert "stopped by the health signal oldest_transaction_seconds: the oldest transaction is" in caught.value.msg
    assert "(abort level 0)" in caught.value.msg
    assert moved(shop) == 0


def test_a_slot_that_is_not_read_is_a_signal(shop: Options) -> None:
    with connect({**shop, "user": "supabase_admin"}) as other, other.cursor() as cursor:
        cursor.execute("SELECT pg_create_logical_replication_slot('unread', 'test_decoding')")
        try:
            query(shop, "UPDATE shop.orders SET customer = customer || ' again'")
            cursor.execute("SELECT pg_switch_wal()")  # the test's server writes its log when it likes
            with pytest.raises(RunbookError) as caught:
                call(shop, MOVE, health_levels={"slot_lag_bytes": {"abort": 1000}})
        finally:
            cursor.execute("SELECT pg_drop_replication_slot('unread')")
    assert "a replication slot is " in caught.value.msg
    assert "bytes behind (abort level 1000)" in caught.value.msg


# --- the end -------------------------------------------------------------------------------------------------------


def with_remaining(tmp_path: Path) -> dict[str, Any]:
    directory = copy_plan(tmp_path)
    (directory / "queries" / "remaining.sql").write_text(
        "SELECT id::text AS key FROM shop.orders WHERE address IS NOT NULL AND shipment_id IS NULL LIMIT 1000"
    )
    replace_in(
        directory / "plan.yml",
        "backfill: {function: orders_split.move_addresses,",
        "backfill: {remaining: queries/remaining.sql, function: orders_split.move_addresses,",
    )
    return plan_of(directory)


def test_the_end_is_proven_by_the_plans_query_without_a_second_walk(shop: Options, tmp_path: Path) -> None:
    call(shop, MOVE, plan=with_remaining(tmp_path))
    assert batches(shop, "max(pass)") == 1
    all_moved_once(shop)


def test_rows_that_came_behind_the_walk_are_caught_up_alone(shop: Options, tmp_path: Path) -> None:
    late = "00000000-0000-0000-0000-000000000001"
    query(
        shop,
        # The last shipment of the backfill adds an order before its first key: no further pass over the keys finds it.
        "CREATE FUNCTION shop.come_late() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        f" IF (SELECT count(*) FROM shop.shipments) = {ORDERS} THEN"
        f" INSERT INTO shop.orders (id, customer, address) VALUES ('{late}', 'late', 'street') ON CONFLICT DO NOTHING;"
        " END IF; RETURN NULL; END $$",
    )
    query(shop, "CREATE TRIGGER late AFTER INSERT ON shop.shipments EXECUTE FUNCTION shop.come_late()")
    result = call(shop, MOVE, plan=with_remaining(tmp_path), limits={**SMALL, "workers": 1})
    assert result["rows_moved"] == ORDERS + 1
    assert query(shop, "SELECT after_key, upto_key, rows_moved FROM migration_runbook.batch WHERE pass = 2") == [
        (None, late, 1)
    ]
    all_moved_once(shop)


def with_left_aside(tmp_path: Path) -> dict[str, Any]:
    """With a limit the function leaves the first 60 orders to another one, which stops while the brake is on."""
    directory = copy_plan(tmp_path)
    path = directory / "migrations" / f"{MOVE}_move_addresses.sql"
    aside = "(most_rows IS NULL OR NOT EXISTS (SELECT FROM orders_split.aside AS a WHERE a.order_id = o.id))"
    replace_in(path, "AND o.address IS NOT NULL", f"AND o.address IS NOT NULL AND {aside}")
    replace_in(
        path,
        "-- step: move the addresses",
        """-- step: those that are left aside
CREATE TABLE IF NOT EXISTS orders_split.aside AS SELECT id AS order_id FROM shop.orders ORDER BY id LIMIT 60;
CREATE OR REPLACE FUNCTION orders_split.move_aside(
    after_key uuid, upto_key uuid, most_rows integer, OUT rows_moved bigint, OUT last_key uuid
) LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    ids uuid[] := ARRAY(
        SELECT a.order_id FROM orders_split.aside a
         WHERE (after_key IS NULL OR a.order_id > after_key) AND (upto_key IS NULL OR a.order_id <= upto_key)
         ORDER BY 1 LIMIT most_rows
    );
BEGIN
    IF (SELECT count(*) FROM shop.shipments) > (SELECT aside_after_rows FROM shop.aside_brake) THEN
        RAISE EXCEPTION 'the brake is on';
    END IF;
    last_key := CASE WHEN cardinality(ids) = most_rows THEN ids[most_rows] END;
    INSERT INTO shop.shipments (id, address, insured) SELECT id, address, true FROM shop.orders WHERE id = ANY (ids);
    UPDATE shop.orders SET shipment_id = id WHERE id = ANY (ids);
    GET DIAGNOSTICS rows_moved = ROW_COUNT;
END $$;

-- step: move the addresses""",
    )
    replace_in(
        directory / "plan.yml",
        "backfill: {function: orders_split.move_addresses,",
        "backfill: {left_aside: {function: orders_split.move_aside, table: orders_split.aside, key: order_id},"
        " remaining: queries/remaining.sql, function: orders_split.move_addresses,",
    )
    (directory / "queries" / "remaining.sql").write_text(
        "SELECT id::text AS key FROM shop.orders WHERE address IS NOT NULL AND shipment_id IS NULL LIMIT 1000"
    )
    return plan_of(directory)


def test_rows_that_are_left_aside_are_walked_next_and_resumed_there(shop: Options, tmp_path: Path) -> None:
    plan = with_left_aside(tmp_path)
    query(shop, f"CREATE TABLE shop.aside_brake AS SELECT {ORDERS - 40} AS aside_after_rows")
    with pytest.raises(RunbookError) as caught:
        call(shop, MOVE, plan=plan, limits={**SMALL, "workers": 1})
    assert "the brake is on" in caught.value.msg
    assert "In the batch of orders_split.aside after " in caught.value.msg
    assert caught.value.left_as == "resumable"
    by_pass = "SELECT pass, sum(rows_moved)::integer, count(*) FROM migration_runbook.batch GROUP BY 1 ORDER BY 1"
    (first, moved_first, batches_first), (second, moved_second, _) = query(shop, by_pass)
    assert (first, moved_first, second) == (1, ORDERS - 60, 2)
    assert 0 < moved_second < 60
    query(shop, "DROP TABLE shop.aside_brake; CREATE TABLE shop.aside_brake (aside_after_rows integer)")
    assert call(shop, MOVE, plan=plan)["rows_moved"] == ORDERS
    assert query(shop, by_pass)[0] == (1, ORDERS - 60, batches_first)
    assert query(shop, by_pass)[1][:2] == (2, 60)
    all_moved_once(shop)


def test_rows_that_are_never_moved_stop_the_run_after_some_passes(shop: Options, tmp_path: Path) -> None:
    plan = with_remaining(tmp_path)
    query(shop, "ALTER TABLE shop.orders ADD COLUMN note text")
    Path(plan["migrations"][1]["backfill"]["remaining"]).write_text("SELECT id::text AS key FROM shop.orders LIMIT 3")
    with pytest.raises(RunbookError) as caught:
        call(shop, MOVE, plan=plan)
    assert "rows remain after 10 passes; the last one moved 0." in caught.value.msg
    assert caught.value.left_as == "resumable"
    Path(plan["migrations"][1]["backfill"]["remaining"]).write_text("SELECT id::text FROM shop.orders WHERE false")
    assert call(shop, MOVE, plan=plan)["rows_moved"] == ORDERS, "the cause is mended, and the run still does not go on"


def test_what_remains_is_asked_for_as_long_as_somebody_locks_what_is_read(shop: Options, tmp_path: Path) -> None:
    """The question makes nobody wait, so it may wait itself: longer than an attempt that others wait behind."""
    plan = with_remaining(tmp_path)
    query(shop, "CREATE TABLE shop.gate (id integer)")
    Path(plan["migrations"][1]["backfill"]["remaining"]).write_text(
        "SELECT id::text AS key FROM shop.orders WHERE address IS NOT NULL AND shipment_id IS NULL"
        " AND NOT EXISTS (SELECT FROM shop.gate)"
    )
    waits = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'shop.gate'::regclass"
    with connect(shop) as holder, holder.cursor() as cursor:
        cursor.execute("BEGIN")
        cursor.execute("LOCK TABLE shop.gate IN ACCESS EXCLUSIVE MODE")
        background = Background(shop, plan=plan, limits={**SMALL, "lock_timeout_seconds": 0.1})
        wait_until(lambda: value(shop, waits) == 1)
        until = time.monotonic() + 0.5
        while time.monotonic() < until:
            assert value(shop, waits) == 1
            time.sleep(0.02)
        cursor.execute("ROLLBACK")
    result = background.end()
    assert isinstance(result, dict), result
    assert result["rows_moved"] == ORDERS
    all_moved_once(shop)


def test_a_table_without_rows_is_walked_to_its_end(shop: Options, tmp_path: Path) -> None:
    query(shop, "TRUNCATE shop.orders CASCADE")
    assert call(shop, MOVE, plan=with_remaining(tmp_path))["rows_moved"] == 0


def test_keys_that_the_walked_table_does_not_have_are_refused(shop: Options, tmp_path: Path) -> None:
    plan = with_remaining(tmp_path)
    Path(plan["migrations"][1]["backfill"]["remaining"]).write_text(
        "SELECT '00000000-0000-0000-0000-00000000000f' AS key"
    )
    with pytest.raises(RunbookError) as caught:
        call(shop, MOVE, plan=plan)
    assert "returns 1 keys that do not exist in shop.orders, for example 00000000-0000" in caught.value.msg
    assert (caught.value.left_as, caught.value.object_name) == ("resumable", "shop.orders")


def test_a_killed_worker_session_is_resumed_where_each_range_stood(shop: Options, slow_plan: dict[str, Any]) -> None:
    background = Background(shop, plan=slow_plan)
    wait_until(lambda: moved(shop) > 200)
    a_worker = "application_name LIKE 'runbook % migration' AND query LIKE '%\"move_addresses\"%'"
    in_a_batch = f"{a_worker} AND state = 'active'"
    # A look may fall between two batches: then nobody was hit.
    wait_until(lambda: bool(query(shop, f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {in_a_batch}")))
    outcome = background.end()
    assert isinstance(outcome, RunbookError)
    assert outcome.left_as == "resumable"
    before = batches(shop, "count(*)")
    call(shop, MOVE, plan=slow_plan)
    all_moved_once(shop)
    assert batches(shop, "count(*) FILTER (WHERE rows_moved = 0 AND upto_key IS NOT NULL)") == 0, (
        "keys that were done were walked again"
    )
    assert batches(shop, "count(*)") > before


# --- progress ------------------------------------------------------------------------------------------------------


def test_progress_is_true_while_it_runs(shop: Options, slow_plan: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "progress.jsonl"
    path.touch()
    result = call(shop, MOVE, plan=slow_plan, progress_file=str(path))
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    lines = [line for line in lines if line["kind"] == "backfill"]
    done = [line["rows_done"] for line in lines]
    assert done == sorted(done)
    assert len(set(done)) > 2, "it told nothing between the beginning and the end"
    assert lines[-1]["state"] == "done"
    assert (lines[-1]["rows_done"], lines[-1]["rows_total"]) == (ORDERS, ORDERS)
    assert {line["run_id"] for line in lines} == {result["run_id"]}
    assert lines[-1]["workers"] == 2


def test_a_progress_file_that_is_gone_stops_nothing(shop: Options, tmp_path: Path) -> None:
    call(shop, MOVE, progress_file=str(tmp_path / "gone.jsonl"))
    all_moved_once(shop)


def test_a_lost_server_connection_is_no_silent_end(shop: Options, slow_plan: dict[str, Any]) -> None:
    background = Background(shop, plan=slow_plan)
    wait_until(lambda: moved(shop) > 100)
    query(
        shop,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'runbook %'"
        " AND pid <> pg_backend_pid()",
    )
    outcome = background.end()
    assert isinstance(outcome, RunbookError)
    assert outcome.left_as == "resumable"
    call(shop, MOVE, plan=slow_plan)
    all_moved_once(shop)
