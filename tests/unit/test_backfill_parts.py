"""What the engine decides without a database: batch sizes, health levels, and which worker may start."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any, cast

import psycopg2
import pytest
from ansible.module_utils.runbook.control.control import SIGNALS
from ansible.module_utils.runbook.errors import RunbookError
from ansible.module_utils.runbook.migration.backfill.batch_size import BatchSize
from ansible.module_utils.runbook.migration.backfill.health import DEFAULT_LEVELS, Rate, merge_levels
from ansible.module_utils.runbook.migration.backfill.ranges import Range
from ansible.module_utils.runbook.migration.backfill.shared_state import BatchReport, SharedState
from ansible.module_utils.runbook.migration.backfill.supervisor import Supervisor


def test_batches_grow_towards_their_budget_and_never_more_than_twofold() -> None:
    size = BatchSize(100, 100, 5000, budget_milliseconds=25)
    sizes = []
    for _ in range(12):
        size.note(size.rows, size.rows / 40)  # 40 rows per millisecond: 1,000 rows fill the budget
        sizes.append(size.rows)
    assert sizes[:3] == [200, 400, 800]
    assert sizes[-1] == 1000


def test_a_slow_server_gets_smaller_batches_down_to_the_least() -> None:
    size = BatchSize(1000, 100, 5000, budget_milliseconds=25)
    for _ in range(20):
        size.note(size.rows, size.rows * 2.0)  # half a row per millisecond
    assert size.rows == 100


def test_a_batch_that_met_a_lock_is_followed_by_a_smaller_one() -> None:
    size = BatchSize(1000, 100, 5000, budget_milliseconds=25)
    size.shrink()
    assert size.rows == 500


def test_a_size_that_the_operator_fixed_is_not_tuned() -> None:
    size = BatchSize(1000, 100, 5000, budget_milliseconds=25)
    size.fixed_rows = 7
    size.note(7, 1000)
    assert size.rows == 7
    size.fixed_rows = None
    assert size.rows == 500


def test_levels_are_put_above_the_defaults_one_by_one() -> None:
    merged = merge_levels(DEFAULT_LEVELS, {"lock_waiters": {"abort": 50}, "oldest_snapshot_seconds": {"pause": None}})
    assert merged["lock_waiters"] == {"pause": 20, "abort": 50}
    assert merge_levels(merged, {"lock_waiters": {"slow": 5}})["lock_waiters"] == {
        "slow": 5,
        "pause": 20,
        "abort": 50,
    }
    assert merged["oldest_snapshot_seconds"] == {"pause": None, "abort": None}
    assert set(DEFAULT_LEVELS) == set(SIGNALS)


@pytest.mark.parametrize("given", [{"lag": {"pause": 1}}, {"lock_waiters": {"stop": 1}}])
def test_an_unknown_signal_or_level_is_refused_with_those_that_are_known(given: dict[str, dict[str, float]]) -> None:
    with pytest.raises(RunbookError, match=r"unknown .*\. Signals are replica_lag_bytes, .* slow, pause and abort"):
        merge_levels(DEFAULT_LEVELS, given)


def test_a_rate_is_of_the_last_readings_and_unknown_until_there_are_two() -> None:
    rate = Rate(3.0)
    assert rate.add(1000, now=0.0) is None
    assert rate.add(1010, now=0.1) is None, "too close together to say anything"
    assert rate.add(1100, now=1.0) == 100
    assert rate.add(1100, now=2.0) == 50
    assert rate.add(1100, now=4.0) == 0
    assert rate.add(1090, now=5.0) == 0, "a counter that was reset, or ours counted before the server's"


def test_a_rate_needs_no_readings_at_even_times() -> None:
    rate = Rate(1.0)
    rate.add(0, now=0.0)
    assert rate.add(500, now=10.0) == 50


def shared_state(workers: int = 2) -> SharedState:
    made = SharedState(BatchSize(10, 10, 10, 25), workers)
    made.begin([Range(1, None, "m"), Range(2, "m", None)])
    return made


def test_a_pass_is_through_when_no_range_is_left_nor_in_work() -> None:
    shared = shared_state()
    first, second = shared.take(1), shared.take(2)
    assert (first, second) == (Range(1, None, "m"), Range(2, "m", None))
    assert shared.take(1) is None
    shared.give_back(None)
    assert not shared.finished
    shared.give_back(Range(2, "p", None))  # a worker was sent home half-way
    assert not shared.finished
    assert shared.take(1) == Range(2, "p", None)
    shared.give_back(None)
    assert shared.finished


def test_nobody_begins_a_batch_while_any_signal_holds() -> None:
    shared = shared_state()
    shared.hold("operator", "paused by the operator")
    shared.hold("lock_waiters", "20 sessions wait")
    began = threading.Event()
    waiting = threading.Thread(target=lambda: shared.may_begin(1) and began.set())
    waiting.start()
    shared.release("operator")
    assert not began.wait(0.1), "a batch began although a signal holds"
    shared.release("lock_waiters")
    assert began.wait(5)
    waiting.join()


def test_workers_rest_only_while_they_give_way(monkeypatch: pytest.MonkeyPatch) -> None:
    shared, rested = shared_state(), []
    monkeypatch.setattr(shared, "rest", rested.append)
    shared.give_way(0.5)
    shared.gives_way = "gives way: sessions other than the workers make 50 transactions per second"
    shared.give_way(0.25)
    assert rested == [0.25]


def test_a_failure_lets_everybody_go_and_the_first_one_is_told() -> None:
    shared = shared_state()
    shared.hold("operator", "paused")
    first = ValueError("first")
    shared.fail(first)
    shared.fail(ValueError("second"))
    assert not shared.may_begin(1)
    assert shared.take(1) is None
    assert shared.failure is first


def test_a_worker_too_many_goes_home_and_comes_back_when_called() -> None:
    shared = shared_state(workers=2)
    shared.resize(1)
    assert shared.take(2) is None
    assert not shared.may_begin(2)
    assert shared.may_begin(1)
    shared.resize(2)
    assert shared.take(2) is not None


def test_news_of_the_operator_is_passed_on_once_per_revision() -> None:
    shared, heard = shared_state(), []
    shared.on_revision = heard.append
    for revision in (None, 0, 0, 3):
        shared.note(BatchReport(None, "a", 5, 1, 2.0), True, revision)
        shared.revision = revision
    assert heard == [0, 3]
    assert (shared.batches, shared.rows_moved) == (4, 20)


def test_who_was_in_the_way_is_told_until_that_worker_has_committed() -> None:
    made = shared_state()
    made.working(1, True)
    made.waiting_for[1] = [{"pid": 7}]
    made.working(1, False)  # the try was given up; the next one comes after a rest
    made.note(BatchReport("a", "b", 10, worker=2, milliseconds=5.0), True, 0)
    assert list(made.waiting_for) == [1]
    made.note(BatchReport("b", "c", 10, worker=1, milliseconds=5.0), True, 0)
    assert not made.waiting_for


def stopped(failure: Exception | None) -> list[str]:
    """End a supervisor whose session was lost unnoticed, and return the states that it reported."""
    told: list[dict[str, str]] = []

    def lost() -> None:
        raise psycopg2.OperationalError("server closed the connection unexpectedly")

    shared = shared_state()
    if failure:
        shared.fail(failure)
    parts: list[Any] = [SimpleNamespace(closed=0), shared, SimpleNamespace(close_pauses=lost)]
    Supervisor(*parts, cast(Any, SimpleNamespace(writer=SimpleNamespace(write=told.append))), {}, None).stop()
    return [line["state"] for line in told]


def test_a_session_lost_with_the_walk_does_not_hide_what_stopped_it() -> None:
    assert stopped(ValueError("a batch that cannot be done")) == ["failed"]


def test_a_session_lost_at_the_end_of_a_good_walk_is_told() -> None:
    with pytest.raises(psycopg2.OperationalError, match="closed the connection"):
        stopped(None)
