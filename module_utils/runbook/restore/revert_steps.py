"""Run the schema steps of revert files in the transaction of a restore in place; data steps are left out."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Sequence

import psycopg2

from ..database.connection import Cursor
from ..errors import RunbookError, from_driver
from ..journal import ledger
from ..journal import steps as journal_steps
from ..locking.blockers import lock_statement
from ..plan.migration_file import Step, parse_file

_VERSION = re.compile(r"(\d+)_.*\.sql")


@dataclasses.dataclass(frozen=True)
class Revert:
    """The steps of a revert file.

    :param version: the migration that it undoes.
    """

    version: str
    path: str
    steps: tuple[Step, ...]


def read_reverts(cursor: Cursor, paths: Sequence[str], *, only_applied: bool) -> list[Revert]:
    """Parse revert files in the given order, that of the last applied migration first.

    :param only_applied: omit files of versions that are neither in the history nor started in the journal.
    :raises RunbookError: a file is not named by its version, cannot be parsed, or cannot run in a transaction.
    """
    begun = set(ledger.read(cursor)) | {step["version"] for step in journal_steps.current_steps(cursor)}
    reverts = []
    for path in paths:
        named = _VERSION.fullmatch(os.path.basename(path))
        if named is None:
            raise RunbookError(
                f"the revert file {path} is not named <version>_<name>.sql.",
                object_name=path,
                next_command=f"rename {path}",
            )
        if only_applied and named[1] not in begun:
            continue
        steps = tuple(step for step in parse_file(path, direction="reverted") if not step.data and not _vacuum(step))
        for step in steps:
            if step.kind == "concurrently":
                raise RunbookError(
                    f"{path}:{step.line}: step {step.name!r} uses CONCURRENTLY, but a restore in place is one "
                    "transaction.",
                    object_name=f"{path}:{step.line}",
                    next_command=f"write the step without CONCURRENTLY, or revert {named[1]} with pg_migration first",
                )
        reverts.append(Revert(named[1], path, steps))
    return reverts


def run_schema_steps(cursor: Cursor, reverts: Sequence[Revert]) -> list[str]:
    """Run all steps except the validations, with the lock_timeout of the transaction, and return their titles."""
    return [_run(cursor, revert, step) for revert, step in _select(reverts, validate=False)]


def run_validations(cursor: Cursor, reverts: Sequence[Revert]) -> list[str]:
    """Run the VALIDATE steps, after the rows are restored, and return their titles."""
    return [_run(cursor, revert, step) for revert, step in _select(reverts, validate=True)]


def steps_to_text(reverts: Sequence[Revert]) -> list[str]:
    """Return the titles of all steps in the order in which they would run."""
    return [_title(*found) for validate in (False, True) for found in _select(reverts, validate=validate)]


def _select(reverts: Sequence[Revert], *, validate: bool) -> list[tuple[Revert, Step]]:
    return [(revert, step) for revert in reverts for step in revert.steps if (step.kind == "validate") is validate]


def _run(cursor: Cursor, revert: Revert, step: Step) -> str:
    try:
        for lock in step.locks:
            cursor.execute(lock_statement(lock))
        for statement in step.statements:
            cursor.execute(statement)
    except (psycopg2.errors.LockNotAvailable, psycopg2.errors.DeadlockDetected):
        raise  # the caller retries the whole transaction
    except psycopg2.Error as error:
        raise from_driver(error, f"revert {_title(revert, step)}", object_name=f"{revert.path}:{step.line}") from error
    return _title(revert, step)


def _title(revert: Revert, step: Step) -> str:
    return f"{revert.version}: {step.name}"


def _vacuum(step: Step) -> bool:
    """Return whether the step is a VACUUM: it cannot run in a transaction, and nothing depends on it."""
    return step.kind == "concurrently" and step.statements[0].upper().startswith("VACUUM")
