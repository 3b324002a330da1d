"""Read health signals of server, replicas and application load, and compare them with their levels."""

from __future__ import annotations

import collections
import dataclasses
import time
from collections.abc import Mapping

import psycopg2

from ...control.control import SIGNALS
from ...control.levels import KINDS
from ...database.connection import Cursor, rows_as_dicts
from ...database.queries import read_query, savepoint
from ...errors import RunbookError, server_message
from ...visible import visible

#: Default levels; at ``slow`` the workers pause after each batch. None means never.
DEFAULT_LEVELS: dict[str, dict[str, float | None]] = {
    "replica_lag_bytes": {"pause": 256 * 1024**2, "abort": None},
    "slot_lag_bytes": {"pause": 2 * 1024**3, "abort": 16 * 1024**3},
    "lock_waiters": {"pause": 20, "abort": None},
    "active_sessions": {"pause": None, "abort": None},
    "transactions_per_second": {"slow": 20, "pause": None, "abort": None},
    "oldest_transaction_seconds": {"pause": None, "abort": None},
    "oldest_snapshot_seconds": {"pause": 300, "abort": None},
    "autovacuum": {"pause": 2, "abort": None},
    "wal_bytes_per_second": {"pause": None, "abort": None},
    "operator_query": {"pause": 1, "abort": None},
}

#: A rate needs readings at least this far apart; the application's rate is an average over RATE_SECONDS.
SHORTEST_SECONDS = 0.2
RATE_SECONDS = 3.0

# Our own sessions are excluded by application_name. Without pg_read_all_stats, details of other roles' sessions are
# hidden, and such sessions count as far as they are visible. The server counts transactions by database: the workers'
# are subtracted, those of autovacuum, monitoring and the like are included.
READING = """
WITH others AS (
    SELECT * FROM pg_catalog.pg_stat_activity
     WHERE datname = pg_catalog.current_database() AND pid <> pg_catalog.pg_backend_pid()
       AND coalesce(application_name, '') NOT LIKE %(ours)s
), position AS (
    SELECT CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_last_wal_replay_lsn()
                ELSE pg_catalog.pg_current_wal_lsn() END AS lsn
)
SELECT pg_catalog.pg_wal_lsn_diff(lsn, '0/0') AS wal_position,
       (SELECT max(pg_catalog.pg_wal_lsn_diff(lsn, replay_lsn)) FROM pg_catalog.pg_stat_replication
         WHERE state IN ('streaming', 'catchup') AND application_name <> 'pg_basebackup') AS replica_lag_bytes,
       (SELECT max(pg_catalog.pg_wal_lsn_diff(lsn, coalesce(confirmed_flush_lsn, restart_lsn)))
          FROM pg_catalog.pg_replication_slots) AS slot_lag_bytes,
       (SELECT string_agg(pg_catalog.format('%%s (%%s)', slot_name, wal_status), ', ' ORDER BY slot_name)
          FROM pg_catalog.pg_replication_slots WHERE wal_status IN ('unreserved', 'lost')) AS slots_in_danger,
       (SELECT count(*) FROM others WHERE wait_event_type = 'Lock') AS lock_waiters,
       (SELECT count(*) FROM others WHERE state = 'active') AS active_sessions,
       (SELECT xact_commit + xact_rollback FROM pg_catalog.pg_stat_database
         WHERE datname = pg_catalog.current_database()) AS transactions,
       (SELECT extract(epoch FROM max(clock_timestamp() - xact_start)) FROM others
         WHERE coalesce(backend_type, '') <> 'autovacuum worker') AS oldest_transaction_seconds,
       (SELECT extract(epoch FROM max(clock_timestamp() - xact_start)) FROM others
         WHERE backend_xmin IS NOT NULL AND coalesce(backend_type, '') <> 'autovacuum worker')
           AS oldest_snapshot_seconds,
       (SELECT max(CASE WHEN a.query LIKE '%%(to prevent wraparound)' THEN 2 ELSE 1 END)
          FROM pg_catalog.pg_stat_activity a JOIN pg_catalog.pg_locks l ON l.pid = a.pid
         WHERE l.locktype = 'relation' AND a.usesysid IS NULL AND a.datname = pg_catalog.current_database()
           AND coalesce(a.backend_type, 'autovacuum worker') = 'autovacuum worker'
           AND l.relation = ANY (SELECT pg_catalog.to_regclass(t)::oid FROM unnest(%(tables)s::text[]) AS t))
         AS autovacuum
  FROM position
"""

MEANINGS = {
    "replica_lag_bytes": "a replica is {value:.0f} bytes behind",
    "slot_lag_bytes": "a replication slot is {value:.0f} bytes behind",
    "lock_waiters": "{value:.0f} sessions of the application wait for locks",
    "active_sessions": "{value:.0f} sessions of the application are active",
    "transactions_per_second": "sessions other than the workers make {value:.0f} transactions per second",
    "oldest_transaction_seconds": "the oldest transaction is {value:.0f} s old",
    "oldest_snapshot_seconds": "the oldest snapshot is {value:.0f} s old: dead rows cannot be pruned",
    "autovacuum": "autovacuum is running on the table (1; 2 to prevent wraparound): {value:.0f}",
    "wal_bytes_per_second": "the server writes {value:.0f} bytes of WAL per second",
}


@dataclasses.dataclass(frozen=True)
class Verdict:
    """The result of a reading; ``action`` is ``run``, ``slow``, ``pause`` or ``abort``."""

    action: str = "run"
    signal: str = ""
    reason: str = ""


class Rate:
    """The rate of a counter over several readings, because sessions report their statistics once a second at most."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._seen: collections.deque[tuple[float, float]] = collections.deque()

    def add(self, value: float, now: float) -> float | None:
        """Add a reading. Return the increase per second; None until there are two readings."""
        self._seen.append((now, value))
        while now - self._seen[0][0] > self._seconds and len(self._seen) > 2:
            self._seen.popleft()
        began, first = self._seen[0]
        return None if now - began < SHORTEST_SECONDS else max(0.0, value - first) / (now - began)


class Health:
    """Reads the signals. Not thread-safe.

    :param tables: on which autovacuum counts.
    :param levels: by signal, ``slow``, ``pause`` and ``abort``; :meth:`set_levels` overrides them.
    :param query_file: the operator's query; a row that it returns is a reason to pause, in its first column.
    """

    def __init__(
        self, tables: list[str], levels: Mapping[str, Mapping[str, float | None]], query_file: str = ""
    ) -> None:
        self._tables = tables
        self._base = merge_levels(DEFAULT_LEVELS, levels)
        self._levels = self._base
        self._query = read_query(query_file) if query_file else ""
        self._rates = {"wal_position": Rate(1.0), "transactions": Rate(RATE_SECONDS)}
        self.readings: dict[str, float] = {}

    def set_levels(self, given: Mapping[str, Mapping[str, float | None]]) -> None:
        """Override the levels of the run with the operator's."""
        self._levels = merge_levels(self._base, given)

    def read(self, cursor: Cursor, own_transactions: int = 0) -> Verdict:
        """Read all signals in the cursor's transaction and return the most severe verdict.

        :param own_transactions: transactions of the workers so far, which do not count.
        """
        cursor.execute(READING, {"ours": "runbook %", "tables": self._tables})
        row = rows_as_dicts(cursor)[0]
        slots = row.pop("slots_in_danger")
        self.readings = {name: float(value) for name, value in row.items() if value is not None}
        self._take_rate("wal_position", "wal_bytes_per_second")
        self._take_rate("transactions", "transactions_per_second", less=own_transactions)
        operator = self._ask_operator(cursor)
        found = [
            Verdict(action, name, f"{MEANINGS[name].format(value=value)} ({action} level {level:g})")
            for action in reversed(KINDS)
            for name, value in self.readings.items()
            if name in MEANINGS and (level := self._levels[name].get(action)) is not None and value >= level
        ]
        if slots:
            found.append(Verdict("pause", "slot_lag_bytes", f"replication slots lose their WAL: {slots}"))
        if operator:
            found.append(Verdict("pause", "operator_query", operator))
        return min(found, key=lambda verdict: -KINDS.index(verdict.action), default=Verdict())

    def _take_rate(self, counter: str, signal: str, less: float = 0.0) -> None:
        """Replace a counter with its rate."""
        if (value := self.readings.pop(counter, None)) is None:
            return
        if (rate := self._rates[counter].add(value - less, time.monotonic())) is not None:
            self.readings[signal] = rate

    def _ask_operator(self, cursor: Cursor) -> str:
        if not self._query or self._levels["operator_query"]["pause"] is None:
            return ""
        try:
            with savepoint(cursor):
                cursor.execute(self._query)
                row = cursor.fetchone() if cursor.description else None
        except psycopg2.Error as error:
            # Pause: a query that fails does not prove that it is safe to continue.
            return f"the operator's query failed: {server_message(error)}"
        return visible(row[0]) if row and row[0] is not None else ""


def merge_levels(
    base: Mapping[str, Mapping[str, float | None]], given: Mapping[str, Mapping[str, float | None]]
) -> dict[str, dict[str, float | None]]:
    """Override base levels with the given ones; levels that are not given stay.

    :raises RunbookError: an unknown signal or level.
    """
    merged = {name: dict(levels) for name, levels in base.items()}
    for name, levels in given.items():
        unknown = [] if name in SIGNALS else [name]
        unknown += [f"{name}.{level}" for level in levels if level not in KINDS]
        if unknown:
            raise RunbookError(
                f"health levels: unknown {', '.join(unknown)}. Signals are {', '.join(SIGNALS)}, each with the levels "
                "slow, pause and abort.",
                object_name=unknown[0],
                next_command="set migration_execution_health_levels in the inventory",
            )
        merged[name] |= dict(levels)
    return merged
