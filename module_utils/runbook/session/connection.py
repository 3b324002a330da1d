"""Sessions: one direct connection per writing call, with every setting it relies on read back."""

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
from ..masking import without
from ..visible import visible
from .commit_watch import APPLICATION_NAME, WATCH
from .pooler import refuse_transaction_pooler
from .settings import SessionSettings as SessionSettings
from .settings import apply_settings
from .values import carry_values

Connection = psycopg2.extensions.connection
Cursor = psycopg2.extensions.cursor

#: Keys of the ``connection`` option. The names are libpq's, units added where libpq leaves them out.
CONNECTION_OPTIONS: dict[str, dict[str, Any]] = {
    "host": {"type": "str", "required": True},
    "port": {"type": "int", "default": 5432},
    "dbname": {"type": "str", "default": "postgres"},
    "user": {"type": "str", "default": "postgres"},
    "password": {"type": "str", "no_log": True},
    "sslmode": {
        "type": "str",
        "default": "verify-full",
        "choices": ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"],
    },
    "sslrootcert": {"type": "path"},
    "connect_timeout_seconds": {"type": "int", "default": 10},
}


def libpq_parameters(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the ``connection`` option as libpq keywords, without empty values."""
    names = {"connect_timeout_seconds": "connect_timeout"}
    return {names.get(key, key): value for key, value in options.items() if value not in (None, "")}


def describe(options: Mapping[str, Any]) -> str:
    """Name a server for a message: ``user@host:port/dbname``, never the password."""
    return "{user}@{host}:{port}/{dbname}".format(
        **{"user": "postgres", "port": 5432, "dbname": "postgres", "host": "", **options}
    )


def scrub(text: str, options: Mapping[str, Any]) -> str:
    """Remove the password from a text that came from libpq or a client tool."""
    return without(text, [options.get("password")])


def open_session(options: Mapping[str, Any], wanted: SessionSettings) -> Connection:
    """Connect and set up one session, in autocommit mode.

    :raises RunbookError: no server, wrong credentials, or a setting that does not hold (a transaction pooler).
    """
    connection = _connect(options, wanted.application_name)
    connection.autocommit = True
    carry_values(connection)
    try:
        refuse_transaction_pooler(connection, lambda: _connect(options, wanted.application_name))
        apply_settings(connection, wanted)
        if not wanted.read_only:
            observing = dataclasses.replace(
                wanted, application_name=APPLICATION_NAME, read_only=True, statement_timeout_seconds=5, settings={}
            )
            # As the role that logs in: only that one may cancel its own sessions.
            login = {name: value for name, value in options.items() if name != "role"}
            WATCH.add(connection, wanted.lock_timeout_seconds, lambda: open_session(login, observing))
    except BaseException:
        connection.close()
        raise
    return connection


def _connect(options: Mapping[str, Any], application_name: str) -> Connection:
    try:
        connection: Connection = psycopg2.connect(
            **libpq_parameters(options),
            application_name=application_name[:63],
            keepalives=1,
            keepalives_idle=30,
            keepalives_interval=10,
            keepalives_count=3,
            # Keepalives end a silence; this ends the wait for what was sent and is never acknowledged.
            tcp_user_timeout=60_000,
        )
    except psycopg2.OperationalError as error:
        raise RunbookError(
            f"no server: cannot connect to {describe(options)}: {visible(scrub(str(error), options).strip())}",
            object_name=describe(options),
            next_command="make demo"
            if str(options.get("host", "")).startswith("/")
            else "check host, port, user and password in the inventory's database_connection",
        ) from error
    return connection


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
    """One REPEATABLE READ, READ ONLY transaction: everything read inside is of one instant."""
    with connection.cursor() as cursor:
        cursor.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        try:
            yield cursor
        finally:
            if connection.closed == 0:
                cursor.execute("ROLLBACK")


@contextmanager
def transaction(connection: Connection) -> Iterator[Cursor]:
    """One READ COMMITTED transaction: committed at the end, rolled back on an exception."""
    with connection.cursor() as cursor:
        cursor.execute("BEGIN")
        try:
            yield cursor
        except BaseException:
            if connection.closed == 0:
                cursor.execute("ROLLBACK")
            raise
        cursor.execute("COMMIT")


def rows_as_dicts(cursor: Cursor) -> list[dict[str, Any]]:
    """Fetch what is left in the cursor as one dict per row, keyed by column name."""
    names = [column.name for column in cursor.description or ()]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def server_version(connection: Connection) -> int:
    """Return the server's major version, for example 17."""
    return connection.server_version // 10000


def identifier(qualified_name: str) -> sql.Composable:
    """Quote ``schema.name`` (or a bare name) for a statement."""
    return sql.Identifier(*qualified_name.split(".", 1))


class Stopwatch:
    """Time since it was made."""

    def __init__(self) -> None:
        self._start = time.monotonic()

    def seconds(self) -> float:
        """Return seconds, rounded to the millisecond."""
        return round(time.monotonic() - self._start, 3)

    def milliseconds(self) -> float:
        """Return milliseconds, rounded to the microsecond."""
        return round((time.monotonic() - self._start) * 1000, 3)
