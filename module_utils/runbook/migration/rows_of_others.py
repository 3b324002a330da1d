"""After rows of other tables stopped a reverse, leave a state from which both directions can continue."""

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
    """Mark the migration as half applied where rows of other tables stop its revert.

    :param forward_command: the command that applies the plan; empty without a run.
    """
    try:
        yield
    except RunbookError as error:
        if call.direction == "reverted" and error.sqlstate == ROWS_OF_OTHERS:
            _leave_half_applied(call, context, error, forward_command)
        raise


def _leave_half_applied(call: Call, context: StepContext, error: RunbookError, forward_command: str) -> None:
    """Mark a half-reverted migration as half applied: it can be applied from its first step, or reverted again."""
    first = file_steps(call.migration, "applied")[0]
    with transaction(context.connection) as cursor:
        context.lease.check(cursor)
        journal_steps.begin(cursor, Work(call.run_id, call.migration["version"], "applied"), first)
        ledger.delete(cursor, call.migration["version"])
    error.left_as = "resumable"
    if isinstance(error.__cause__, psycopg2.Error):
        named = (error.__cause__.diag.schema_name, error.__cause__.diag.table_name)
        error.object_name = ".".join(filter(None, named)) or error.object_name
    forward = f"; or migrate forward again: {forward_command}" if forward_command else ""
    error.next_command = (
        "find these rows (see the hint), delete or repoint them, then continue the rollback: "
        f"{context.resume_command}{forward}"
    )
