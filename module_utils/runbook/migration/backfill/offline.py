"""Run a backfill offline: the plan's function in one transaction, while the application is stopped."""

from __future__ import annotations

from psycopg2 import sql

from ...database.connection import Cursor, Stopwatch, identifier
from ...database.queries import value
from ...journal import steps as journal_steps
from ...locking.retry import Attempt
from ...plan.migration_file import Step, read_lock
from ..step_context import StepContext


def run_offline(context: StepContext, step: Step) -> None:
    """Call the plan's offline function in one transaction; a killed run just calls it again.

    It locks the tables in ``backfill.offline.locks`` first, as every step does, so an application that was not stopped
    is reported as the blocker.

    :raises RunbookError: the locks are refused, or the function failed; no row is moved then.
    """
    offline = (context.backfill or {})["offline"]
    stopwatch = Stopwatch()
    call = sql.SQL("SELECT {}()").format(identifier(offline["function"]))
    context.queries.append(call.as_string(context.connection))

    def work(cursor: Cursor, attempt: Attempt) -> tuple[int, int]:
        moved = int(value(cursor, call) or 0)
        journal_steps.put(cursor, context.work, step, "done", attempts=attempt.number, rows_moved=moved)
        return attempt.number, moved

    attempts, context.offline_rows = context.in_locked_transaction(
        step,
        work,
        [read_lock("plan.yml", 0, text) for text in offline.get("locks") or []],
        statement_timeout_seconds=context.limits.long_step_limit_seconds,
    )
    context.note(step, "done", stopwatch, attempts)
