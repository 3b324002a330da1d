"""The offline form of a backfill: the plan's own function in one transaction, while the application is stopped."""

from __future__ import annotations

import psycopg2
from psycopg2 import sql

from ...database.connection import Stopwatch, identifier, transaction
from ...journal import steps as journal_steps
from ...locking import blockers
from ...locking.retry import STATEMENTS, LocksRefusedError, Waits, until_locked
from ...plan.migration_file import Step, read_lock
from ..step_context import StepContext


def run_offline(context: StepContext, step: Step) -> None:
    """Call the plan's offline function: all of it or nothing, so a run that was killed simply calls it again.

    The tables that ``backfill.offline.locks`` names are locked first, under the lock rules of every step: an
    application that was not stopped is waited for, and named when it does not end.

    :raises RunbookError: the locks are refused, or the server refuses the function; nothing is moved then.
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
            cursor.execute(call)
            row = cursor.fetchone()
            moved = int(row[0]) if row and row[0] is not None else 0
            journal_steps.put(cursor, context.work, step, "done", attempts=number, rows_moved=moved)
        return number, moved

    try:
        attempts, moved = until_locked(
            context.connection, context.observer, limits, attempt, context.writer, context.place(step.name)
        )
    except LocksRefusedError as refused:
        raise context.failure(step, refused.error, refused.why) from refused.error
    except psycopg2.Error as error:
        raise context.failure(step, error) from error
    context.offline_rows = moved
    context.note(step, "done", stopwatch, attempts)
