"""Detect a transaction pooler before a session changes any setting: the next client would inherit it."""

from __future__ import annotations

from collections.abc import Callable

import psycopg2.extensions

from ..errors import RunbookError

Connection = psycopg2.extensions.connection

#: Which of two connections sends next. Irregular, so that a round-robin pooler does not match the order.
_TURNS = (0, 1, 0, 0, 1, 1, 0, 1, 1, 0)


class PoolerError(RunbookError):
    """The connection goes through a transaction pooler."""


def refuse_transaction_pooler(connection: Connection, connect: Callable[[], Connection]) -> None:
    """Refuse a connection whose statements do not all reach the same server process.

    The server reports the number of its process to a direct client. A pooler invents that number. Two connections
    that are open at once then show whether they share processes; in session mode they do not.

    :param connect: opens a second connection the same way; called only when there is a pooler.
    :raises PoolerError: a transaction pooler. Nothing was set in any session.
    """
    if server_process(connection) == connection.info.backend_pid:
        return
    second = connect()
    try:
        second.autocommit = True
        answers = [(turn, server_process((connection, second)[turn])) for turn in _TURNS]
    finally:
        second.close()
    processes = [{process for turn, process in answers if turn == number} for number in (0, 1)]
    if len(processes[0]) > 1 or len(processes[1]) > 1 or processes[0] & processes[1]:
        raise transaction_pooler("the same server process served two connections that were open at the same time")


def transaction_pooler(seen: str) -> PoolerError:
    """Return the refusal with what was observed."""
    return PoolerError(
        f"the connection goes through a transaction pooler: {seen}. Settings, advisory locks and prepared "
        "statements do not persist there, and would leak into sessions of the application.",
        object_name="database_connection",
        next_command="use the direct port (5432) or the pooler's session mode in database_connection",
    )


def server_process(connection: Connection) -> int:
    """Return the process id of the answering server process, in a separate statement."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_catalog.pg_backend_pid()")
        row = cursor.fetchone()
    return int(row[0]) if row else 0
