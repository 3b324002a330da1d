"""A backfill step, in either direction."""

from __future__ import annotations

from ..database.connection import Stopwatch, transaction
from ..journal import ledger
from ..journal import steps as journal_steps
from ..plan.migration_file import Step
from .step_context import StepContext


def move_rows(context: StepContext, step: Step) -> None:
    """Run a backfill: in batches, or all at once while the application is stopped."""
    if context.work.direction == "reverted" and not _can_have_moved(context):
        with transaction(context.connection) as cursor:
            context.lease.check(cursor)
            journal_steps.put(cursor, context.work, step, "done", rows_moved=0)
        context.reports[step.number] = "nothing to undo: the migration stopped before it made the function"
        context.note(step, "done", Stopwatch(), 1)
        return
    # Here: most migrations move no rows, and these are a fifth of what a migration loads.
    from .backfill.backfill import Backfill
    from .backfill.offline import run_offline

    if context.strategy == "offline" and (context.backfill or {}).get("offline"):
        run_offline(context, step)
    else:
        Backfill(context, step).run()


def _can_have_moved(context: StepContext) -> bool:
    """Whether the migration that a revert undoes came as far as the function that the revert calls."""
    with context.connection.cursor() as cursor:
        cursor.execute(
            "SELECT EXISTS (SELECT FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace"
            " WHERE n.nspname || '.' || p.proname = %s)",
            ((context.backfill or {}).get("function"),),
        )
        row = cursor.fetchone()
        return bool(row and row[0]) or context.work.version in ledger.read(cursor)
