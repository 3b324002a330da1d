"""A transaction that may take long, because nobody waits for its locks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg2

from ..migration import locks
from ..migration.locks import BlockerWatch
from ..migration.step_context import StepContext
from ..migration.steps import Step
from ..session.connection import Cursor, transaction


@contextmanager
def patiently(context: StepContext, step: Step) -> Iterator[Cursor]:
    """Wait for locks as long as a long step may.

    :raises RunbookError: resumable, with who was in the way.
    """
    with BlockerWatch(context.observer, context.connection, 1.0) as watch:
        try:
            with transaction(context.connection) as cursor:
                locks.set_local(cursor, "lock_timeout", 0)
                locks.set_local(cursor, "statement_timeout", context.limits.long_step_limit_seconds)
                yield cursor
        except psycopg2.Error as error:
            why = locks.in_words(watch.blockers, watch.problem) if watch.blockers else ""
            raise context.failure(step, error, why, left_as="resumable") from error
