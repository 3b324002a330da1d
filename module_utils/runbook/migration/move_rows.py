"""Run a backfill step, in either direction."""

from __future__ import annotations

from ..database.connection import Stopwatch, transaction
from ..database.queries import value
from ..journal import ledger
from ..journal import steps as journal_steps
from ..plan.migration_file import Step
from .step_context import StepContext


def move_rows(context: StepContext, step: Step) -> None:
    """Run a backfill in batches, or in one transaction while the application is stopped."""
    if context.work.direction == "reverted" and not _can_have_moved(context):
        with transaction(context.connection) as cursor:
            context.lease.check(cursor)
            journal_steps.put(cursor, context.work, step, "done", rows_moved=0)
        context.reports[step.number] = "nothing to undo: the migration stopped before it created the function"
        context.note(step, "done", Stopwatch(), 1)
        return
    # Imported here: most migrations have no backfill, and these modules are a fifth of what a migration loads.
    from .backfill.backfill import Backfill
    from .backfill.offline import run_offline

    if context.strategy == "offline" and (context.backfill or {}).get("offline"):
        run_offline(context, step)
    else:
        Backfill(context, step).run()


def _can_have_moved(context: StepContext) -> bool:
    """Return whether the migration got as far as creating the function that the revert calls."""
    query = (
        "SELECT EXISTS (SELECT FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace"
        " WHERE n.nspname || '.' || p.proname = %s)"
    )
    with context.connection.cursor() as cursor:
        exists = value(cursor, query, ((context.backfill or {}).get("function"),))
        return exists or context.work.version in ledger.read(cursor)
