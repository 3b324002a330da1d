"""Rows of other tables that a reverse would delete, change or leave pointing at nothing: found before it begins."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import psycopg2
from pglast.stream import RawStream
from psycopg2 import sql

from ..database.connection import Cursor
from ..database.dependents import Dependent, dependents, is_empty, reached, rows_reached
from ..database.foreign_keys import ForeignKey
from ..database.queries import read_query, savepoint
from ..errors import from_driver

Facts = dict[str, Any]

#: What a plan's query names and a migration that is half done need not have.
NOT_THERE = (
    psycopg2.errors.UndefinedTable,
    psycopg2.errors.UndefinedColumn,
    psycopg2.errors.UndefinedFunction,
    psycopg2.errors.InvalidSchemaName,
)

EFFECTS = {
    "delete": "would be deleted",
    "set null": "would be set to null",
    "set default": "would be set to their default",
    "update": "would be changed",
    "refuse": "would make it fail",
    "dangle": "would be left pointing at nothing",
}


def rows_of_others(
    cursor: Cursor, rules: Mapping[str, Any], versions: Collection[str], *, half_done: bool
) -> list[Facts]:
    """Return the keys through which undoing these versions reaches rows that are not its own.

    :param rules: the plan's ``rollback``.
    :param half_done: a migration is half done, so what the plan's queries name need not be there.
    :returns: per key ``table``, ``key``, ``changed`` (the plan's table), ``rows`` (None: this role may not count them),
        ``effect``, ``through`` (tables between), ``remedy`` (what shows them).
    """
    handled = {(entry["table"], tuple(sorted(entry["columns"]))) for entry in rules["handled_keys"]}
    found: list[Facts] = []
    for change in rules["changes"]:
        if set(change["versions"]).isdisjoint(versions):
            continue
        keys = [one for one in _reached_keys(cursor, change) if not _is_handled(one, handled)]
        if not keys:
            continue
        condition = sql.SQL("{} IN ({}\n)").format(
            sql.Identifier("root", change["key"]), sql.SQL(read_query(change["rows"]).rstrip(";"))
        )
        try:
            with savepoint(cursor):
                found += _counted(cursor, change, keys, condition)
        except psycopg2.Error as error:
            if half_done and isinstance(error, NOT_THERE):
                continue
            doing = f"looking for rows of other tables that reference {change['table']} failed"
            raise from_driver(error, doing, object_name=change["rows"]) from error
    return found


def _reached_keys(cursor: Cursor, change: Mapping[str, Any]) -> list[Dependent]:
    if not change["columns"]:
        return dependents(cursor, [change["table"]])
    # A key that is updated in cascade follows the row: nothing is lost.
    found = dependents(cursor, [], {change["table"]: change["columns"]})
    return [one for one in found if one.effect != "update"]


def _is_handled(found: Dependent, handled: Collection[tuple[str, tuple[str, ...]]]) -> bool:
    """Whether the plan looks after the key, or after one on the way to it."""
    return any((key.child, tuple(sorted(key.child_columns))) in handled for key in (*found.path, found.key))


def _counted(
    cursor: Cursor, change: Mapping[str, Any], keys: Sequence[Dependent], condition: sql.Composable
) -> Iterator[Facts]:
    # Where no row is reached, or nobody can say how many are, the keys behind that one have nothing to add.
    closed: set[ForeignKey] = set()
    for found in keys:
        if closed.intersection(found.path):
            closed.add(found.key)
            continue
        rows: int | None = None
        if found.countable:
            rows = 0 if is_empty(cursor, found.key) else rows_reached(cursor, found, condition)
        if not rows:
            closed.add(found.key)
        if rows == 0:
            continue
        yield {
            "table": found.key.child,
            "key": found.key.name,
            "columns": list(found.key.child_columns),
            "changed": change["table"],
            "effect": found.effect,
            "rows": rows,
            "through": [key.child for key in found.path],
            "remedy": _remedy(cursor, found) if rows is None else _statement(cursor, found, condition),
        }


def _statement(cursor: Cursor, found: Dependent, condition: sql.Composable) -> str:
    """Return the query of the rows on one line, without comments."""
    text = str(RawStream()(sql.SQL("SELECT child.* {}").format(reached(found, condition)).as_string(cursor)))
    return text.replace("OPERATOR(pg_catalog.=)", "=")


def _remedy(cursor: Cursor, found: Dependent) -> str:
    """Say what lets this role count the rows."""
    hidden = next(key for key in (*found.path, found.key) if not key.child_readable)
    cursor.execute("SELECT current_user")
    (role,) = cursor.fetchone() or ("",)
    schema, table = hidden.child_path
    grants = (
        sql.SQL("GRANT USAGE ON SCHEMA {schema} TO {role}; GRANT SELECT ON {schema}.{table} TO {role}")
        .format(schema=sql.Identifier(schema), table=sql.Identifier(table), role=sql.Identifier(role))
        .as_string(cursor)
    )
    return f"as the owner of {hidden.child}: {grants} (where row-level security hides rows: a role with BYPASSRLS)"


def left_by_restore(found: Sequence[Facts], plan: Mapping[str, Any]) -> list[Facts]:
    """Return the rows that reference what a restore in place removes, in tables that it does not put back."""
    protected = {entry["table"] for entry in plan["protected_tables"]}
    return [entry for entry in found if not entry["through"] and entry["table"] not in protected]


def to_text(found: Sequence[Mapping[str, Any]]) -> str:
    """Name each key with its rows and what would become of them."""
    return "; ".join(_in_words(entry) for entry in found)


def _in_words(entry: Mapping[str, Any]) -> str:
    through = f" through {', '.join(entry['through'])}" if entry["through"] else ""
    rows, table = entry["rows"], entry["table"]
    counted = f"{rows} row{'' if rows == 1 else 's'} of {table}"
    if rows is None:
        counted = f"an unknown number of rows of {table} (this role may not read all of them)"
    return (
        f"{counted} that reference {entry['changed']}{through} {EFFECTS[entry['effect']]} "
        f"(key {entry['key']} on {', '.join(entry['columns'])})"
    )


def to_lines(found: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return each key with its rows, then the statement that shows them."""
    lines = (
        [f"  {_in_words(entry)}", f"    {'to see' if entry['rows'] else 'to count'} them: {entry['remedy']}"]
        for entry in found
    )
    return [line for pair in lines for line in pair]


def next_command(found: Sequence[Mapping[str, Any]], command: str) -> str:
    """Return what to do about the rows, and the command that works then."""
    remedies = "; ".join(dict.fromkeys(entry["remedy"] for entry in found))
    return f"{remedies}; delete these rows or point them elsewhere, then: {command}"
