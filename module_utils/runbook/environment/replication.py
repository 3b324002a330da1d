"""Examine publications, replication slots and synchronous standbys, and the events that the migration will send."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from ..database.publications import not_removable
from ..database.standbys import REMEDY, read_standbys
from ..verification.findings import Finding, Severity
from .view import View

PUBLISHED = """
SELECT p.pubname AS publication, format('%%s.%%s', p.schemaname, p.tablename) AS "table", b.pubupdate AS updates
FROM pg_publication_tables AS p
JOIN pg_publication AS b USING (pubname)
WHERE format('%%s.%%s', p.schemaname, p.tablename) = ANY (%(tables)s::text[])
ORDER BY 1, 2
"""

SLOTS = """
SELECT slot_name::text AS slot, coalesce(plugin::text, slot_type) AS kind, coalesce(database::text, '') AS database,
       active, coalesce(wal_status, '') AS wal_status,
       pg_wal_lsn_diff(CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END,
                       coalesce(confirmed_flush_lsn, restart_lsn)) AS lag_bytes
FROM pg_replication_slots
ORDER BY 1
"""


def examine_publications(view: View) -> Iterator[Finding]:
    """Find published tables of the plan, and count the events that their subscribers will get."""
    rows = view.rows(PUBLISHED, {"tables": view.tables()})
    if not rows:
        return
    moved = {entry["table"] for entry in view.backfills()}
    spared = moved if view.unpublish else set()
    volume = (view.facts.get("volume") or {}).get("rows") or 0
    for row in rows:
        sends = row["table"] in moved - spared and row["updates"] and view.pending
        row["events"] = volume if sends else 0
    events = sum(row["events"] for row in rows)
    listening = view.value("SELECT count(*) FROM pg_replication_slots WHERE slot_type = 'logical' AND active")
    yield Finding(
        "publication",
        "warning" if listening and events else "information",
        ", ".join(sorted({row["publication"] for row in rows})),
        f"{len({row['table'] for row in rows})} tables of the plan are published; the migration will send about "
        f"{events} update events, one for each row it moves ({listening} active logical slots)",
        "session_replication_role does not hide rows from logical decoding: every subscriber gets every event",
        "inform the subscribers, or migrate when few are connected" if events else "",
        rows,
    )
    if spared and view.pending:
        yield from _examine_removal(
            view, sorted(spared), [row for row in rows if row["table"] in spared and row["updates"]]
        )


def _examine_removal(view: View, tables: list[str], published: list[dict[str, Any]]) -> Iterator[Finding]:
    """Report where the tables cannot be removed from their publications for the backfill, and what that means."""
    refused = [(table, row) for table in tables for row in not_removable(view.cursor, table)]
    for table, row in refused:
        yield Finding(
            "publication_not_removable",
            "blocking",
            table,
            f"{table} cannot be removed from publication {row['publication']} for the backfill: {row['reason']}",
            "subscribers would get an event for each moved row, which unpublish_during_backfill is meant to prevent",
            "set migration_execution_unpublish_during_backfill: false in the inventory; or use a publication that "
            "lists its tables and belongs to this role",
        )
    names = sorted({f"{row['table']} of {row['publication']}" for row in published})
    if names and not refused:
        yield Finding(
            "unpublished_meanwhile",
            "information",
            ", ".join(tables),
            f"{', '.join(names)} will be outside its publication while the backfill runs",
            "subscribers miss the application's writes during the backfill and do not receive them afterwards",
            "",
        )


def examine_slots(view: View) -> Iterator[Finding]:
    """Find replication slots that retain WAL."""
    limit = view.thresholds["slot_lag_bytes"]
    for row in view.rows(SLOTS):
        lag, name = row["lag_bytes"] or 0, row["slot"]
        found = f"the slot {name} ({row['kind']}) is {'active' if row['active'] else 'not active'}, {lag} bytes behind"
        if row["wal_status"] == "lost":
            harm, repair = "its WAL was removed: it can never catch up", f"SELECT pg_drop_replication_slot('{name}')"
            yield Finding("replication_slot", "warning", name, found, harm, repair, [row])
        elif not row["active"] or lag > limit:
            harm = "WAL stays on the server's disk until the slot has read it, and the migration writes a lot of WAL"
            repair = f"start its consumer, or, if nothing needs it: SELECT pg_drop_replication_slot('{name}')"
            yield Finding("replication_slot", "warning", name, found, harm, repair, [row])
        else:
            harm = "it will read everything that the migration writes"
            yield Finding("replication_slot", "information", name, found, harm, "", [row])


#: A commit that has waited for this long in two readings waits for a standby that is connected and does not answer.
LONG_WAIT_SECONDS = 5
BETWEEN_READINGS_SECONDS = 0.5

WAITING = """
SELECT pid, usename AS "user", application_name, xact_start,
       round(extract(epoch FROM clock_timestamp() - query_start)) AS seconds, left(query, 200) AS query
  FROM pg_stat_activity
 WHERE wait_event = 'SyncRep' AND query_start < clock_timestamp() - make_interval(secs => %(seconds)s)
 ORDER BY query_start
"""

HARM = "the first write of the run would wait for it indefinitely, and a step that commits would keep its locks"
NAME = "synchronous_standby_names"


def examine_synchronous_commit(view: View) -> Iterator[Finding]:
    """Require enough synchronous standbys that answer for commits of this role in this database."""
    standbys = read_standbys(view.cursor)
    if not standbys.waits:
        return
    user, database = view.server["user"], view.server["database"]
    repair = (
        f'{REMEDY}. If the run needs no confirmation: ALTER ROLE "{user}" IN DATABASE "{database}" '
        "SET synchronous_commit = local, and RESET it afterwards"
    )
    severity: Severity = "blocking" if view.pending else "warning"
    seen = f"{standbys.to_text()}; synchronous_commit is {standbys.commits} for {user}"
    senders = list(standbys.senders)
    if standbys.missing:
        yield Finding("synchronous_standby_missing", severity, NAME, seen, HARM, repair, senders)
    elif standbys.confirming is None:
        grant = f'to see them: GRANT pg_monitor TO "{user}"; or check as a role with that privilege: '
        grant += "SELECT application_name, state, sync_state FROM pg_stat_replication"
        yield Finding("synchronous_standby_unreadable", "warning", NAME, seen, HARM, grant, senders)
    waiting = _waiting(view) if not standbys.missing else []
    if waiting:
        found = (
            f"{len(waiting)} sessions have waited for a synchronous standby for {LONG_WAIT_SECONDS} s or more; {seen}"
        )
        yield Finding("synchronous_standby_silent", severity, NAME, found, HARM, repair, waiting)


def _waiting(view: View) -> list[dict[str, Any]]:
    first = view.rows(WAITING, {"seconds": LONG_WAIT_SECONDS})
    if not first:
        return []
    time.sleep(BETWEEN_READINGS_SECONDS)
    view.cursor.execute("SELECT pg_stat_clear_snapshot()")
    before = {(row["pid"], row["xact_start"]) for row in first}
    return [
        row for row in view.rows(WAITING, {"seconds": LONG_WAIT_SECONDS}) if (row["pid"], row["xact_start"]) in before
    ]
