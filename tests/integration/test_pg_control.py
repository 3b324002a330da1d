"""pg_control: what an operator says reaches the open run, and nonsense does not."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.runbook.control import control
from ansible.module_utils.runbook.control.command import BOUNDS, LEVELS, give_command
from ansible.module_utils.runbook.database.connection import SessionSettings, session
from ansible.module_utils.runbook.journal import lease, runs
from ansible.module_utils.runbook.plan.loader import load_plan
from support.playbooks import PLAN_DIRECTORY, Operator
from support.servers import Options, connect, query, value

Say = Callable[..., dict[str, Any]]
RUN = "20250122T101500Z-3f9a1c"


@pytest.fixture
def open_run(empty_database: Options) -> Options:
    """A database whose journal has an open run that nobody works for."""
    with session(empty_database, SessionSettings()) as connection:
        runs.open_run(connection, plan="orders_split", plan_hash="a" * 64, run_id=RUN)
    return empty_database


@pytest.fixture
def say(open_run: Options, run_module: Callable[..., dict[str, Any]]) -> Say:
    def one(command: str, **options: Any) -> dict[str, Any]:
        return run_module("pg_control", connection=open_run, control=command, **options)

    return one


@pytest.fixture
def working(open_run: Options) -> Iterator[None]:
    """A run at work: it holds the lease and applies what was said after a while."""
    end = threading.Event()

    def work() -> None:
        with session(open_run, SessionSettings()) as connection, lease.held(connection, RUN):
            seen = 0
            while not end.wait(0.1):
                with connection.cursor() as cursor:
                    said = control.read(cursor, RUN)
                    if said.revision > seen:
                        control.acknowledge(cursor, RUN, said)
                        seen = said.revision

    with ThreadPoolExecutor() as pool:
        future = pool.submit(work)
        while not value(open_run, "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory')"):
            time.sleep(0.01)
        yield
        end.set()
        future.result()


def written(options: Options) -> list[tuple[Any, ...]]:
    columns = "command, batch_rows, workers, postpone_contract, levels, revision"
    return query(options, f"SELECT {columns} FROM migration_runbook.control")


def test_a_pause_is_in_force_until_resumed(say: Say, open_run: Options) -> None:
    paused = say("pause")
    assert (paused["changed"], paused["revision"], paused["run_id"]) == (True, 1, RUN)
    assert paused["summary"][0] == f"run {RUN}: changed: command run -> pause"
    assert written(open_run)[0][0] == "pause"
    resumed = say("resume")
    assert (resumed["changed"], resumed["revision"]) == (True, 2)
    assert written(open_run) == [("run", None, None, None, {}, 2)]


def test_saying_it_again_changes_nothing(say: Say, open_run: Options) -> None:
    say("pause")
    again = say("pause")
    assert (again["changed"], again["revision"]) == (False, 1)
    assert again["summary"][0] == f"run {RUN}: pause is already in force; nothing changes"
    assert not say("set", workers=0)["changed"]
    assert not say("resume", _check=True)["failed"]


def test_a_first_word_that_changes_nothing_leaves_nothing_to_obey(say: Say, open_run: Options) -> None:
    assert not say("resume")["changed"]
    assert [row[-1] for row in written(open_run)] in ([], [0])


def test_check_mode_writes_nothing_and_says_what_would_be(say: Say, open_run: Options) -> None:
    result = say("set", workers=3, _check=True)
    assert result["changed"]
    assert result["summary"] == [f"run {RUN}: would be changed: workers as started -> 3", "in force: run; workers=3"]
    assert '"workers": null' in result["diff"]["before"]
    assert '"workers": 3' in result["diff"]["after"]
    assert written(open_run) == []


def test_values_are_set_and_given_back(say: Say, open_run: Options) -> None:
    result = say("set", batch_rows=500, batch_budget_milliseconds=12.5, workers=4, postpone_contract="yes")
    assert written(open_run) == [("run", 500, 4, True, {}, 1)]
    assert result["summary"][1] == (
        "in force: run; batch_rows=500, batch_budget_milliseconds=12.5, workers=4, postpone_contract=true"
    )
    back = say("set", batch_rows=0, postpone_contract=False)
    assert written(open_run) == [("run", None, 4, False, {}, 2)]
    assert back["summary"][0] == (f"run {RUN}: changed: batch_rows 500 -> as started; postpone_contract true -> false")


def test_a_pause_keeps_the_values(say: Say, open_run: Options) -> None:
    say("set", workers=4)
    say("pause")
    assert written(open_run) == [("pause", None, 4, None, {}, 2)]


def test_levels_are_typed_as_an_operator_would(say: Say, open_run: Options) -> None:
    say("set", pause_at="replica_lag_bytes=64MB,lock_waiters=20", abort_at={"replica_lag_bytes": "1.5 GB"})
    assert written(open_run)[0][4] == {
        "replica_lag_bytes": {"pause": 64 << 20, "abort": 3 << 29},
        "lock_waiters": {"pause": 20},
    }
    result = say("set", pause_at="lock_waiters=never,replica_lag_bytes=default")
    assert written(open_run)[0][4] == {"replica_lag_bytes": {"abort": 3 << 29}, "lock_waiters": {"pause": None}}
    assert "levels=lock_waiters pause at never, replica_lag_bytes abort at 1536 MB" in result["summary"][1]


@pytest.mark.parametrize("signal", control.SIGNALS)
def test_every_signal_has_levels(say: Say, signal: str) -> None:
    levels = say("set", slow_at={signal: 5}, abort_at={signal: 7})["control"]["levels"]
    assert levels == {signal: {"slow": 5, "abort": 7}}


@pytest.mark.parametrize(
    ("command", "options", "refusal"),
    [
        ("stop", {}, "control=stop is not a command; choose one of pause, resume, abort, set. Nothing was changed."),
        ("", {}, "control=(nothing) is not a command; choose one of pause, resume, abort, set."),
        ("set", {}, "nothing to set: give at least one of batch_rows, batch_budget_milliseconds, workers, "
                    "postpone_contract, slow_at, pause_at, abort_at."),
        ("pause", {"workers": 2}, "workers: only control=set changes values, not control=pause."),
        ("set", {"batch_rows": 100_001}, "batch_rows=100001 is out of range: 1 to 100000, or 0 for what"),
        ("set", {"batch_rows": -1}, "batch_rows=-1 is out of range"),
        ("set", {"workers": 33}, "workers=33 is out of range: 1 to 32"),
        ("set", {"batch_budget_milliseconds": 0.5}, "batch_budget_milliseconds=0.5 is out of range: 1 to 60000"),
        ("set", {"pause_at": "lag=5"}, "lag is not a health signal; choose one of replica_lag_bytes, slot_lag_bytes, "),
        ("set", {"pause_at": "lock_waiters=many"}, "pause_at lock_waiters=many is not a valid level: give a number"),
        ("set", {"abort_at": {"lock_waiters": -3}}, "abort_at lock_waiters=-3 is not a valid level"),
        ("set", {"pause_at": "lock_waiters=9", "abort_at": "lock_waiters=5"},
         "lock_waiters would abort at 5, below its pause at 9."),
        ("set", {"slow_at": "lock_waiters=9", "pause_at": "lock_waiters=5"},
         "lock_waiters would pause at 5, below its slow at 9."),
        ("set", {"slow_at": "lock_waiters=9", "abort_at": "lock_waiters=5"},
         "lock_waiters would abort at 5, below its slow at 9."),
        ("abort", {}, f"an abort must name its run; the open run is {RUN}. Nothing was "
                      f"changed. Next: ansible-playbook playbooks/control.yml"),
        ("abort", {"run_id": "other"}, f"run other is not open; the open run is {RUN}."),
        ("pause", {"run_id": "other"}, f"run other is not open; the open run is {RUN}."),
    ],
)  # fmt: skip
def test_nonsense_is_refused_in_words(
    say: Say, open_run: Options, command: str, options: dict[str, Any], refusal: str
) -> None:
    for check in (True, False):
        result = say(command, _check=check, **options)
        assert result["failed"]
        assert refusal in result["msg"]
        assert result["next_command"].startswith("ansible-playbook playbooks/control.yml")
        assert result["left_as"] == "unchanged"
    assert written(open_run) == []


def test_an_abort_level_below_an_earlier_pause_level_is_refused(say: Say, open_run: Options) -> None:
    say("set", pause_at="lock_waiters=9")
    assert "lock_waiters would abort at 5, below its pause at 9." in say("set", abort_at="lock_waiters=5")["msg"]
    assert written(open_run)[0][-1] == 1


def test_without_an_open_run_there_is_nothing_to_steer(
    empty_database: Options, run_module: Callable[..., dict[str, Any]]
) -> None:
    refused = run_module("pg_control", connection=empty_database, control="pause")
    assert "no run is open in this database." in refused["msg"]
    assert refused["next_command"] == "ansible-playbook playbooks/status.yml"
    assert value(empty_database, "SELECT to_regnamespace('migration_runbook') IS NULL")


def test_an_abort_that_names_its_run_is_written(say: Say, open_run: Options) -> None:
    result = say("abort", run_id=RUN)
    assert written(open_run)[0][0] == "abort"
    assert result["summary"][-1] == (
        "no run is active; the next start applies the command; -e control=resume undoes it"
        "; playbooks/end_change_log.yml closes a run that has changed no table"
    )


def test_a_run_at_work_says_when_it_has_applied_it(say: Say, working: None) -> None:
    result = say("pause", wait_seconds=20)
    assert (result["working"], result["acknowledged"]) == (True, True)
    assert 0 <= result["acknowledged_seconds"] < 5
    assert result["summary"][-1].startswith("the run has applied it, ")


def test_a_run_that_does_not_answer_is_not_waited_for_for_ever(say: Say, open_run: Options) -> None:
    with session(open_run, SessionSettings()) as connection, lease.held(connection, RUN):
        began = time.monotonic()
        result = say("pause", wait_seconds=0.3)
        assert time.monotonic() - began < 5
        assert (result["changed"], result["working"], result["acknowledged"]) == (True, True, False)
        assert result["summary"][-1] == (
            "the run has not confirmed the command within 0.3 s; it applies it before its next batch"
        )


def test_a_run_that_was_killed_does_not_count_as_working(say: Say, open_run: Options) -> None:
    with session(open_run, SessionSettings()) as connection, connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO migration_runbook.lease VALUES ('migration', %s, 1, 'killed', now(), now(), NULL)", (RUN,)
        )
    assert "no run is active; the next start applies the command" in say("pause")["summary"]


def test_two_operators_at_once_both_have_their_say(open_run: Options) -> None:
    nothing = dict.fromkeys((*BOUNDS, *LEVELS, "postpone_contract"))
    both = [{"workers": 3}, {"batch_rows": 700}]
    with ThreadPoolExecutor() as pool, connect(open_run) as connection, connection.cursor() as cursor:
        # Both meet a third who holds the row for a moment.
        cursor.execute("BEGIN")
        control.lock(cursor, RUN)
        common = {"connection": open_run, "control": "set", "run_id": "", "wait_seconds": 0, **nothing}
        said = [pool.submit(give_command, {**common, **values}, check_mode=False) for values in both]
        time.sleep(0.3)
        cursor.execute("COMMIT")
        assert sorted(one.result()["revision"] for one in said) == [1, 2]
    assert written(open_run) == [("run", 700, 3, None, {}, 2)]


def test_another_session_that_holds_the_row_is_not_waited_for_for_long(say: Say, open_run: Options) -> None:
    with connect(open_run) as connection, connection.cursor() as cursor:
        cursor.execute("BEGIN")
        control.lock(cursor, RUN)
        refused = say("pause")
        cursor.execute("ROLLBACK")
    assert f"another session has held the control row of run {RUN} for more than 2 s." in refused["msg"]
    assert refused["next_command"] == "the same command again"


def test_a_journal_of_an_earlier_version_gets_what_it_lacks(say: Say, open_run: Options) -> None:
    query_nothing = (
        "DROP TABLE migration_runbook.control, migration_runbook.pause, migration_runbook.range;"
        " ALTER TABLE migration_runbook.step DROP COLUMN rows_total;"
        " ALTER TABLE migration_runbook.batch DROP COLUMN range_number, DROP COLUMN worker"
    )
    with connect(open_run) as connection, connection.cursor() as cursor:
        cursor.execute(query_nothing)
    assert say("pause", _check=True)["changed"]
    assert say("pause")["revision"] == 1


def test_the_playbook_takes_what_an_operator_types(open_run: Options, tmp_path: Path) -> None:
    operator = Operator(tmp_path, open_run)
    done = operator.type(
        "playbooks/control.yml", "-e", "control=set", "-e", "pause_at=replica_lag_bytes=64MB,lock_waiters=20",
        "-e", "batch_rows=500", "-e", "postpone_contract=false",
    )  # fmt: skip
    assert done.status == 0, done.screen
    assert "in force: run; batch_rows=500, postpone_contract=false, levels=lock_waiters pause at 20" in done.text
    assert written(open_run) == [
        ("run", 500, None, False, {"replica_lag_bytes": {"pause": 64 << 20}, "lock_waiters": {"pause": 20}}, 1)
    ]
    refused = operator.type("playbooks/control.yml")
    assert refused.status == 2
    assert "control=(nothing) is not a command" in refused.text


def test_status_and_monitor_show_what_holds_the_run(empty_database: Options, tmp_path: Path) -> None:
    with session(empty_database, SessionSettings()) as connection:
        plan_hash = load_plan(str(PLAN_DIRECTORY))["plan_hash"]
        runs.open_run(connection, plan="any", plan_hash=plan_hash, run_id=RUN)
        with connection.cursor() as cursor:
            control.acknowledge(cursor, RUN, control.Control(revision=1))
            cursor.execute(
                "INSERT INTO migration_runbook.pause (run_id, version, signal, reason)"
                " VALUES (%s, '20250122000002', 'lock_waiters', 'nine sessions wait')",
                (RUN,),
            )
    operator = Operator(tmp_path, empty_database, monitor_interval_seconds=1, monitor_limit_seconds=0)
    assert operator.type("playbooks/control.yml", "-e", "control=pause").status == 0
    for playbook in ("playbooks/status.yml", "playbooks/monitor.yml"):
        shown = operator.type(playbook)
        assert shown.status == 0, shown.screen
        assert "pauses so far: 1, " in shown.text
        assert "the newest: now lock_waiters " in shown.text
        assert "in force: pause; all values as the run was started with (set by " in shown.text
    assert "done: nothing yet" in operator.type("playbooks/status.yml").text, "that it was heard is no phase"


def test_the_playbook_wants_a_confirmation_outside_local(open_run: Options, tmp_path: Path) -> None:
    operator = Operator(tmp_path, open_run, runbook_environment="staging")
    refused = operator.type("playbooks/control.yml", "-e", "control=pause")
    assert refused.status == 2
    assert "staging is only changed with a confirmation" in refused.text
    assert written(open_run) == []
    assert operator.type("playbooks/control.yml", "-e", "control=pause", "-e", "confirm=test_database").status == 0
    assert written(open_run)[0][0] == "pause"
