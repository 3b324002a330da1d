"""Sessions that would block the migration or be blocked by it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..verification.findings import Finding, count_to_text
from .view import View

#: Open transactions of clients in this database, oldest first; those of other roles need pg_read_all_stats.
LONG_TRANSACTIONS = """
SELECT pid, usename AS "user", application_name, state,
       round(extract(epoch FROM clock_timestamp() - xact_start)) AS seconds, left(query, 200) AS query
FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
  AND xact_start < clock_timestamp() - make_interval(secs => %(seconds)s)
ORDER BY xact_start
"""

#: What else keeps old row versions: hot standby feedback, unused slots.
OLD_SNAPSHOTS = """
SELECT pid::text AS holder, backend_type AS kind, application_name AS name,
       round(extract(epoch FROM clock_timestamp() - coalesce(xact_start, backend_start))) AS seconds,
       age(backend_xmin) AS transactions_ago
FROM pg_stat_activity
WHERE backend_xmin IS NOT NULL AND pid <> pg_backend_pid() AND pid <> ALL (%(known)s::integer[])
  AND (datname IS NULL OR datname = current_database())
  AND coalesce(xact_start, backend_start) < clock_timestamp() - make_interval(secs => %(seconds)s)
UNION ALL
SELECT slot_name::text, 'replication slot', coalesce(plugin::text, slot_type), NULL, age(xmin)
FROM pg_replication_slots WHERE xmin IS NOT NULL AND NOT active
ORDER BY transactions_ago DESC
"""

PREPARED = """
SELECT gid, owner AS "user", round(extract(epoch FROM clock_timestamp() - prepared)) AS seconds
FROM pg_prepared_xacts WHERE database = current_database() ORDER BY prepared
"""

#: Sessions that hold or wait for a lock that ordinary reads and writes do not take. Without pg_read_all_stats the
#: session's kind is hidden; a session without a user is autovacuum.
LOCKS = """
SELECT l.pid, a.usename AS "user", a.application_name,
       coalesce(a.backend_type, CASE WHEN a.pid = l.pid AND a.usesysid IS NULL THEN 'autovacuum worker' END) AS kind,
       c.oid::regclass::text AS "table", l.mode, l.granted
FROM unnest(%(tables)s::text[]) AS wanted(name)
JOIN pg_class AS c ON c.oid = to_regclass(wanted.name)
JOIN pg_locks AS l ON l.relation = c.oid AND l.locktype = 'relation'
     AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
LEFT JOIN pg_stat_activity AS a ON a.pid = l.pid
WHERE l.pid <> pg_backend_pid() AND l.mode NOT IN ('AccessShareLock', 'RowShareLock', 'RowExclusiveLock')
ORDER BY c.oid, l.granted DESC, l.pid
"""


def examine_transactions(view: View) -> Iterator[Finding]:
    """Find transactions that have been open for longer than the limit, and other holders of old row versions."""
    database, limit = view.server["database"], view.thresholds["long_transaction_seconds"]
    long = view.rows(LONG_TRANSACTIONS, {"seconds": limit})
    if long:
        yield Finding(
            "long_transaction",
            "blocking",
            database,
            f"{count_to_text(len(long), 'transaction')} open for more than {limit} s, the oldest for "
            f"{long[0]['seconds']} s",
            "a change that needs a table lock waits for it, and every statement of the application waits for that "
            "change; CREATE INDEX CONCURRENTLY waits until it ends",
            "wait until it ends, end it in its application, or: " + _terminate(long),
            long,
        )
    limit = view.thresholds["old_snapshot_seconds"]
    old = view.rows(OLD_SNAPSHOTS, {"seconds": limit, "known": [row["pid"] for row in long]})
    if old:
        yield Finding(
            "old_snapshot",
            "warning",
            database,
            f"{count_to_text(len(old), 'holder')} of row versions older than {limit} s",
            "VACUUM cannot remove old row versions, so the tables grow by every row that is moved",
            "end the session, or check the replica or slot that holds the snapshot",
            old,
        )
    if not view.value("SELECT pg_has_role('pg_read_all_stats', 'USAGE')"):
        user = view.server["user"]
        yield Finding(
            "activity_hidden",
            "information",
            user,
            f"{user} sees only the transactions of its own sessions",
            "long transactions of other roles are not listed; their locks are",
            f'GRANT pg_read_all_stats TO "{user}"',
        )


def examine_prepared(view: View) -> Iterator[Finding]:
    """Find prepared transactions, which keep their locks and snapshot until they are ended."""
    rows = view.rows(PREPARED)
    if rows:
        yield Finding(
            "prepared_transaction",
            "blocking",
            view.server["database"],
            f"{count_to_text(len(rows), 'prepared transaction')} open, the oldest for {rows[0]['seconds']} s",
            "it keeps its locks and its snapshot across restarts, until it is committed or rolled back by name",
            "; ".join(f"ROLLBACK PREPARED '{row['gid']}'" for row in rows[:3]) + ", or COMMIT PREPARED",
            rows,
        )


def examine_locks(view: View) -> Iterator[Finding]:
    """Find locks on the plan's tables that ordinary statements of the application do not take."""
    rows = view.rows(LOCKS, {"tables": view.changed_tables()})
    background = [row for row in rows if row["kind"] == "autovacuum worker"]
    sessions = [row for row in rows if row not in background]
    if sessions:
        tables = ", ".join(sorted({row["table"] for row in sessions}))
        yield Finding(
            "lock_holder",
            "blocking",
            tables,
            f"{count_to_text(len(sessions), 'lock')} on {tables} would block a change of the table",
            "another session is altering the table, maintaining it, or building an index on it",
            "wait until it ends, or: " + _terminate(sessions),
            sessions,
        )
    if background:
        tables = ", ".join(sorted({row["table"] for row in background}))
        found = f"autovacuum is running on {tables}"
        harm = "usually none: it is cancelled once another session has waited for its lock for deadlock_timeout"
        yield Finding("autovacuum", "information", tables, found, harm, "", background)


def _terminate(rows: list[dict[str, Any]]) -> str:
    pids = list(dict.fromkeys(row["pid"] for row in rows if row["pid"] is not None))
    return "; ".join(f"SELECT pg_terminate_backend({pid})" for pid in pids[:5])
