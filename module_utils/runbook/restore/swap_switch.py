"""Rename both databases in one transaction, while another session ends all remaining sessions."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import psycopg2
from psycopg2 import sql

from ..database.connection import Connection, Cursor, SessionSettings, Stopwatch, session, transaction
from ..database.queries import row, value
from ..errors import RunbookError, from_driver
from . import database_settings
from .swap_names import Names

HOLDER = """
SELECT a.pid, a.usename::text, a.application_name
  FROM pg_catalog.pg_locks k JOIN pg_catalog.pg_stat_activity a ON a.pid = k.pid
 WHERE k.locktype = 'advisory' AND k.granted AND k.classid::bigint = %s
   AND k.objid::bigint = (pg_catalog.hashtext(%s)::bigint & 4294967295)
"""


def swap_in_progress(cursor: Cursor, lock_class: int, database: str) -> RunbookError:
    """Return the refusal of a second swap, with the holder of the lock: any session can take an advisory lock."""
    pid, user, application = row(cursor, HOLDER, (lock_class, database)) or ("unknown", "unknown", "")
    return RunbookError(
        f"another restore by swap of {database} is running: session {pid} of user {user} "
        f"(application {application or '-'}) holds its advisory lock.",
        object_name=database,
        next_command="wait until it has ended, then run the same command again; if that session is not a restore, "
        f"end it: SELECT pg_terminate_backend({pid})",
    )


#: Seconds between two attempts to end all sessions.
POLL_SECONDS = 0.1

# By oid: after the transaction the new database has the old one's name.
END_SESSIONS = """
SELECT a.pid, coalesce(a.usename::text, '-'), coalesce(nullif(a.application_name, ''), a.backend_type, ''),
       pg_catalog.pg_terminate_backend(a.pid)
  FROM pg_catalog.pg_stat_activity a
 WHERE a.datid = ANY (%s::oid[]) AND coalesce(a.backend_type, '') NOT LIKE 'autovacuum%%'
   AND (%s OR a.usesysid IN (SELECT oid FROM pg_catalog.pg_roles WHERE NOT rolsuper))
"""


def switch(admin: Connection, connect: Mapping[str, Any], names: Names, params: Mapping[str, Any]) -> dict[str, Any]:
    """Give the side database the live one's name, privileges and settings; the live one keeps existing as ``kept``.

    While the server waits for the last session to end, it accepts no new one.

    :param admin: a session in the maintenance database; ``connect`` opens a second one there.
    :param params: ``rename_attempts``, ``rename_pause_seconds``.
    :returns: ``ended_sessions``, ``given``, ``rename_seconds`` (nobody could connect), ``rename_attempts``.
    :raises RunbookError: all attempts failed. Nothing was renamed.
    """
    attempts = params["rename_attempts"]
    with admin.cursor() as cursor:
        facts = database_settings.read(cursor, names.live)
        both = [facts["oid"], database_settings.read(cursor, names.side)["oid"]]
    ended: dict[int, str] = {}
    for attempt in range(1, attempts + 1):
        watch = Stopwatch()
        try:
            with _ending(connect, both, ended), transaction(admin) as cursor:
                cursor.execute("SELECT pg_catalog.set_config('lock_timeout', '15s', true)")
                _rename(cursor, names.live, names.kept)
                mark = sql.SQL("COMMENT ON DATABASE {} IS {}")
                cursor.execute(mark.format(sql.Identifier(names.kept), sql.Literal(names.kept_mark)))
                given = database_settings.apply(cursor, names.side, facts)
                _rename(cursor, names.side, names.live)
        except (psycopg2.errors.ObjectInUse, psycopg2.errors.LockNotAvailable) as error:
            refused: psycopg2.Error = error
            time.sleep(params["rename_pause_seconds"])
        except psycopg2.Error as error:
            raise _failure(admin, error) from error
        else:
            return {
                "ended_sessions": list(ended.values()),
                "given": given,
                "rename_seconds": watch.seconds(),
                "rename_attempts": attempt,
            }
    raise RunbookError(
        f"{names.live} could not be renamed in {attempts} attempts: {str(refused).strip().splitlines()[-1]} "
        f"{len(ended)} sessions were ended. The restored database is {names.side}.",
        object_name=names.live,
        sqlstate=refused.pgcode or "",
        left_as="resumable",
        next_command="stop the application, then run the same command again: it continues with the switch",
    ) from refused


def _failure(admin: Connection, error: psycopg2.Error) -> RunbookError:
    if admin.closed == 0:
        doing, again = "the switch was rolled back", "run the same command again"
    else:
        doing = "the connection was lost during the switch, which either committed as a whole or changed nothing"
        again = "run the same command again: it finds out which"
    return from_driver(error, doing, left_as="resumable", next_command=again)


def _rename(cursor: psycopg2.extensions.cursor, name: str, to: str) -> None:
    cursor.execute(sql.SQL("ALTER DATABASE {} RENAME TO {}").format(sql.Identifier(name), sql.Identifier(to)))


@contextmanager
def _ending(connect: Mapping[str, Any], databases: list[int], ended: dict[int, str]) -> Iterator[None]:
    """End all sessions in these databases while the block runs, from another session."""
    all_ended = threading.Event()
    settings = SessionSettings(application_name="runbook pg_restore_swap ends sessions")

    def work(ender: Connection) -> None:
        with ender.cursor() as cursor:
            is_superuser = value(cursor, "SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user")
            while not all_ended.is_set():
                try:
                    cursor.execute(END_SESSIONS, (databases, is_superuser))
                    ended.update({pid: f"pid {pid} ({user}, {what})" for pid, user, what, _ in cursor.fetchall()})
                except psycopg2.Error:
                    return  # the rename reports the remaining sessions, or that the server is down
                all_ended.wait(POLL_SECONDS)

    with session(connect, settings) as ender:
        thread = threading.Thread(target=work, args=(ender,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            all_ended.set()
            thread.join()
