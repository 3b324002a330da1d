"""End the application's sessions before a restore, and verify that no session still writes."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import psycopg2

from ..errors import RunbookError
from .connection import Connection, Cursor, Stopwatch, rows_as_dicts

#: Pause between two polls of the connected sessions, in seconds.
LOOK_SECONDS = 0.2

# Not the application: this runbook's own sessions, replication, superusers (no other role can end them: on a hosted
# server they are the host's services) and excepted roles. The watch below detects what these write nevertheless.
APPLICATION = """
SELECT a.pid, a.usename::text AS "user", coalesce(a.application_name, '') AS application
  FROM pg_catalog.pg_stat_activity a
  JOIN pg_catalog.pg_roles r ON r.oid = a.usesysid
 WHERE a.datname = pg_catalog.current_database() AND a.pid <> pg_catalog.pg_backend_pid()
   AND coalesce(a.backend_type, 'client backend') = 'client backend'
   AND a.pid NOT IN (SELECT pid FROM pg_catalog.pg_stat_replication)
   AND NOT r.rolsuper
   AND NOT (a.usename = session_user AND coalesce(a.application_name, '') LIKE 'runbook %%')
   AND NOT (%(except_own_role)s AND a.usename = session_user)
   AND a.usename <> ALL (%(except_roles)s)
 ORDER BY a.pid
"""

WRITTEN = """
SELECT schemaname || '.' || relname, n_tup_ins + n_tup_upd + n_tup_del
  FROM pg_catalog.pg_stat_all_tables WHERE schemaname || '.' || relname = ANY (%s)
"""

WRITERS = """
SELECT DISTINCT n.nspname || '.' || c.relname AS name, a.pid, a.usename::text AS "user",
       coalesce(a.application_name, '') AS application
  FROM pg_catalog.pg_locks l
  JOIN pg_catalog.pg_class c ON c.oid = l.relation JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid
 WHERE l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())
   AND l.mode = 'RowExclusiveLock' AND l.pid IS DISTINCT FROM pg_catalog.pg_backend_pid()
   AND n.nspname || '.' || c.relname = ANY (%s)
 ORDER BY 1, 2
"""


def application_sessions(cursor: Cursor, params: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the sessions that count as the application's: ``pid``, ``user``, ``application``."""
    cursor.execute(APPLICATION, {key: params[key] for key in ("except_own_role", "except_roles")})
    return rows_as_dicts(cursor)


def end_sessions(connection: Connection, params: Mapping[str, Any]) -> list[dict[str, Any]]:
    """End the application's sessions until none reconnects for a while. Return those that were ended.

    :raises RunbookError: this role may not end one, or they keep reconnecting.
    """
    ended: dict[int, dict[str, Any]] = {}
    watch, quiet = Stopwatch(), Stopwatch()
    with connection.cursor() as cursor:
        while quiet.seconds() < params["quiet_seconds"]:
            found = application_sessions(cursor, params)
            if found:
                quiet = Stopwatch()
                if watch.seconds() > params["end_timeout_seconds"]:
                    raise RunbookError(
                        f"sessions of the application are still connected after {watch.seconds():.1f} s, or came back: "
                        f"{to_text(found)}. {len(ended)} were ended.",
                        object_name=str(connection.info.dbname),
                        next_command="stop the application (application_control_stop), then run this again",
                    )
                for one in found:
                    _end(cursor, one)
                    ended[one["pid"]] = one
            time.sleep(LOOK_SECONDS)
    return list(ended.values())


def require_silence(connection: Connection, tables: Sequence[str], seconds: float) -> None:
    """Watch the tables for a while and refuse when any session writes.

    :raises RunbookError: names the tables, and the sessions that lock them where these are visible.
    """
    with connection.cursor() as cursor:
        before = _written(cursor, tables)
        end = time.monotonic() + seconds
        while True:
            cursor.execute(WRITERS, (list(tables),))
            writers = rows_as_dicts(cursor)
            after = _written(cursor, tables)
            changed = [name for name in after if after[name] != before.get(name, after[name])]
            if writers or changed:
                who = f" by {to_text(writers)}" if writers else ""
                names = sorted({*changed, *(one["name"] for one in writers)})
                raise RunbookError(
                    f"{', '.join(names)} is still written{who}, although the application's sessions were ended.",
                    object_name=names[0],
                    next_command="stop what writes, or remove its role from rollback_options.except_roles",
                )
            if time.monotonic() >= end:
                return
            time.sleep(LOOK_SECONDS)


def to_text(found: Sequence[Mapping[str, Any]]) -> str:
    """Name sessions for a message, the first five of them."""
    named = [f"pid {one['pid']} (user {one['user']}, application {one['application'] or '?'})" for one in found[:5]]
    more = f" and {len(found) - 5} more" if len(found) > 5 else ""
    return ", ".join(named) + more


def _end(cursor: Cursor, one: Mapping[str, Any]) -> None:
    try:
        cursor.execute("SELECT pg_catalog.pg_terminate_backend(%s)", (one["pid"],))
    except psycopg2.errors.InsufficientPrivilege as error:
        raise RunbookError(
            f"this role may not end {to_text([one])}.",
            object_name=str(one["user"]),
            sqlstate=error.pgcode or "",
            next_command="GRANT pg_signal_backend TO the role, or add that user to rollback_options.except_roles",
        ) from error


def _written(cursor: Cursor, tables: Sequence[str]) -> dict[str, int]:
    cursor.execute(WRITTEN, (list(tables),))
    return dict(cursor.fetchall())
