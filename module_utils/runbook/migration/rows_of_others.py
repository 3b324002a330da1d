"""A reverse that rows of other tables have stopped: left so that either direction goes on from there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg2

from ..database.connection import transaction
from ..errors import ROWS_OF_OTHERS, RunbookError
from ..journal import ledger
from ..journal import steps as journal_steps
from ..journal.migration_state import file_steps
from ..journal.steps import Work
from .call import Call
from .step_context import StepContext


@contextmanager
def allow_both_directions(call: Call, context: StepContext, forward_command: str) -> Iterator[None]:
    """Where a revert refuses to touch rows of other tables, leave what the next command finds fit for both directions.

    :param forward_command: what applies the plan; empty without a run.
    """
    try:
        yield
    except RunbookError as error:
        if call.direction == "reverted" and error.sqlstate == ROWS_OF_OTHERS:
            _leave_half_applied(call, context, error, forward_command)
        raise


def _leave_half_applied(call: Call, context: StepContext, error: RunbookError, forward_command: str) -> None:
    """Make a migration that is half reverted one that is half applied, and say in the error what can be done.

    Half applied, it can be applied again from its first step, or reverted again.
    """
    first = file_steps(call.migration, "applied")[0]
    with transaction(context.connection) as cursor:
        context.lease.check(cursor)
        journal_steps.begin(cursor, Work(call.run_id, call.migration["version"], "applied"), first)
        ledger.delete(cursor, call.migration["version"])
    error.left_as = "resumable"
    if isinstance(error.__cause__, psycopg2.Error):
        named = (error.__cause__.diag.schema_name, error.__cause__.diag.table_name)
        error.object_name = ".".join(filter(None, named)) or error.object_name
    forward = f"; or go forward again: {forward_command}" if forward_command else ""
    error.next_command = (
        "find these rows (see the hint), delete them or point them elsewhere, then go on with the rollback: "
        f"{context.resume_command}{forward}"
    )
