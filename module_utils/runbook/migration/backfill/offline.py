"""Run a backfill offline: the plan's function in one transaction, while the application is stopped."""

from __future__ import annotations

from psycopg2 import sql

from ...database.connection import Stopwatch, identifier, transaction
from ...database.queries import value
from ...journal import steps as journal_steps
from ...locking import blockers
from ...locking.retry import STATEMENTS, Waits
from ...plan.migration_file import Step, read_lock
from ..step_context import StepContext


def run_offline(context: StepContext, step: Step) -> None:
    """Call the plan's offline function in one transaction; a killed run just calls it again.

    It locks the tables in ``backfill.offline.locks`` first, as every step does, so an application that was not stopped
    is reported as the blocker.

    :raises RunbookError: the locks are refused, or the function failed; no row is moved then.
    """
    offline = (context.backfill or {})["offline"]
    limits, stopwatch = context.limits, Stopwatch()
    wanted = [read_lock("plan.yml", 0, text) for text in offline.get("locks") or []]
    call = sql.SQL("SELECT {}()").format(identifier(offline["function"]))
    context.queries.append(call.as_string(context.connection))

    def attempt(number: int, waits: Waits) -> tuple[int, int]:
        with transaction(context.connection) as cursor:
            context.lease.check(cursor)
            blockers.set_local(cursor, "statement_timeout", limits.long_step_limit_seconds)
            for at, lock in enumerate(wanted):
                blockers.lock_table(cursor, lock, waits.timeout(at, first=at == 0))
            blockers.set_local(cursor, "lock_timeout", waits.timeout(STATEMENTS, first=not wanted))
            moved = int(value(cursor, call) or 0)
            journal_steps.put(cursor, context.work, step, "done", attempts=number, rows_moved=moved)
        return number, moved

    attempts, moved = context.locked(step, attempt)
    context.offline_rows = moved
    context.note(step, "done", stopwatch, attempts)
