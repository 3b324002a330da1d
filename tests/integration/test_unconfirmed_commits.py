"""A commit that waits for a synchronous standby which is not there: bounded, recorded, and never retried blindly."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from ansible.module_utils.runbook.database import commit_watch
from ansible.module_utils.runbook.database.connection import SessionSettings, session, transaction
from ansible.module_utils.runbook.database.standbys import Standbys, UnconfirmedCommitError, Wanted
from ansible.module_utils.runbook.environment import replication
from ansible.module_utils.runbook.journal import steps as journal_steps
from ansible.module_utils.runbook.journal.schema import ensure
from ansible.module_utils.runbook.migration import step_runner
from ansible.module_utils.runbook.migration.backfill import batch
from support.playbooks import Operator
from support.servers import Options, Server, connect, query, value
from support.standbys import confirm_commits, set_standbys, standby
from support.tiny import MOVE, ORDERS_WITH_ADDRESS, PREPARE, REQUIRE, SETTINGS, load_shop, plan_of

Result = dict[str, Any]
Run = Callable[..., Result]

UNCONFIRMED = "committed here, not confirmed by a standby"
ABSENT = "synchronous_standby_names = 'gone' asks for 1 standby; none is connected"
REMEDY = "ALTER SYSTEM RESET synchronous_standby_names"
SENT = ({"pid": 1, "name": "s1", "state": "streaming", "sync_state": "sync"},)
STEP = (
    "SELECT state, attempts, finished_at, unconfirmed_at IS NOT NULL FROM migration_runbook.step"
    " WHERE version = %s AND name = %s AND superseded_at IS NULL"
)


@pytest.fixture
def waits(server: Server, empty_database: Options) -> Iterator[Options]:
    """A database whose commits wait for synchronous standbys as soon as the test names some."""
    confirm_commits(server, empty_database)
    yield empty_database
    set_standbys(server, "")


@pytest.fixture
def monitor(server: Server) -> Iterator[None]:
    """The role may see who is connected, as on a hosted project."""
    query(server.superuser_options, "GRANT pg_monitor TO postgres")
    yield
    query(server.superuser_options, "REVOKE pg_monitor FROM postgres")


@pytest.fixture
def migrate(run_module: Run, waits: Options) -> Run:
    """Call pg_migration for one version of the tiny plan, in a run that is open."""
    load_shop(waits)

    def call(version: str, **params: Any) -> Result:
        limits = {"batch_rows_least": 40, "batch_rows_most": 40, "workers": 1}
        usual = {"connection": waits, "plan": plan_of(), "plan_settings": SETTINGS, "limits": limits}
        return run_module("pg_migration", **{**usual, "version": version, **params})

    return call


def open_run(run_module: Run, options: Options) -> Result:
    return run_module(
        "pg_journal", connection=options, state="run_opened", plan_name="shop", phase="environment_verified",
        run={"plan_hash": "a" * 64, "id": "20250122T101500Z-3f9a1c"},
    )  # fmt: skip


def lose_standby_before(
    monkeypatch: pytest.MonkeyPatch, server: Server, place: Any, function: str, wanted: Callable[..., bool]
) -> None:
    """Name a standby that is gone just before the first wanted call of a function of the code under test."""
    original, done = getattr(place, function), []

    def call(*arguments: Any, **named: Any) -> Any:
        if not done and wanted(*arguments):
            done.append(True)
            set_standbys(server, "gone")
        return original(*arguments, **named)

    monkeypatch.setattr(place, function, call)


def test_the_first_write_of_the_journal_ends(server: Server, waits: Options, run_module: Run) -> None:
    set_standbys(server, "gone")
    began = time.monotonic()
    result = open_run(run_module, waits)
    assert time.monotonic() - began < 5
    assert result["failed"]
    assert f"the journal's run opened: {UNCONFIRMED}" in result["msg"]
    assert ABSENT in result["msg"]
    assert "migration_runbook" in result["msg"]
    assert result["left_as"] == "resumable"
    assert REMEDY in result["next_command"]
    assert "the same command again" in result["next_command"]
    # It is committed: nothing of it is repeated, and the same call continues.
    assert value(waits, "SELECT count(*) FROM migration_runbook.run") == 0
    set_standbys(server, "")
    assert not open_run(run_module, waits)["failed"]


def test_a_run_that_was_opened_unconfirmed_goes_on_and_notes_the_confirmation(
    server: Server, waits: Options, run_module: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with session(waits, SessionSettings()) as connection:
        ensure(connection)
    set_standbys(server, "gone")
    result = open_run(run_module, waits)
    assert UNCONFIRMED in result["msg"]
    assert "The journal of run 20250122T101500Z-3f9a1c notes this as commit_unconfirmed." in result["msg"]
    events = query(waits, "SELECT phase, status, details FROM migration_runbook.event ORDER BY id")
    assert [event[:2] for event in events] == [("commit_unconfirmed", "failed")]
    assert events[0][2]["wrote_to"] == ["migration_runbook.run"]
    assert ABSENT in events[0][2]["standbys"]
    with standby(server, "gone", tmp_path):
        again = open_run(run_module, waits)
    assert not again["failed"], again["msg"]
    assert again["resumed"]
    events = query(waits, "SELECT phase, status FROM migration_runbook.event ORDER BY id")
    assert events[-2:] == [("environment_verified", "ok"), ("commit_confirmed", "confirmed")]


def test_a_contract_step_releases_its_locks_and_is_not_run_again(
    server: Server, waits: Options, migrate: Run, run_module: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not migrate(PREPARE)["failed"]
    assert not migrate(MOVE)["failed"]
    lose_standby_before(
        monkeypatch,
        server,
        journal_steps,
        "put",
        lambda _c, _w, step, state: (step.name, state) == ("the rule", "done"),
    )
    began = time.monotonic()
    result = migrate(REQUIRE)
    assert time.monotonic() - began < 8
    assert result["failed"]
    assert f"step 1 (the rule) of {REQUIRE}" in result["msg"]
    assert UNCONFIRMED in result["msg"]
    assert "The journal has the step as done: it is not run again" in result["msg"]
    assert f"does not list {REQUIRE}" in result["msg"]
    assert result["left_as"] == "resumable"
    assert REMEDY in result["next_command"]
    state, attempts, finished_at, unconfirmed = query(waits, STEP, (REQUIRE, "the rule"))[0]
    assert (state, unconfirmed) == ("done", True)
    # Its locks are released, and the lease too: both were held by the waiting session.
    query(waits, "SET lock_timeout = '200ms'; SELECT count(*) FROM shop.orders")
    assert value(waits, "SELECT released_at IS NOT NULL FROM migration_runbook.lease")

    refused = migrate(REQUIRE)
    assert f"a commit would wait forever: {ABSENT}" in refused["msg"]
    assert "Nothing was changed." in refused["msg"]

    set_standbys(server, "")
    again = migrate(REQUIRE)
    assert not again["failed"], again["msg"]
    assert [step["status"] for step in again["steps"]] == ["done_before", "done", "done"]
    assert query(waits, STEP, (REQUIRE, "the rule"))[0][:3] == (state, attempts, finished_at)


def test_a_backfill_stops_and_moves_no_row_twice(
    server: Server, waits: Options, migrate: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not migrate(PREPARE)["failed"]
    lose_standby_before(monkeypatch, server, batch, "put_batch", lambda *_: True)
    result = migrate(MOVE)
    assert result["failed"]
    assert UNCONFIRMED in result["msg"]
    assert f"of {MOVE}" in result["msg"]
    moved = value(waits, "SELECT count(*) FROM shop.shipments")
    assert moved > 0
    set_standbys(server, "")
    again = migrate(MOVE)
    assert not again["failed"], again["msg"]
    assert value(waits, "SELECT count(*) FROM shop.shipments") == ORDERS_WITH_ADDRESS
    assert value(waits, "SELECT sum(rows_moved) FROM migration_runbook.batch") == ORDERS_WITH_ADDRESS


def test_an_index_that_is_built_concurrently_is_whole_and_kept(
    server: Server, waits: Options, migrate: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    lose_standby_before(monkeypatch, server, step_runner, "_execute_outside", lambda *_: True)
    result = migrate(PREPARE)
    assert UNCONFIRMED in result["msg"], result["msg"]
    assert "CONCURRENTLY" in "".join(result["queries"])
    assert not value(waits, "SELECT count(*) FROM pg_index WHERE NOT indisvalid")
    set_standbys(server, "")
    again = migrate(PREPARE)
    assert not again["failed"], again["msg"]
    assert "already_present" in [step["status"] for step in again["steps"]]


def test_statements_without_a_transaction_are_bounded_too(server: Server, waits: Options) -> None:
    query(waits, "CREATE TABLE public.plain (id integer)")
    with session(waits, SessionSettings()) as connection, connection.cursor() as cursor:
        set_standbys(server, "gone")
        with pytest.raises(UnconfirmedCommitError, match=r"It wrote to public\.plain") as caught:
            cursor.execute("INSERT INTO public.plain VALUES (1)")
        assert caught.value.ended_by == "cancelled"
        # What is left to do after it is closing: it waits for nobody.
        began = time.monotonic()
        cursor.execute("INSERT INTO public.plain VALUES (2)")
        assert time.monotonic() - began < 0.5
    assert value(waits, "SELECT count(*) FROM public.plain") == 2


def test_a_wait_that_ignores_its_cancellation_is_terminated(
    server: Server, waits: Options, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commit_watch, "CANCELS", 0)
    query(waits, "CREATE TABLE public.plain (id integer)")
    with session(waits, SessionSettings()) as connection:
        set_standbys(server, "gone")
        with pytest.raises(UnconfirmedCommitError, match="terminating its session"), transaction(connection) as cursor:
            cursor.execute("INSERT INTO public.plain VALUES (1)")
    assert value(waits, "SELECT count(*) FROM public.plain") == 1


def test_a_connection_is_cut_where_the_server_ends_nothing(
    server: Server, waits: Options, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commit_watch, "CANCELS", -1)
    monkeypatch.setattr(commit_watch, "LOOK_SECONDS", 0.1)
    query(waits, "CREATE TABLE public.plain (id integer)")
    set_standbys(server, "gone")
    with session(waits, SessionSettings()) as connection, connection.cursor() as cursor:
        cursor.execute("BEGIN")
        cursor.execute("INSERT INTO public.plain VALUES (1)")
        commit_watch.WATCH._watched[-1].terminated_at = 1.0  # as if the server had ignored its termination
        with pytest.raises(UnconfirmedCommitError, match="terminating"):
            cursor.execute("COMMIT")
    set_standbys(server, "")
    assert value(waits, "SELECT count(*) FROM public.plain") == 1


def test_a_wait_that_somebody_else_cancelled_is_no_success(
    server: Server, waits: Options, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commit_watch, "SHORTEST_LIMIT_SECONDS", 60.0)
    monkeypatch.setattr(commit_watch, "LONGEST_LIMIT_SECONDS", 60.0)
    query(waits, "CREATE TABLE public.plain (id integer)")
    set_standbys(server, "gone")
    cancel = "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
    with session(waits, SessionSettings()) as connection:
        threading.Timer(0.5, query, (server.superuser_options, cancel)).start()
        with pytest.raises(UnconfirmedCommitError), transaction(connection) as cursor:
            cursor.execute("INSERT INTO public.plain VALUES (1)")


def test_a_standby_that_confirms_is_waited_for_and_nothing_else_happens(
    server: Server, waits: Options, tmp_path: Path
) -> None:
    with standby(server, "gone", tmp_path), session(waits, SessionSettings()) as connection:
        set_standbys(server, "FIRST 1 (gone)")
        with transaction(connection) as cursor:
            cursor.execute("CREATE TABLE public.plain (id integer)")
        # The watch examines a long statement and does not end it.
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_sleep(1.6)")
        set_standbys(server, "")


def test_an_error_of_a_statement_that_lasted_stays_what_it_is(waits: Options) -> None:
    settings = SessionSettings(statement_timeout_seconds=1.5)
    with (
        session(waits, settings) as connection,
        connection.cursor() as cursor,
        pytest.raises(psycopg2.errors.QueryCanceled),
    ):
        cursor.execute("SELECT pg_sleep(30)")


def examine(run_module: Run, options: Options) -> Result:
    return run_module(
        "pg_environment_info", connection=options, plan=plan_of(), plan_settings=SETTINGS, fail_on_blocking=False
    )


def finding(result: Result) -> Result:
    found = [entry for entry in result["findings"] if entry["name"].startswith("synchronous_standby")]
    return found[0] if found else {}


@pytest.mark.usefixtures("monitor")
def test_preflight_reports_standbys_that_are_missing(
    server: Server, waits: Options, run_module: Run, tmp_path: Path
) -> None:
    load_shop(waits)
    assert finding(examine(run_module, waits)) == {}
    with standby(server, "s1", tmp_path):
        for names, blocking in [
            ("s1", False),
            ("S1, s2", False),
            ("ANY 1 (s2, s1)", False),
            ("*", False),
            ("FIRST 2 (s1, s2)", True),
            ('ANY 1 ("s1 ")', True),
        ]:
            set_standbys(server, names)
            found = finding(examine(run_module, waits))
            assert bool(found) is blocking, names
            if blocking:
                assert (found["severity"], found["name"]) == ("blocking", "synchronous_standby_missing")
                assert "s1 (streaming)" in found["found"]
                assert REMEDY in found["repair"]
    set_standbys(server, "gone")
    assert ABSENT in finding(examine(run_module, waits))["found"]
    # A role whose commits wait for no standby is not concerned.
    query(server.superuser_options, f'ALTER DATABASE "{waits["dbname"]}" SET synchronous_commit = local')
    assert finding(examine(run_module, waits)) == {}


def test_preflight_says_that_it_may_not_see_the_standbys(
    server: Server, waits: Options, run_module: Run, tmp_path: Path
) -> None:
    load_shop(waits)
    with standby(server, "s1", tmp_path):
        set_standbys(server, "s1")
        found = finding(examine(run_module, waits))
        assert (found["name"], found["severity"]) == ("synchronous_standby_unreadable", "warning")
        assert "GRANT pg_monitor" in found["repair"]
        set_standbys(server, "2 (s1, s2)")
        assert finding(examine(run_module, waits))["name"] == "synchronous_standby_missing"
        set_standbys(server, "")


def test_preflight_reports_a_standby_that_does_not_answer(
    server: Server, waits: Options, run_module: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    load_shop(waits)
    monkeypatch.setattr(replication, "LONG_WAIT_SECONDS", 0.3)
    with connect(waits) as stuck, stuck.cursor() as cursor, standby(server, "s1", tmp_path):
        cursor.execute("SET application_name = 'the application'")
        set_standbys(server, "gone")
        waiting = threading.Thread(target=cursor.execute, args=("CREATE TABLE public.plain (id integer)",))
        waiting.start()
        time.sleep(0.5)
        # Named again, and connected: only its next answer releases the waiting sessions.
        with monkeypatch.context() as patch:
            patch.setattr(replication, "read_standbys", lambda _: Standbys("s1", "on", Wanted(1, ("*",)), True, SENT))
            found = finding(examine(run_module, waits))
        set_standbys(server, "")
        waiting.join(5)
    assert (found["name"], found["severity"]) == ("synchronous_standby_silent", "blocking")
    assert found["rows"][0]["application_name"] == "the application"


def test_migrate_reports_the_standby_within_seconds_and_writes_nothing(
    server: Server, clean_template: str, tmp_path: Path
) -> None:
    options = server.create_database(clean_template)
    confirm_commits(server, options)
    set_standbys(server, "gone")
    try:
        began = time.monotonic()
        outcome = Operator(tmp_path, options).type("migrate.yml")
        assert time.monotonic() - began < 30
        assert outcome.status != 0
        assert "[blocking] synchronous_standby_missing" in outcome.text
        assert ABSENT in outcome.text
        assert value(options, "SELECT to_regnamespace('migration_runbook') IS NULL")
    finally:
        set_standbys(server, "")
        server.drop_database(options)


def test_control_says_that_its_word_is_kept_here(server: Server, waits: Options, run_module: Run) -> None:
    assert not open_run(run_module, waits)["failed"]
    set_standbys(server, "gone")
    result = run_module("pg_control", connection=waits, control="pause", wait_seconds=0)
    assert f"the control row: {UNCONFIRMED}" in result["msg"]
    assert value(waits, "SELECT command FROM migration_runbook.control") == "pause"


def test_a_reverse_is_refused_before_it_changes_anything(server: Server, waits: Options, migrate: Run) -> None:
    assert not migrate(PREPARE)["failed"]
    set_standbys(server, "gone")
    refused = migrate(PREPARE, state="reverted")
    assert f"a commit would wait forever: {ABSENT}" in refused["msg"]
    assert refused["left_as"] == "unchanged"
    assert value(waits, "SELECT to_regclass('shop.shipments') IS NOT NULL")


def test_a_run_that_loses_its_standby_stops_and_goes_on_with_the_same_command(
    server: Server, clean_template: str, tmp_path: Path
) -> None:
    options = server.create_database(clean_template)
    confirm_commits(server, options)
    operator = Operator(tmp_path, options)
    waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND mode = 'AccessExclusiveLock'"
    try:
        with connect(options) as reader, reader.cursor() as cursor:
            cursor.execute("BEGIN; SELECT count(*) FROM public.posts")
            running = operator.start("migrate.yml")
            end = time.monotonic() + 120
            while not value(server.superuser_options, waiting):
                assert running.poll() is None
                assert time.monotonic() < end
                time.sleep(0.02)
            set_standbys(server, "gone")
            cursor.execute("ROLLBACK")
        stopped = operator.finish(running, 60)
        assert stopped.status != 0
        assert UNCONFIRMED in stopped.text
        assert "The journal has the step as done" in stopped.text
        assert f"{REMEDY}; SELECT pg_reload_conf()), then ansible-playbook migrate.yml" in stopped.text
        assert operator.report()["failure"]["left_as"] == "resumable"
        assert "committed here, not confirmed by a standby" in operator.type("playbooks/status.yml").text
        set_standbys(server, "")
        resumed = operator.type("migrate.yml")
        assert resumed.status == 0, resumed.screen[-2000:]
        assert operator.report()["state"] == "complete"
        assert len(operator.runs()) == 1
    finally:
        set_standbys(server, "")
        server.drop_database(options)
