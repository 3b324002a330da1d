"""What an operator said, as the run reads it: in force until changed, an abort only once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from ansible.module_utils.runbook.control import control
from ansible.module_utils.runbook.control.control import Control
from ansible.module_utils.runbook.database.connection import Connection, SessionSettings, session, transaction
from ansible.module_utils.runbook.journal import runs
from support.servers import Options


@pytest.fixture
def connection(empty_database: Options) -> Iterator[Connection]:
    with session(empty_database, SessionSettings()) as opened:
        runs.open_run(opened, plan="orders_split", plan_hash="a" * 64, run_id="r")
        yield opened


def say(connection: Connection, **wanted: object) -> Control:
    with transaction(connection) as cursor:
        return control.write(cursor, "r", replace(control.lock(cursor, "r"), **wanted), "the test")  # type: ignore[arg-type]


def test_nothing_said_is_revision_zero(connection: Connection) -> None:
    with connection.cursor() as cursor:
        assert control.read(cursor, "r") == Control()


def test_each_change_raises_the_revision_and_keeps_the_rest(connection: Connection) -> None:
    say(connection, workers=3, levels={"lock_waiters": {"pause": 5, "abort": None}})
    said = say(connection, command="pause")
    with connection.cursor() as cursor:
        assert control.read(cursor, "r") == said
    assert (said.revision, said.command, said.workers, said.batch_rows) == (2, "pause", 3, None)
    assert said.levels == {"lock_waiters": {"pause": 5, "abort": None}}
    assert said.changed_by == "the test"


def test_a_pause_is_still_in_force_at_the_next_start(connection: Connection) -> None:
    said = say(connection, command="pause")
    with connection.cursor() as cursor:
        control.acknowledge(cursor, "r", said)
        assert control.begin(cursor, "r") == said


def test_an_abort_that_was_obeyed_is_spent(connection: Connection) -> None:
    said = say(connection, command="abort", workers=2)
    with connection.cursor() as cursor:
        assert control.begin(cursor, "r").command == "abort", "nobody has read it yet"
        control.acknowledge(cursor, "r", said)
        begun = control.begin(cursor, "r")
        assert (begun.command, begun.workers, begun.revision) == ("run", 2, 2)
        assert control.begin(cursor, "r") == begun


def test_after_an_abort_was_obeyed_other_words_do_not_bring_it_back(connection: Connection) -> None:
    said = say(connection, command="abort")
    with connection.cursor() as cursor:
        assert control.in_force(cursor, "r").command == "abort"
        control.acknowledge(cursor, "r", said)
        assert control.in_force(cursor, "r").command == "run"
        assert control.read(cursor, "r").command == "abort", "the run itself reads what was said"
    say(connection, workers=4)
    with connection.cursor() as cursor:
        assert (control.begin(cursor, "r").command, control.read(cursor, "r").workers) == ("run", 4)
    again = say(connection, command="abort")
    with connection.cursor() as cursor:
        assert control.begin(cursor, "r") == again, "a second abort is one that nobody has read"


def test_how_long_it_took_to_bite(connection: Connection) -> None:
    said = say(connection, command="pause")
    with connection.cursor() as cursor:
        assert control.acknowledged_seconds(cursor, "r", said.revision) is None
        control.acknowledge(cursor, "r", said)
        seconds = control.acknowledged_seconds(cursor, "r", said.revision)
        assert seconds is not None
        assert 0 <= seconds < 5
        assert control.acknowledged_seconds(cursor, "r", said.revision + 1) is None
