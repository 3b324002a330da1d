"""Record each trial's last outcome, which distinguishes a statement that we broke from one that failed before."""

from __future__ import annotations

from collections.abc import Iterable

from ..database.connection import Cursor

TRIAL_TABLE = """
CREATE TABLE migration_runbook.trial (
    name text PRIMARY KEY,
    outcome text NOT NULL CHECK (outcome IN ('passed', 'failed')),
    why text NOT NULL DEFAULT '',
    run_id text NOT NULL,
    at timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE migration_runbook.trial IS
    'failed: before the plan changed anything, or since then all the time. Such a trial does not stop a run.';
"""


def known_outcomes(cursor: Cursor) -> dict[str, str]:
    """Return the last outcome of each trial; none without the journal's table."""
    cursor.execute("SELECT to_regclass('migration_runbook.trial') IS NOT NULL")
    if cursor.fetchone() != (True,):
        return {}
    cursor.execute("SELECT name, outcome FROM migration_runbook.trial")
    return dict(cursor.fetchall())


def note_outcomes(cursor: Cursor, run_id: str, outcomes: Iterable[tuple[str, str, str]]) -> None:
    """Write name, outcome and reason of trials."""
    for name, outcome, why in outcomes:
        cursor.execute(
            "INSERT INTO migration_runbook.trial (name, outcome, why, run_id) VALUES (%s, %s, %s, %s)"
            " ON CONFLICT (name) DO UPDATE SET outcome = excluded.outcome, why = excluded.why,"
            " run_id = excluded.run_id, at = clock_timestamp() WHERE trial.outcome <> excluded.outcome",
            (name, outcome, why, run_id),
        )
