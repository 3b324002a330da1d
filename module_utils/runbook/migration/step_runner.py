"""Running steps: each in its own transaction with its journal row, or outside one with intent and outcome."""

from __future__ import annotations

import time

import psycopg2

from ..errors import RunbookError
from ..journal import steps as journal_steps
from ..session.connection import Cursor, Stopwatch, transaction
from . import index_state, locks
from .locks import BlockerWatch
from .step_context import StepContext
from .steps import Step
from .waiting import StepWatch

#: Where a transaction stood when a lock was refused: at its n-th table, or at its statements.
STATEMENTS = -1


def run_in_transaction(context: StepContext, step: Step) -> None:
    """Run a step's statements and its journal row in one transaction, again and again while locks are refused.

    Each attempt waits no longer than lock_timeout, so that the application queues behind us no longer than
    that; a pause between attempts lets the queue drain. Where autovacuum is in the way the next attempt waits
    just longer than deadlock_timeout: only then does autovacuum give way.
    """
    limits, stopwatch = context.limits, Stopwatch()
    shortest = limits.lock_timeout_seconds * (locks.LATER_LOCKS_SHARE if len(step.locks) > 1 else 1.0)
    patient: dict[int, float] = {}
    for attempt in range(1, limits.lock_attempts + 1):
        attempted = _Attempt(context, step, patient)
        with StepWatch(context, step, "lock", shortest) as watch:
            try:
                attempted.run(attempt)
            except (psycopg2.errors.LockNotAvailable, psycopg2.errors.DeadlockDetected) as error:
                refused: psycopg2.Error = error
            except psycopg2.Error as error:
                raise context.failure(step, error) from error
            else:
                context.note(step, "done", stopwatch, attempt)
                return
        spent = stopwatch.seconds() + limits.lock_pause_seconds
        if attempt == limits.lock_attempts or spent > limits.lock_attempts_limit_seconds:
            raise _given_up(
                context, step, refused, watch, f"{attempt} attempts in {stopwatch.seconds():.1f} s"
            ) from refused
        if locks.is_autovacuum(watch.blockers):
            with context.observer.cursor() as cursor:
                wait = locks.deadlock_timeout_seconds(cursor) + locks.AUTOVACUUM_MARGIN_SECONDS
            patient[attempted.at] = wait
        time.sleep(limits.lock_pause_seconds)


class _Attempt:
    """One transaction. ``at`` tells which lock it was waiting for when it ended."""

    def __init__(self, context: StepContext, step: Step, patient: dict[int, float]) -> None:
        self._context = context
        self._step = step
        self._patient = patient
        self.at = STATEMENTS

    def run(self, attempt: int) -> None:
        context, step = self._context, self._step
        with transaction(context.connection) as cursor:
            context.lease.check(cursor)
            locks.set_local(cursor, "statement_timeout", context.limits.statement_timeout_seconds)
            for self.at, lock in enumerate(step.locks):
                _remember(context, locks.lock_table(cursor, lock, self._timeout(first=self.at == 0)))
            first = not step.locks
            self.at = STATEMENTS
            locks.set_local(cursor, "lock_timeout", self._timeout(first=first))
            for statement in step.statements:
                _remember(context, statement)
                cursor.execute(statement)
            journal_steps.put(cursor, context.work, step, "done", attempts=attempt)

    def _timeout(self, *, first: bool) -> float:
        share = 1.0 if first else locks.LATER_LOCKS_SHARE
        return self._patient.get(self.at, self._context.limits.lock_timeout_seconds * share)


def run_validation(context: StepContext, step: Step) -> None:
    """Run a VALIDATE step in a transaction under a wall-clock limit: it makes neither readers nor writers wait."""
    stopwatch = Stopwatch()
    with StepWatch(context, step, "validate", context.limits.long_step_limit_seconds) as watch:
        try:
            with transaction(context.connection) as cursor:
                context.lease.check(cursor)
                locks.set_local(cursor, "statement_timeout", context.limits.long_step_limit_seconds)
                locks.set_local(cursor, "lock_timeout", 0)
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
    raise _given_up(
        context, step, failure, watch, f"{stopwatch.seconds():.1f} s (long_step_limit_seconds)"
    ) from failure


def run_concurrently(context: StepContext, step: Step) -> None:
    """Run a statement that must stand outside a transaction: intent before, outcome after, judged from the catalog.

    lock_timeout would kill it behind any older transaction and leave an invalid index: a wall-clock limit
    bounds it instead.
    """
    stopwatch = Stopwatch()
    statement = step.statements[0]
    wanted = index_state.wanted_index(statement)
    state = _look(context, step, wanted)
    if state and state.status == "other":
        _refuse_other_index(context, step, state)
    with transaction(context.connection) as cursor:
        context.lease.check(cursor)
        journal_steps.put(cursor, context.work, step, "intent")
    context.begun = True
    if wanted and state and state.status == "invalid":
        _execute_outside(context, step, index_state.drop_statement(wanted).as_string(context.connection))
    if state is None or state.status != "present":
        _execute_outside(context, step, statement)
    after = _look(context, step, wanted)
    if after and after.status != "present":
        raise RunbookError(
            f"{context.describe(step)} ended, but the index {wanted.name if wanted else ''} is {after.status}.",
            object_name=wanted.name if wanted else "",
            left_as="resumable",
            next_command=context.resume_command,
        )
    with transaction(context.connection) as cursor:
        context.lease.check(cursor)
        journal_steps.put(cursor, context.work, step, "done")
    context.note(step, "already_present" if state and state.status == "present" else "done", stopwatch, 1)


def _look(context: StepContext, step: Step, wanted: index_state.WantedIndex | None) -> index_state.IndexState | None:
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
                    step, error, "An index that it left invalid is dropped and built again on the next run."
                ) from error
            else:
                return
            finally:
                if context.connection.closed == 0:
                    _set(cursor, "statement_timeout", context.limits.statement_timeout_seconds)
                    _set(cursor, "lock_timeout", context.limits.lock_timeout_seconds)
    raise _given_up(
        context, step, failure, watch, f"{stopwatch.seconds():.1f} s (long_step_limit_seconds)"
    ) from failure


def _refuse_other_index(context: StepContext, step: Step, state: index_state.IndexState) -> None:
    raise RunbookError(
        f"{context.describe(step)}: an index of this name is there with another definition. "
        f"Found: {state.found}. The file wants: {state.wanted}. It may serve the application: rename it, or drop it "
        "when nothing needs it.",
        object_name=f"{context.path}:{step.line}",
        left_as=context.left_as,
        next_command="ALTER INDEX … RENAME TO …, then " + context.resume_command,
    )


def _given_up(context: StepContext, step: Step, error: psycopg2.Error, watch: BlockerWatch, after: str) -> RunbookError:
    why = f"Given up after {after}. {locks.in_words(watch.blockers, watch.problem)}"
    return context.failure(step, error, why)


def _set(cursor: Cursor, name: str, seconds: float) -> None:
    cursor.execute("SELECT pg_catalog.set_config(%s, %s, false)", (name, f"{round(seconds * 1000)}ms"))


def _remember(context: StepContext, statement: str) -> None:
    if statement not in context.queries:
        context.queries.append(statement)
