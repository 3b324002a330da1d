"""Remove a backfill's table from its publications while the backfill runs, and always add it back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import TypeVar

import psycopg2

from ..database.connection import Connection, Cursor, Stopwatch
from ..errors import RunbookError, from_driver
from ..journal.removals import still_out
from ..locking.retry import in_locked_transaction
from ..plan.migration_file import Step
from . import publications
from .call import Call
from .step_context import StepContext

T = TypeVar("T")


def require_removable(call: Call, connection: Connection) -> None:
    """Require that the backfill's table can be removed from its publications, if that is wanted.

    :raises RunbookError: it cannot, with the reason.
    """
    if call.params.get("unpublish_during_backfill") and call.backfill:
        with connection.cursor() as cursor:
            publications.require_removable(cursor, str(call.backfill["table"]))


@contextmanager
def unpublished(context: StepContext, step: Step) -> Iterator[None]:
    """Remove the table from its publications, if wanted, and add it back at the end, even after a failure or abort.

    :raises RunbookError: it cannot be removed or added back; resumable.
    """
    if not context.unpublish or context.backfill is None:
        yield
        return
    stopwatch, table = Stopwatch(), str(context.backfill["table"])
    found = _locked(
        context,
        context.connection,
        f"{context.describe(step)}: removing {table} from its publications",
        lambda cursor: publications.take_out(cursor, context.work.run_id, context.work.version, table),
    )
    context.begun = context.begun or bool(found)
    context.queries.extend(member.drop().as_string(context.connection) for member in found)
    entries: list[publications.Removed] = [
        {"publication": member.publication, "table": member.table, "outcome": "outside"} for member in found
    ]
    context.publications.extend(entries)
    try:
        yield
    except BaseException as failure:
        # The session may be closed or in an interrupted transaction.
        try:
            with closing(context.connect()) as connection:
                put_back(context, connection)
        except (RunbookError, psycopg2.Error) as error:
            if isinstance(failure, RunbookError):
                failure.msg += f" Also, {_outside(context)} could not be added back: {str(error).strip()}"
        raise
    put_back(context, context.connection)
    for entry in entries:
        entry["seconds"] = stopwatch.seconds()


def put_back(context: StepContext, connection: Connection) -> None:
    """Add back the tables that this call or an earlier one has removed.

    :raises RunbookError: a table could not be added back.
    """
    with connection.cursor() as cursor:
        if not still_out(cursor):
            return
    done = _locked(context, connection, "adding tables back to their publications", publications.put_back)
    for entry in done:
        known = [one for one in context.publications if one["outcome"] == "outside" and _same(one, entry)]
        if known:
            known[0]["outcome"] = entry["outcome"]
        else:
            context.publications.append(entry)


def _same(one: publications.Removed, other: publications.Removed) -> bool:
    return (one["publication"], one["table"]) == (other["publication"], other["table"])


def _outside(context: StepContext) -> str:
    return ", ".join(
        f"{entry['table']} of publication {entry['publication']}"
        for entry in context.publications
        if entry["outcome"] == "outside"
    )


def _locked(context: StepContext, connection: Connection, doing: str, work: Callable[[Cursor], T]) -> T:
    """Run work in a transaction; retry while a lock is refused: only VACUUM and index builds can block it."""

    def failure(error: psycopg2.Error, why: str) -> RunbookError:
        return from_driver(error, doing, why=why, left_as=context.left_as, next_command=context.resume_command)

    return in_locked_transaction(
        connection,
        context.observer,
        context.limits,
        lambda cursor, _attempt: work(cursor),
        failure,
        writer=context.writer,
        place=context.place(doing),
        begin=context.lease.check,
    )
