"""A commit that waits for a synchronous standby which is not there: bounded, recorded, and never retried blindly."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.runbook.session.connection import SessionSettings, session, transaction
from ansible.module_utils.runbook.session.unconfirmed import UnconfirmedCommitError
from psycopg2 import sql
from support.servers import Options, Server, connect, query, value
from support.tiny import MOVE, ORDERS_WITH_ADDRESS, PREPARE, REQUIRE, SETTINGS, load_shop, plan_of

Run = Callable[..., dict[str, Any]]
CONFIRMS = "not confirmed by a standby"


def set_standbys(server: Server, names: str) -> None:
    """Change synchronous_standby_names and wait until the server acts on it."""
    with connect(server.superuser_options) as connection, connection.cursor() as cursor:
        cursor.execute(sql.SQL("ALTER SYSTEM SET synchronous_standby_names = {}").format(sql.Literal(names)))
        cursor.execute("SELECT pg_reload_conf()")
    for _ in range(100):
        if value(server.superuser_options, "SHOW synchronous_standby_names") == names:
            return
        time.sleep(0.02)
    raise AssertionError("the server did not take the setting")


@pytest.fixture
def waits(server: Server, empty_database: Options) -> Iterator[Options]:
    """A database whose commits wait for synchronous standbys; the test says when there are names of some."""
    with connect({**server.superuser_options, "dbname": empty_database["dbname"]}) as connection:
        with connection.cursor() as cursor:
            cursor.execute(
                sql.SQL("ALTER DATABASE {} SET synchronous_commit = on").format(
                    sql.Identifier(empty_database["dbname"])
                )
            )
    yield empty_database
    set_standbys(server, "")


def test_the_first_write_of_the_journal(server: Server, waits: Options, run_module: Run) -> None:
    options = {"connection": waits, "state": "run_opened", "run": {"plan_hash": "a" * 64}, "plan_name": "shop"}
    set_standbys(server, "gone")
    began = time.monotonic()
    result = run_module("pg_journal", **options)
    print(time.monotonic() - began, result["msg"])
    assert result["failed"]
