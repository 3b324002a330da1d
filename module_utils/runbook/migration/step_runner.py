"""Run steps: in a transaction with the journal row, or outside one with intent and outcome in the journal."""

from __future__ import annotations

import psycopg2
from psycopg2 import sql

from ..database.connection import Cursor, Stopwatch, rows_as_dicts, transaction
from ..errors import RunbookError
from ..journal import steps as journal_steps
from ..journal.changes import touches_tables
from ..locking import blockers
from ..locking.blockers import Blocker, BlockerWatch
from ..locking.retry import Attempt
from ..locking.wait_report import WaitReport
from ..plan.migration_file import Step
from . import index_state
from .step_context import StepContext
from .step_trials import TrialsFailedError

#: Transactions older than this are reported before a step requests its locks.
LONG_LIVED_SECONDS = 5.0

# Sessions that hold a lock on one of the tables, or (for CONCURRENTLY) an older snapshot.
LONG_LIVED = sql.SQL("""
SELECT DISTINCT ON (a.pid) {columns}
  FROM pg_catalog.pg_stat_activity a
  LEFT JOIN pg_catalog.pg_locks l ON l.pid = a.pid AND l.locktype = 'relation' AND l.granted
   AND l.relation = ANY (SELECT pg_catalog.to_regclass(t)::oid FROM unnest(%(tables)s::text[]) AS t)
 WHERE a.pid <> pg_catalog.pg_backend_pid() AND a.datname = pg_catalog.current_database()
   AND coalesce(a.application_name, '') NOT LIKE 'runbook %%'
   AND a.xact_start < clock_timestamp() - pg_catalog.make_interval(secs => %(seconds)s)
   AND (l.pid IS NOT NULL OR %(snapshots)s AND a.backend_xmin IS NOT NULL)
 ORDER BY a.pid
""").format(columns=blockers.BLOCKER_COLUMNS)


def report_long_lived(context: StepContext, step: Step) -> None:
    """Report the old sessions that a step would wait for, in its result and as progress, before its first attempt."""
    tables = [lock.table for lock in step.locks]
    snapshots = step.kind == "concurrently"
    if not tables and not snapshots:
        return
    with context.observer.cursor() as cursor:
        cursor.execute(LONG_LIVED, {"tables": tables, "seconds": LONG_LIVED_SECONDS, "snapshots": snapshots})
        found: list[Blocker] = rows_as_dicts(cursor)
    if found:
        words = blockers.to_text(found).replace("Blocked by", "Blockers before the first attempt:")
        context.reports[step.number] = words
        context.writer.write({**context.place(step.name), "kind": "lock", "state": "waiting", "reason": words})


class StepWatch(WaitReport):
    """Reports the blockers of a step's session."""

    def __init__(self, context: StepContext, step: Step, kind: str, wait_seconds: float) -> None:
        place = context.place(step.name)
        super().__init__(context.observer, context.connection, wait_seconds, context.writer, place, kind)


def run_in_transaction(context: StepContext, step: Step) -> None:
    """Run a step's statements and its journal row in one transaction, retried while locks are refused.

    Each attempt waits for lock_timeout at most, and so does the application behind it; the pause between attempts lets
    that queue drain.
    """
    stopwatch = Stopwatch()

    def work(cursor: Cursor, attempt: Attempt) -> tuple[int, bool]:
        for lock in step.locks:
            _remember(context, blockers.lock_statement(lock).as_string(cursor))
        for statement in step.statements:
            _remember(context, statement)
            cursor.execute(statement)
        changed = touches_tables(cursor, context.helper_schema)
        if context.trials:
            context.trials.in_step(cursor)
        journal_steps.put(cursor, context.work, step, "done", attempts=attempt.number, changed_tables=changed)
        return attempt.number, changed

    try:
        attempts, changed = context.in_locked_transaction(
            step, work, step.locks, statement_timeout_seconds=context.limits.statement_timeout_seconds
        )
    except TrialsFailedError as failed:
        raise context.stopped_by_trials(step, failed) from failed
    if context.trials:
        context.trials.committed()
    context.note(step, "done", stopwatch, attempts, changed=changed)


def run_validation(context: StepContext, step: Step) -> None:
    """Run a VALIDATE step in a transaction with a time limit; it blocks neither readers nor writers."""
    stopwatch = Stopwatch()
    with StepWatch(context, step, "validate", context.limits.long_step_limit_seconds) as watch:
        try:
            with transaction(context.connection) as cursor:
                context.lease.check(cursor)
                blockers.set_local(cursor, "statement_timeout", context.limits.long_step_limit_seconds)
                blockers.set_local(cursor, "lock_timeout", 0)
                for statement in step.statements:
                    _remember(context, statement)
                    cursor.execute(statement)
                journal_steps.put(cursor, context.work, step, "done")
        except psycopg2.errors.QueryCanceled as error:
            failure: psycopg2.Error = error
        except psycopg2.Error as error:
            raise context.failure(step, error) from error
        else:
            context.note(step, "done", stopwatch, 1)
            return
    raise _given_up(context, step, failure, watch, stopwatch) from failure


def run_concurrently(context: StepContext, step: Step) -> None:
    """Run a statement outside a transaction: journal the intent, run it, check the catalog, journal the outcome.

    lock_timeout would cancel it behind any older transaction and leave an invalid index, so only a time limit bounds
    it.
    """
    stopwatch = Stopwatch()
    statement = step.statements[0]
    wanted = index_state.wanted_index(statement)
    state = _find(context, step, wanted)
    if state and state.status == "other":
        _refuse_other_index(context, step, state)
    with transaction(context.connection) as cursor:
        context.lease.check(cursor)
        journal_steps.put(cursor, context.work, step, "intent")
    context.begun = True
    if wanted and state and state.status == "invalid":
        _execute_outside(context, step, index_state.drop_statement(wanted).as_string(context.connection))
    if state is None or state.status != "present":
        # With the application stopped nothing is blocked: one scan instead of two.
        offline = context.strategy == "offline" and wanted
        _execute_outside(context, step, index_state.blocking_statement(statement) if offline else statement)
    after = _find(context, step, wanted)
    if wanted and after and after.status != "present":
        raise RunbookError(
            f"{context.describe(step)} ended, but the index {wanted.name} is {after.status}.",
            object_name=wanted.name,
            left_as="resumable",
            next_command=context.resume_command,
        )
    with transaction(context.connection) as cursor:
        context.lease.check(cursor)
        journal_steps.put(cursor, context.work, step, "done")
    context.note(step, "already_present" if state and state.status == "present" else "done", stopwatch, 1)


def _find(context: StepContext, step: Step, wanted: index_state.WantedIndex | None) -> index_state.IndexState | None:
    try:
        return index_state.find(context.connection, wanted) if wanted else None
    except psycopg2.Error as error:
        raise context.failure(step, error) from error


def _execute_outside(context: StepContext, step: Step, statement: str) -> None:
    stopwatch = Stopwatch()
    with context.connection.cursor() as cursor:
        _set(cursor, "statement_timeout", context.limits.long_step_limit_seconds)
        _set(cursor, "lock_timeout", 0)
        _remember(context, statement)
        with StepWatch(context, step, "concurrently", context.limits.long_step_limit_seconds) as watch:
            try:
                cursor.execute(statement)
            except psycopg2.errors.QueryCanceled as error:
                failure: psycopg2.Error = error
            except psycopg2.Error as error:
                raise context.failure(
                    step, error, "The next run drops an index that it left invalid, and builds it again."
                ) from error
            else:
                return
            finally:
                if context.connection.closed == 0:
                    _set(cursor, "statement_timeout", context.limits.statement_timeout_seconds)
                    _set(cursor, "lock_timeout", context.limits.lock_timeout_seconds)
    raise _given_up(context, step, failure, watch, stopwatch) from failure


def _refuse_other_index(context: StepContext, step: Step, state: index_state.IndexState) -> None:
    raise RunbookError(
        f"{context.describe(step)}: an index of this name exists with another definition. "
        f"Found: {state.found}. In the file: {state.wanted}. The application may use it: rename it, or drop it if "
        "nothing needs it.",
        object_name=f"{step.path}:{step.line}",
        left_as=context.left_as,
        next_command="ALTER INDEX … RENAME TO …, then " + context.resume_command,
    )


def _given_up(
    context: StepContext, step: Step, error: psycopg2.Error, watch: BlockerWatch, stopwatch: Stopwatch
) -> RunbookError:
    spent = f"{stopwatch.seconds():.1f} s (long_step_limit_seconds)"
    why = f"Given up after {spent}. {blockers.to_text(watch.blockers, watch.problem)}"
    return context.failure(step, error, why)


def _set(cursor: Cursor, name: str, seconds: float) -> None:
    cursor.execute("SELECT pg_catalog.set_config(%s, %s, false)", (name, f"{round(seconds * 1000)}ms"))


def _remember(context: StepContext, statement: str) -> None:
    if statement not in context.queries:
        context.queries.append(statement)
