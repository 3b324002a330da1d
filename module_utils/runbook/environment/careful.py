"""Run one examination so that a refusal of the server becomes a finding and the others still run."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import psycopg2
import psycopg2.errorcodes

from ..errors import from_driver
from ..session.connection import Cursor
from ..session.queries import savepoint
from ..verification.findings import Finding

#: Lock timeout, deadlock.
_IN_THE_WAY = (psycopg2.errorcodes.LOCK_NOT_AVAILABLE, psycopg2.errorcodes.DEADLOCK_DETECTED)


def careful(name: str, cursor: Cursor, examination: Callable[[], Iterator[Finding]]) -> list[Finding]:
    """Run one examination in a savepoint.

    :param name: what is examined, for the finding when the server refuses.
    """
    try:
        with savepoint(cursor):
            return list(examination())
    except psycopg2.Error as error:
        if cursor.connection.closed:
            raise
        found = from_driver(error, f"{name} could not be examined").msg
        harm = "what it looks for can be there unseen"
        return [Finding("not_examined", "blocking", name, found, harm, _remedy(error.pgcode or ""))]


def _remedy(sqlstate: str) -> str:
    if sqlstate in _IN_THE_WAY:
        return "wait until the session that holds the lock is through, then try again"
    if sqlstate == psycopg2.errorcodes.INSUFFICIENT_PRIVILEGE:
        return "give the role the right it lacks, then try again"
    return "put right what the server says, then try again"
