"""Open every session in one function, with each setting read back; client tools get the same settings."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import psycopg2
import psycopg2.extensions
from psycopg2 import sql

from ..errors import RunbookError
from ..visible import visible
from . import libpq_environment
from .commit_watch import APPLICATION_NAME, WATCH
from .options import CONNECTION_OPTIONS as CONNECTION_OPTIONS
from .options import connect_parameters, describe, require_encryption, scrub
from .options import libpq_parameters as libpq_parameters
from .parameters import options_of_tools
from .pooler import refuse_transaction_pooler
from .settings import SessionSettings as SessionSettings
from .settings import apply_settings
from .values import client_encoding, register_casts, use_encoding

Connection = psycopg2.extensions.connection
Cursor = psycopg2.extensions.cursor

#: Begins a transaction in which each statement sees what is committed, whatever the database's default is. Whether it
#: may write is what the session was opened for.
BEGIN = "BEGIN ISOLATION LEVEL READ COMMITTED NOT DEFERRABLE"
BEGIN_READ_ONLY = BEGIN + " READ ONLY"


def open_session(options: Mapping[str, Any], wanted: SessionSettings) -> Connection:
    """Connect and set up one session, in autocommit mode.

    :raises RunbookError: no server, wrong credentials, a read-only database, or a setting that does not persist (a
        transaction pooler).
    """
    connection = _connect(options, wanted.application_name)
    try:
        refuse_transaction_pooler(connection, lambda: _connect(options, wanted.application_name))
        apply_settings(connection, wanted, str(options.get("role") or ""))
        if not wanted.read_only:
            observing = dataclasses.replace(
                wanted, application_name=APPLICATION_NAME, read_only=True, statement_timeout_seconds=5, settings={}
            )
            # As the login role: only that role may cancel its own sessions.
            login = {name: value for name, value in options.items() if name != "role"}
            WATCH.add(connection, wanted.lock_timeout_seconds, lambda: open_session(login, observing))
    except BaseException:
        connection.close()
        raise
    return connection


def _connect(options: Mapping[str, Any], application_name: str) -> Connection:
    libpq_environment.clear()
    parameters = {
        **connect_parameters(options),
        "application_name": application_name[:63],
        "keepalives": 1,
        "keepalives_idle": 30,
        "keepalives_interval": 10,
        "keepalives_count": 3,
        # Keepalives detect a silent peer; this ends the wait for data that is never acknowledged.
        "tcp_user_timeout": 60_000,
    }
    try:
        connection = _connect_quoting_safely(parameters)
    except psycopg2.Error as error:
        from .connection_faults import explain  # rarely needed, and costly to load

        fault = explain(error, parameters)
        raise RunbookError(
            f"cannot connect to {describe(options)}: {visible(fault.cause)}. The connection failed with: "
            f"{visible(scrub(fault.text, options))}.",
            object_name=describe(options),
            sqlstate=fault.sqlstate,
            next_command=fault.remedy,
        ) from error
    try:
        require_encryption(connection, options)
        connection.autocommit = True
        use_encoding(connection)
        register_casts(connection)
    except BaseException:
        connection.close()
        raise
    return connection


#: Overrides ALTER ROLE and ALTER DATABASE.
_STANDARD_STRINGS = "-c standard_conforming_strings=on"


def _connect_quoting_safely(parameters: Mapping[str, Any]) -> Connection:
    """Connect so that the driver quotes text as the pinned session reads it.

    The driver decides once, when it connects, whether it writes text as E'…'. If role or database set
    standard_conforming_strings off, it would keep that form after the parameter is pinned: a backslash in a value would
    be read as an escape, and could end the text.

    :raises RunbookError: the parameter cannot be set for the connection.
    """
    connection: Connection = psycopg2.connect(**parameters, client_encoding="UTF8")
    if _reads_backslashes(connection):
        connection.close()
        given = f"{parameters.get('options') or ''} {_STANDARD_STRINGS}".strip()
        connection = psycopg2.connect(**{**parameters, "options": given}, client_encoding="UTF8")
        if _reads_backslashes(connection):
            connection.close()
            name = "standard_conforming_strings"
            raise RunbookError(
                f"{name} is off for this session, and the server or a pooler before it ignores the value that the "
                "connection asks for. Values could not be quoted safely.",
                object_name=name,
                next_command=f"as a superuser or the owner: ALTER DATABASE <name> RESET {name}, or ALTER ROLE <role> "
                f"RESET {name}, whichever set it",
            )
    return connection


def _reads_backslashes(connection: Connection) -> bool:
    status: str | None = connection.info.parameter_status("standard_conforming_strings")
    return status == "off"


def client_environment(options: Mapping[str, Any], application_name: str) -> dict[str, str]:
    """Return the environment in which a client tool works as a session does: same server, role, TLS and settings.

    A session is opened first, so that its clear error replaces that of the tool.

    :raises RunbookError: as open_session does.
    """
    with session(options, SessionSettings(application_name=application_name, read_only=True)) as connection:
        own = {"PGCLIENTENCODING": client_encoding(connection), "PGOPTIONS": options_of_tools(connection)}
    return tool_environment(options, application_name) | {name: value for name, value in own.items() if value}


def tool_environment(options: Mapping[str, Any], application_name: str) -> dict[str, str]:
    """Return the environment in which a client tool reaches the ``connection``, and nothing else."""
    given = libpq_environment.variables(connect_parameters(options))
    return {**libpq_environment.environment_of_tools(), **given, "PGAPPNAME": application_name[:63]}


@contextmanager
def session(options: Mapping[str, Any], wanted: SessionSettings) -> Iterator[Connection]:
    """Open a session and close it whatever happens inside."""
    connection = open_session(options, wanted)
    try:
        yield connection
    finally:
        connection.close()


@contextmanager
def read_only_snapshot(connection: Connection) -> Iterator[Cursor]:
    """Open a REPEATABLE READ, READ ONLY transaction: everything read inside is of one instant."""
    with connection.cursor() as cursor:
        cursor.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        try:
            yield cursor
        finally:
            if connection.closed == 0:
                cursor.execute("ROLLBACK")


@contextmanager
def transaction(connection: Connection) -> Iterator[Cursor]:
    """Open a READ COMMITTED transaction: committed at the end, rolled back on an exception."""
    with connection.cursor() as cursor:
        cursor.execute(BEGIN)
        try:
            yield cursor
        except BaseException:
            if connection.closed == 0:
                cursor.execute("ROLLBACK")
            raise
        cursor.execute("COMMIT")


def rows_as_dicts(cursor: Cursor) -> list[dict[str, Any]]:
    """Fetch the remaining rows of the cursor as one dict per row, keyed by column name."""
    names = [column.name for column in cursor.description or ()]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def server_version(connection: Connection) -> int:
    """Return the server's major version, for example 17."""
    return connection.server_version // 10000


def identifier(qualified_name: str) -> sql.Composable:
    """Quote ``schema.name`` (or a bare name) for a statement."""
    return sql.Identifier(*qualified_name.split(".", 1))


class Stopwatch:
    """Measures the time since its creation."""

    def __init__(self) -> None:
        self._start = time.monotonic()

    def seconds(self) -> float:
        """Return seconds, rounded to the millisecond."""
        return round(time.monotonic() - self._start, 3)

    def milliseconds(self) -> float:
        """Return milliseconds, rounded to the microsecond."""
        return round((time.monotonic() - self._start) * 1000, 3)
