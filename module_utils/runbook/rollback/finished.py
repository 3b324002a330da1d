"""What an earlier command of the same rollback has done before it was killed: the next one does only what is left."""

from __future__ import annotations

from ..journal.runs import exists
from ..journal.steps import CLOSING_KIND
from ..migration.state import State
from ..session.connection import Cursor


def restored(cursor: Cursor, run_id: str) -> bool:
    """Whether the run's backup is restored, and no migration has been begun since.

    The event is of the restore's own transaction. A second restore would remove what was written since the first.
    """
    if not exists(cursor):
        return False
    cursor.execute(
        "SELECT EXISTS (SELECT FROM migration_runbook.event AS e WHERE e.run_id = %s AND e.phase = 'restored'"
        " AND NOT EXISTS (SELECT FROM migration_runbook.step AS s WHERE s.started_at > e.at))",
        (run_id,),
    )
    row = cursor.fetchone()
    return bool(row and row[0])


def reversed_by(state: State, run_id: str) -> bool:
    """Whether this run has reversed a migration to its end."""
    return any(
        row["direction"] == "reverted" and row["kind"] == CLOSING_KIND and row["run_id"] == run_id
        for row in state.steps
    )
