"""A backfill's table is outside its publications while it is filled, and back whatever happened."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.runbook.control import control
from ansible.module_utils.runbook.errors import RunbookError
from ansible.module_utils.runbook.migration import publications
from ansible.module_utils.runbook.migration.migrate import migrate
from ansible.module_utils.runbook.migration.publications import put_back_where_possible
from support.modules import run_module
from support.servers import SUPERUSER, Options, connect, query, value
from support.tiny import MOVE, ORDERS_WITH_ADDRESS, PREPARE, SETTINGS, copy_plan, load_shop, plan_of, replace_in

LIMITS = {
    "lock_timeout_seconds": 0.3,
    "lock_attempts": 3,
    "lock_pause_seconds": 0.1,
    "batch_rows_least": 20,
    "batch_rows_most": 20,
    "range_rows": 100,
    "workers": 2,
}
#: With a column list and a filter: what it had there must come back.
FILTER = "(id > '10000000-0000-0000-0000-000000000000' AND id IS NOT NULL)"
PUBLICATION = f"CREATE PUBLICATION changes FOR TABLE shop.orders (id, customer, address) WHERE {FILTER}"


@pytest.fixture
def shop(empty_database: Options) -> Iterator[Options]:
    load_shop(empty_database)
    call(empty_database, PREPARE)
    query(empty_database, PUBLICATION)
    yield empty_database
    query(as_superuser(empty_database), "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots")


@pytest.fixture
def slow_plan(tmp_path: Path) -> dict[str, Any]:
    """Each batch of this one takes 0.2 s: long enough to be looked at, and killed."""
    directory = copy_plan(tmp_path)
    replace_in(
        directory / "migrations" / f"{MOVE}_move_addresses.sql", "BEGIN\n", "BEGIN\n    PERFORM pg_sleep(0.2);\n"
    )
    return plan_of(directory)


def as_superuser(options: Options) -> Options:
    return {**options, "user": SUPERUSER}


def call(options: Options, version: str = MOVE, **params: Any) -> dict[str, Any]:
    usual = {"connection": options, "plan": plan_of(), "plan_settings": SETTINGS, "state": "applied", "run": None}
    usual |= {"volume_class": "", "snapshot_counts": {}, "limits": LIMITS, "unpublish_during_backfill": True}
    return migrate({**usual, "version": version, **params}, check_mode=False)


def failure(options: Options, **params: Any) -> RunbookError:
    with pytest.raises(RunbookError) as caught:
        call(options, **params)
    return caught.value


def membership(options: Options) -> list[Any]:
    return query(
        options,
        "SELECT pubname::text, tablename::text, attnames::text, rowfilter FROM pg_publication_tables ORDER BY 1, 2",
    )


def settings_of(options: Options) -> list[Any]:
    return query(options, "SELECT pubname, pubinsert, pubupdate, pubdelete FROM pg_publication")


def is_outside(options: Options) -> bool:
    return not query(options, "SELECT 1 FROM pg_publication_tables WHERE tablename = 'orders'")


def still_out(options: Options) -> int:
    return int(value(options, "SELECT count(*) FROM migration_runbook.publication_removal WHERE put_back_at IS NULL"))


def updates_sent(options: Options) -> int:
    """How many updates of shop.orders a subscriber would have got since the slot was made."""
    changes = query(
        as_superuser(options),
        "SELECT data FROM pg_logical_slot_get_binary_changes('listener', NULL, NULL,"
        " 'proto_version', '1', 'publication_names', 'changes')",
    )
    return sum(bytes(data)[:1] == b"U" for (data,) in changes)


def wait_until(holds: Any, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.02)


@pytest.mark.parametrize("unpublish", [True, False])
def test_a_subscriber_is_spared_an_event_for_each_moved_row(shop: Options, unpublish: bool) -> None:
    before, how = membership(shop), settings_of(shop)
    query(as_superuser(shop), "SELECT pg_create_logical_replication_slot('listener', 'pgoutput')")
    result = call(shop, unpublish_during_backfill=unpublish)
    last = "(SELECT id FROM shop.orders ORDER BY id DESC LIMIT 1)"
    # Only what is on disk is decoded.
    query(shop, f"SET synchronous_commit = on; UPDATE shop.orders SET address = 'far' WHERE id = {last}")
    published = f"SELECT count(*) FROM shop.orders WHERE shipment_id IS NOT NULL AND {FILTER}"
    assert updates_sent(shop) == 1 + (0 if unpublish else int(value(shop, published)))
    assert (membership(shop), settings_of(shop)) == (before, how)
    (entry,) = result["publications"] or [{"publication": "changes", "table": "shop.orders", "outcome": "never out"}]
    assert entry["outcome"] == ("put back" if unpublish else "never out")
    assert unpublish == any(
        line.startswith("publication changes: shop.orders put back after ") for line in result["summary"]
    )


def test_a_publication_without_updates_keeps_the_table(shop: Options) -> None:
    query(shop, "ALTER PUBLICATION changes SET (publish = 'insert, delete')")
    assert call(shop)["publications"] == []
    assert value(shop, "SELECT count(*) FROM migration_runbook.publication_removal") == 0


def test_it_is_put_back_after_a_failure_and_reverse_takes_it_out_too(shop: Options) -> None:
    before = membership(shop)
    query(shop, "INSERT INTO shop.brake VALUES (30)")
    error = failure(shop)
    assert "the brake is on" in error.msg
    assert membership(shop) == before
    assert error.facts["publications"][0]["outcome"] == "put back"
    query(shop, "DELETE FROM shop.brake")
    call(shop)
    reverted = call(shop, state="reverted")
    assert [entry["outcome"] for entry in reverted["publications"]] == ["put back"]
    assert membership(shop) == before
    assert still_out(shop) == 0


def test_an_index_build_in_the_way_is_named_and_nothing_is_moved(shop: Options) -> None:
    with connect(shop, application_name="the till") as connection, connection.cursor() as cursor:
        cursor.execute("BEGIN; LOCK TABLE shop.orders IN SHARE UPDATE EXCLUSIVE MODE")
        error = failure(shop)
    assert "step 2 (move the addresses)" in error.msg
    assert "removing shop.orders from its publications" in error.msg
    assert "application the till" in error.msg
    assert error.left_as == "unchanged"  # the step before made functions only
    assert value(shop, "SELECT count(*) FROM shop.shipments") == 0
    assert not is_outside(shop)
    assert still_out(shop) == 0


def test_where_it_cannot_be_put_back_that_is_said_and_the_next_call_does_it(
    shop: Options, slow_plan: dict[str, Any]
) -> None:
    """The table is locked by somebody else when the backfill has failed."""
    before = membership(shop)
    query(shop, "INSERT INTO shop.brake VALUES (190)")
    with connect(shop, application_name="the till") as connection, connection.cursor() as cursor:
        run = Killable(shop, slow_plan)
        # Before its first batch the backfill takes statistics, which would wait for this lock.
        wait_until(lambda: is_outside(shop) and value(shop, "SELECT count(*) FROM shop.shipments") > 0)
        cursor.execute("BEGIN; LOCK TABLE shop.orders IN SHARE UPDATE EXCLUSIVE MODE")
        assert run.process.wait(60) == 1
    screen = run.screen()
    assert "the brake is on" in screen
    assert "Also, shop.orders of publication changes could not be added back" in screen
    assert is_outside(shop)
    query(shop, "DELETE FROM shop.brake")
    call(shop, plan=slow_plan)
    assert membership(shop) == before


class Killable:
    """The module's work in a process of its own."""

    PROGRAM = """
import sys, json
sys.path[:0] = [{tests!r}]
import ansible.module_utils
ansible.module_utils.__path__.append({module_utils!r})
from ansible.module_utils.runbook.errors import RunbookError
from ansible.module_utils.runbook.migration.migrate import migrate
try:
    migrate(json.load(sys.stdin), check_mode=False)
except RunbookError as error:
    sys.exit(error.msg)
"""

    def __init__(self, options: Options, plan: dict[str, Any], **params: Any) -> None:
        import json

        root = Path(__file__).resolve().parents[2]
        usual = {"connection": dict(options), "plan": plan, "plan_settings": SETTINGS, "state": "applied", "run": None}
        usual |= {"volume_class": "", "snapshot_counts": {}, "limits": LIMITS, "unpublish_during_backfill": True}
        text = self.PROGRAM.format(tests=str(root / "tests"), module_utils=str(root / "module_utils"))
        self.process = subprocess.Popen(
            [sys.executable, "-c", text], stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({**usual, "version": MOVE, **params}))
        self.process.stdin.close()

    def screen(self) -> str:
        assert self.process.stderr is not None
        return self.process.stderr.read()

    def kill_while_it_is_outside(self, options: Options) -> None:
        wait_until(lambda: is_outside(options) and value(options, "SELECT count(*) FROM shop.shipments") > 0)
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait(10)
        assert is_outside(options)
        assert still_out(options) == 1


@pytest.mark.parametrize("unpublish", [True, False])
def test_after_a_kill_the_resumed_run_puts_it_back(shop: Options, slow_plan: dict[str, Any], unpublish: bool) -> None:
    """Also where the setting is off by then."""
    before = membership(shop)
    Killable(shop, slow_plan).kill_while_it_is_outside(shop)
    result = call(shop, plan=slow_plan, unpublish_during_backfill=unpublish)
    assert {entry["outcome"] for entry in result["publications"]} == {"put back"}
    assert len(result["publications"]) == (2 if unpublish else 1)
    assert membership(shop) == before
    assert still_out(shop) == 0


def test_after_a_kill_without_a_resume_the_repair_puts_it_back_as_it_was(
    shop: Options, slow_plan: dict[str, Any]
) -> None:
    before = membership(shop)
    Killable(shop, slow_plan).kill_while_it_is_outside(shop)
    look = {"connection": dict(shop), "plan": slow_plan}
    found = run_module("pg_unfinished_objects", **look)
    query(shop, "ALTER TABLE shop.orders VALIDATE CONSTRAINT orders_shipment_id_fkey")
    (entry,) = [one for one in found["objects"] if one["kind"] == "table outside publication"]
    assert (entry["name"], entry["table"]) == ("changes", "shop.orders")
    assert entry["taken_out_by"]
    assert f"changes of shop.orders (removed for the backfill of run {entry['taken_out_by']})" in str(found["summary"])
    with connect(shop, application_name="the till") as connection, connection.cursor() as cursor:
        cursor.execute("BEGIN; LOCK TABLE shop.orders IN SHARE UPDATE EXCLUSIVE MODE")
        refused = run_module("pg_unfinished_objects", **look, apply=True)
        assert refused["failed"]
        assert "table outside publication changes of shop.orders could not be finished" in refused["msg"]
        assert "application the till" in refused["msg"]
    done = run_module("pg_unfinished_objects", **look, apply=True)
    assert not done["failed"], done["msg"]
    assert membership(shop) == before
    assert still_out(shop) == 0
    assert not run_module("pg_unfinished_objects", **look, apply=True)["changed"]


def test_a_run_that_goes_on_puts_back_what_somebody_else_put_back_or_dropped(
    shop: Options, slow_plan: dict[str, Any]
) -> None:
    Killable(shop, slow_plan).kill_while_it_is_outside(shop)
    query(shop, "ALTER PUBLICATION changes ADD TABLE shop.orders")
    found = call(shop, plan=slow_plan, unpublish_during_backfill=False)["publications"]
    assert [entry["outcome"] for entry in found] == ["was there already"]
    call(shop, state="reverted")
    Killable(shop, slow_plan).kill_while_it_is_outside(shop)
    query(shop, "DROP PUBLICATION changes")
    found = call(shop, plan=slow_plan)["publications"]
    assert [entry["outcome"] for entry in found] == ["the publication is gone"]


def test_a_restore_puts_it_back_in_its_transaction_or_says_why_not(shop: Options, slow_plan: dict[str, Any]) -> None:
    before = membership(shop)
    Killable(shop, slow_plan).kill_while_it_is_outside(shop)
    with connect(shop) as connection, connection.cursor() as cursor:
        cursor.execute("BEGIN")
        assert put_back_where_possible(cursor) == ["publication changes: shop.orders put back"]
        cursor.execute("ROLLBACK; BEGIN; ALTER TABLE shop.orders DROP COLUMN customer")
        (line,) = put_back_where_possible(cursor)
        assert "shop.orders stays outside (column" in line
        assert "-e issue=unfinished_objects" in line
        cursor.execute("ROLLBACK; BEGIN")
        put_back_where_possible(cursor)
        cursor.execute("COMMIT")
        assert put_back_where_possible(cursor) == []
    assert membership(shop) == before


def test_an_abort_of_the_operator_puts_it_back(shop: Options, slow_plan: dict[str, Any]) -> None:
    before = membership(shop)
    run = Killable(shop, slow_plan)
    wait_until(lambda: is_outside(shop))
    with connect(shop) as connection, connection.cursor() as cursor:
        cursor.execute("BEGIN")
        control.lock(cursor, run_id(shop))
        control.write(cursor, run_id(shop), control.Control(command="abort"), "the test")
        cursor.execute("COMMIT")
    assert run.process.wait(60) == 1
    assert "aborted by" in run.screen()
    assert membership(shop) == before
    assert still_out(shop) == 0


def run_id(options: Options) -> str:
    return str(value(options, "SELECT run_id FROM migration_runbook.publication_removal WHERE put_back_at IS NULL"))


@pytest.mark.parametrize(
    ("statement", "reason"),
    [
        ("CREATE PUBLICATION everything FOR ALL TABLES", "everything: it publishes all tables"),
        ("CREATE PUBLICATION everything FOR TABLES IN SCHEMA shop", "it publishes every table of schema shop"),
        (
            f"ALTER PUBLICATION changes OWNER TO {SUPERUSER}",
            f"changes: it belongs to {SUPERUSER}, and postgres has",
        ),
    ],
)
def test_what_cannot_be_taken_out_is_refused_before_anything_is_changed(
    shop: Options, statement: str, reason: str
) -> None:
    query(shop, "ALTER PUBLICATION changes SET TABLE shop.orders")  # beside a schema no column list may stand
    query(as_superuser(shop), statement)
    before = value(shop, "SELECT count(*) FROM migration_runbook.step")
    error = failure(shop)
    assert "shop.orders cannot be removed from its publications for the backfill" in error.msg
    assert reason in error.msg
    assert "unpublish_during_backfill=false" in error.next_command
    assert error.left_as == "unchanged"
    assert value(shop, "SELECT count(*) FROM migration_runbook.step") == before
    looked = run_module(
        "pg_environment_info",
        connection=dict(shop),
        plan=plan_of(),
        plan_settings=SETTINGS,
        unpublish_during_backfill=True,
        fail_on_blocking=False,
    )
    (finding,) = [found for found in looked["findings"] if found["name"] == "publication_not_removable"]
    assert finding["severity"] == "blocking"
    assert reason.split(": ")[-1] in finding["found"]
    assert call(shop, unpublish_during_backfill=False)["publications"] == []


def test_what_would_come_back_otherwise_stays_where_it_is(shop: Options, monkeypatch: pytest.MonkeyPatch) -> None:
    before, members, looks = membership(shop), publications.members, iter(range(9))
    # The second look comes after the table was put back on trial.
    monkeypatch.setattr(publications, "members", lambda *given: members(*given) if next(looks) != 1 else [])
    error = failure(shop)
    assert "could not be added back to its publications unchanged" in error.msg
    assert "unpublish_during_backfill=false" in error.next_command
    assert membership(shop) == before
    assert still_out(shop) == 0
    assert value(shop, "SELECT count(*) FROM shop.shipments") == 0


def test_preflight_says_what_subscribers_are_spared_and_what_they_miss(shop: Options) -> None:
    found = {}
    for unpublish in (False, True):
        looked = run_module(
            "pg_environment_info",
            connection=dict(shop),
            plan=plan_of(),
            plan_settings=SETTINGS,
            unpublish_during_backfill=unpublish,
            fail_on_blocking=False,
        )
        found[unpublish] = {entry["name"]: entry["found"] for entry in looked["findings"]}
    assert f"will send about {ORDERS_WITH_ADDRESS} update events" in found[False]["publication"]
    assert "will send about 0 update events" in found[True]["publication"]
    assert "unpublished_meanwhile" not in found[False]
    assert found[True]["unpublished_meanwhile"] == (
        "shop.orders of changes will be outside its publication while the backfill runs"
    )
