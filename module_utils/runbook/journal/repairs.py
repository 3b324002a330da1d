"""Record each repair in one row, in the transaction of the repair."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from psycopg2.extras import Json

from ..database.connection import Cursor
from ..plain import to_plain

#: Repairs happen before, between and after runs, so run_id is not a key.
REPAIR_TABLE = """
CREATE TABLE migration_runbook.repair (
    repair_id text PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    plan text NOT NULL,
    issue text NOT NULL,
    remedy text NOT NULL,
    run_id text,
    rows_examined bigint NOT NULL,
    rows_found bigint NOT NULL,
    rows_changed bigint NOT NULL,
    rows_archived bigint NOT NULL,
    details jsonb NOT NULL DEFAULT '{}'
);
"""

#: The issue under which a retirement of the compatibility is recorded.
RETIREMENT = "retire_compatibility"

RETIRED = """
SELECT EXISTS (
    SELECT FROM migration_runbook.repair r WHERE r.issue = %s
       AND r.at > (SELECT coalesce(max(started_at), '-infinity') FROM migration_runbook.run)
)
"""


def is_retired(cursor: Cursor) -> bool:
    """Return whether the compatibility was retired since the newest run began. Works without a journal."""
    cursor.execute("SELECT to_regclass('migration_runbook.repair') IS NOT NULL")
    if cursor.fetchone() != (True,):
        return False
    cursor.execute(RETIRED, (RETIREMENT,))
    return cursor.fetchone() == (True,)


def put(cursor: Cursor, repair_id: str, plan: str, issue: str, remedy: str, result: Mapping[str, Any]) -> None:
    """Write one repair, with the run that is open (none is needed)."""
    cursor.execute(
        "INSERT INTO migration_runbook.repair (repair_id, plan, issue, remedy, run_id, rows_examined, rows_found,"
        " rows_changed, rows_archived, details)"
        " VALUES (%s, %s, %s, %s, (SELECT run_id FROM migration_runbook.run WHERE state = 'open'), %s, %s, %s, %s, %s)",
        (
            repair_id,
            plan,
            issue,
            remedy,
            *(result[f"rows_{name}"] for name in ("examined", "found", "changed", "archived")),
            Json(to_plain(dict(result.get("details") or {}))),
        ),
    )
