"""Write rows of the journal as a migration does."""

from __future__ import annotations

from support.servers import Options, query


def note_step(
    options: Options, run_id: str, *, state: str = "done", kind: str = "transaction", changed: bool = True
) -> None:
    """Write the row of a run's first step."""
    query(
        options,
        "INSERT INTO migration_runbook.step (run_id, version, direction, step_number, name, kind, sha256, state,"
        " changed_tables) VALUES (%s, '20250101000000', 'applied', 1, 'first', %s, '', %s, %s) RETURNING id",
        (run_id, kind, state, changed),
    )
