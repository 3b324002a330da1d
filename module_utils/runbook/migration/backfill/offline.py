"""The offline form of a backfill: the plan's own function in one transaction, while the application is stopped."""

from __future__ import annotations

import functools

from psycopg2 import sql

from ...database.connection import Cursor, Stopwatch, identifier
from ...database.queries import value
from ...journal import steps as journal_steps
from ...locking.blockers import set_local
from ...locking.retry import Attempt, in_locked_transaction
from ...plan.migration_file import Step, read_lock
from ..step_context import StepContext


def run_offline(context: StepContext, step: Step) -> None:
    """Call the plan's offline function: all of it or nothing, so a run that was killed simply calls it again.

    The tables that ``backfill.offline.locks`` names are locked first, under the lock rules of every step: an
    application that was not stopped is waited for, and named when it does not end.

    :raises RunbookError: the locks are refused, or the server refuses the function; nothing is moved then.
    """
    offline = (context.backfill or {})["offline"]
    stopwatch = Stopwatch()
    call = sql.SQL("SELECT {}()").format(identifier(offline["function"]))
    context.queries.append(call.as_string(context.connection))

    def begin(cursor: Cursor) -> None:
        context.lease.check(cursor)
        set_local(cursor, "statement_timeout", context.limits.long_step_limit_seconds)

    def work(cursor: Cursor, attempt: Attempt) -> tuple[int, int]:
        moved = int(value(cursor, call) or 0)
        journal_steps.put(cursor, context.work, step, "done", attempts=attempt.number, rows_moved=moved)
        return attempt.number, moved

    attempts, context.offline_rows = in_locked_transaction(
        context.connection,
        context.observer,
        context.limits,
        work,
        functools.partial(context.failure, step),
        writer=context.writer,
        place=context.place(step.name),
        locks=[read_lock("plan.yml", 0, text) for text in offline.get("locks") or []],
        begin=begin,
    )
    context.note(step, "done", stopwatch, attempts)
