"""Whether a commit of ours would wait for a synchronous standby that does not answer: no timeout ends that wait."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from ..session.standbys import REMEDY, read_standbys
from ..verification.findings import Finding, Severity
from .view import View

#: A commit that has waited this long at two looks waits for a standby that is connected and does not answer.
LONG_WAIT_SECONDS = 5
BETWEEN_LOOKS_SECONDS = 0.5

WAITING = """
SELECT pid, usename AS "user", application_name, xact_start,
       round(extract(epoch FROM clock_timestamp() - query_start)) AS seconds, left(query, 200) AS query
  FROM pg_stat_activity
 WHERE wait_event = 'SyncRep' AND query_start < clock_timestamp() - make_interval(secs => %(seconds)s)
 ORDER BY query_start
"""

HARM = "the first write of the run would wait for it without an end, and a step that commits would hold its locks"
NAME = "synchronous_standby_names"


def examine_synchronous_commit(view: View) -> Iterator[Finding]:
    """Enough synchronous standbys are connected for a commit of this role in this database, and they answer."""
    standbys = read_standbys(view.cursor)
    if not standbys.waits:
        return
    user, database = view.server["user"], view.server["database"]
    repair = (
        f'{REMEDY}. If the run need not be confirmed: ALTER ROLE "{user}" IN DATABASE "{database}" '
        "SET synchronous_commit = local, and RESET it afterwards"
    )
    severity: Severity = "blocking" if view.pending else "warning"
    seen = f"{standbys.in_words()}; synchronous_commit is {standbys.commits} for {user}"
    senders = list(standbys.senders)
    if standbys.missing:
        yield Finding("synchronous_standby_missing", severity, NAME, seen, HARM, repair, senders)
    elif standbys.confirming is None:
        grant = f'to see them: GRANT pg_monitor TO "{user}"; or look as a role that may: '
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
    time.sleep(BETWEEN_LOOKS_SECONDS)
    view.cursor.execute("SELECT pg_stat_clear_snapshot()")
    before = {(row["pid"], row["xact_start"]) for row in first}
    return [
        row for row in view.rows(WAITING, {"seconds": LONG_WAIT_SECONDS}) if (row["pid"], row["xact_start"]) in before
    ]
