"""Set the parameters of a session, and read each back in a separate statement."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import psycopg2
import psycopg2.extensions
from psycopg2 import errorcodes, sql

from ..errors import RunbookError, from_driver
from .parameters import PINS, RESTRICTED_PINS, Found, found_values, origin_of, same_value
from .pooler import transaction_pooler

Connection = psycopg2.extensions.connection
Cursor = psycopg2.extensions.cursor


@dataclasses.dataclass(frozen=True)
class SessionSettings:
    """What a session sets and reads back. Zero means the server's "no limit".

    :param settings: further parameters of the server or of the plan (``prefix.name``) to their text value.
    """

    application_name: str = "runbook"
    statement_timeout_seconds: float = 0
    lock_timeout_seconds: float = 0.5
    idle_in_transaction_timeout_seconds: float = 300
    read_only: bool = False
    settings: Mapping[str, str] = dataclasses.field(default_factory=dict)


def apply_settings(connection: Connection, wanted: SessionSettings, role: str = "") -> None:
    """Set every parameter, then read it back in another statement: a pooler may have changed sessions between.

    :param role: the role to act as; empty for the one that connected.
    :raises RunbookError: the database is read-only, or a parameter or the role cannot be set.
    """
    values = {
        **PINS,
        "statement_timeout": _milliseconds(wanted.statement_timeout_seconds),
        "lock_timeout": _milliseconds(wanted.lock_timeout_seconds),
        "idle_in_transaction_session_timeout": _milliseconds(wanted.idle_in_transaction_timeout_seconds),
        "application_name": wanted.application_name[:63],
        "default_transaction_read_only": "on" if wanted.read_only else "off",
        **dict(wanted.settings),
    }
    with connection.cursor() as cursor:
        restricted = {name: value for name, (value, _) in RESTRICTED_PINS.items() if name not in values}
        found = found_values(cursor, [*values, *restricted, "in_hot_standby"])
        if not wanted.read_only:
            _require_writable(cursor, found)
        values = {name: value for name, value in values.items() if name in wanted.settings or name in found}
        _restrict(cursor, {name: value for name, value in restricted.items() if name in found}, found)
        cursor.execute(
            "SELECT pg_catalog.set_config(w.name, w.value, false)"
            "  FROM unnest(%s::text[], %s::text[]) AS w (name, value)",
            (list(values), list(values.values())),
        )
        _set_role(cursor, role)
        values |= {name: value for name, value in restricted.items() if name in found} | {"role": role or "none"}
        cursor.execute(
            "SELECT w.name, pg_catalog.current_setting(w.name, true) FROM pg_catalog.unnest(%s::text[]) AS w (name)",
            (list(values),),
        )
        held: dict[str, str | None] = dict(cursor.fetchall())
        for name, value in values.items():
            if not same_value(held[name], value):
                raise transaction_pooler(f"the setting {name} was set to {value!r} and read back as {held[name]!r}")


def _require_writable(cursor: Cursor, found: Found) -> None:
    if found.get("in_hot_standby", ("off", None))[0] == "on":
        raise RunbookError(
            "the server is in recovery: it is a replica, and cannot be written to.",
            object_name="database_connection.host",
            sqlstate="25006",
            next_command="set host in database_connection to the primary",
        )
    if found["default_transaction_read_only"][1] == "on":
        origin = origin_of(cursor, "default_transaction_read_only")
        raise RunbookError(
            f"the database is in read-only mode: default_transaction_read_only is on, {origin.where}. "
            f"{WHY_READ_ONLY} It is not overridden.",
            object_name="default_transaction_read_only",
            sqlstate="25006",
            next_command=f"remove its cause (free disk space first), then as a superuser or the owner: {origin.repair}",
        )


#: What a read-only mode usually means.
WHY_READ_ONLY = "A provider or an administrator sets it so that nothing is written, usually because the disk is full."


def _restrict(cursor: Cursor, wanted: Mapping[str, str], found: Found) -> None:
    """Set the parameters that need a privilege, if they differ; each separately, because hosts may allow some.

    :raises RunbookError: one differs and cannot be set.
    """
    for name, value in wanted.items():
        if same_value(found[name][0], value):
            continue
        statement = sql.SQL("SET {} TO {}").format(sql.Identifier(*name.split(".")), sql.Literal(value))
        try:
            cursor.execute(statement)
        except psycopg2.errors.InsufficientPrivilege as error:
            origin = origin_of(cursor, name)
            raise RunbookError(
                f"{name} is {found[name][0]} for this session, {origin.where}: {RESTRICTED_PINS[name][1]}. "
                f"This role may not set it to {value}.",
                object_name=name,
                sqlstate=error.pgcode or "",
                next_command=f"as a superuser: {origin.repair}",
            ) from error


def _set_role(cursor: Cursor, role: str) -> None:
    """Act as ``role``, or as the role that connected, regardless of that role's settings.

    :raises RunbookError: the role does not exist, or the one that connected is not a member of it.
    """
    try:
        cursor.execute("SELECT pg_catalog.set_config('role', %s, false)", (role or "none",))
    except psycopg2.Error as error:
        failure = from_driver(error, f"database_connection.role: cannot act as {role}")
        failure.object_name = role
        failure.next_command = "correct role in database_connection"
        if error.pgcode == errorcodes.INSUFFICIENT_PRIVILEGE:
            failure.next_command = f'GRANT "{role}" TO the user of database_connection, or correct role there'
        raise failure from error


def _milliseconds(seconds: float) -> str:
    return f"{round(seconds * 1000)}ms"
