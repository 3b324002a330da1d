"""What every session of the runbook sets, whatever its role or database says."""

from __future__ import annotations

import time

import psycopg2
import pytest
from ansible.module_utils.runbook.database.connection import SessionSettings, read_only_snapshot, session
from support.servers import Options, connect, query


def test_a_session_that_waits_is_not_ended_by_a_setting_of_its_role(empty_database: Options) -> None:
    """Like the main session while workers move rows, and a snapshot's session while the dump runs."""
    name = empty_database["dbname"]
    for setting in ("idle_session_timeout", "idle_in_transaction_session_timeout"):
        query(empty_database, f"ALTER DATABASE {name} SET {setting} = '200ms'")
    with connect(empty_database) as without, without.cursor() as cursor:
        time.sleep(0.5)
        with pytest.raises(psycopg2.OperationalError):
            cursor.execute("SELECT 1")
    with session(empty_database, SessionSettings()) as connection:
        time.sleep(0.5)
        with read_only_snapshot(connection) as cursor:
            time.sleep(0.5)
            cursor.execute("SELECT current_setting('idle_session_timeout')")
            assert cursor.fetchone() == ("0",)
