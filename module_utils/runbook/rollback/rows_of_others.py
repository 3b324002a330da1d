"""Find rows of other tables that a reverse would delete, change or leave without their parent row."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import psycopg2
from pglast.stream import RawStream
from psycopg2 import sql

from ..database.connection import Cursor
from ..database.dependents import Dependent, dependents, is_empty, reached, rows_reached
from ..database.foreign_keys import ForeignKey
from ..database.queries import read_query, savepoint, value
from ..errors import from_driver

Facts = dict[str, Any]

#: A half-done migration need not have all objects that a plan's query names.
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
    "dangle": "would lose their parent row",
}


def rows_of_others(
    cursor: Cursor, rules: Mapping[str, Any], versions: Collection[str], *, half_done: bool
) -> list[Facts]:
    """Return the foreign keys through which undoing these versions affects rows of tables outside the plan.

    :param rules: ``rollback`` of the plan.
    :param half_done: a migration is half done, so objects that the plan's queries name may be missing.
    :returns: for each key ``table``, ``key``, ``columns``, ``changed`` (the plan's table), ``rows`` (None if this role
        cannot count them), ``effect``, ``through`` (tables between), ``remedy`` (the query or grant that shows them).
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
            doing = f"the search for rows of other tables that reference {change['table']} failed"
            raise from_driver(error, doing, object_name=change["rows"]) from error
    return found


def _reached_keys(cursor: Cursor, change: Mapping[str, Any]) -> list[Dependent]:
    if not change["columns"]:
        return dependents(cursor, [change["table"]])
    # ON UPDATE CASCADE keeps the reference: nothing is lost.
    found = dependents(cursor, [], {change["table"]: change["columns"]})
    return [one for one in found if one.effect != "update"]


def _is_handled(found: Dependent, handled: Collection[tuple[str, tuple[str, ...]]]) -> bool:
    """Return whether the plan handles the key, or one on the path to it."""
    return any((key.child, tuple(sorted(key.child_columns))) in handled for key in (*found.path, found.key))


def _counted(
    cursor: Cursor, change: Mapping[str, Any], keys: Sequence[Dependent], condition: sql.Composable
) -> Iterator[Facts]:
    # A key behind one without rows reaches no rows; behind one that cannot be counted, it cannot be counted either.
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
    """Return the query for the rows on one line, without comments."""
    text = str(RawStream()(sql.SQL("SELECT child.* {}").format(reached(found, condition)).as_string(cursor)))
    return text.replace("OPERATOR(pg_catalog.=)", "=")


def _remedy(cursor: Cursor, found: Dependent) -> str:
    """Return the grants with which this role can count the rows."""
    hidden = next(key for key in (*found.path, found.key) if not key.child_readable)
    schema, table = map(sql.Identifier, hidden.child_path)
    grants = (
        sql.SQL("GRANT USAGE ON SCHEMA {schema} TO {role}; GRANT SELECT ON {schema}.{table} TO {role}")
        .format(schema=schema, table=table, role=sql.Identifier(value(cursor, "SELECT current_user")))
        .as_string(cursor)
    )
    return f"as the owner of {hidden.child}: {grants} (where row-level security hides rows: a role with BYPASSRLS)"


def left_by_restore(found: Sequence[Facts], plan: Mapping[str, Any]) -> list[Facts]:
    """Return the rows that reference rows removed by a restore in place, in tables that it does not restore."""
    protected = {entry["table"] for entry in plan["protected_tables"]}
    return [entry for entry in found if not entry["through"] and entry["table"] not in protected]


def to_text(found: Sequence[Mapping[str, Any]]) -> str:
    """Return the number of rows of each key and what would happen to them."""
    return "; ".join(_describe(entry) for entry in found)


def _describe(entry: Mapping[str, Any]) -> str:
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
    """Return two lines for each key: its rows, and the statement that shows them."""
    lines = []
    for entry in found:
        lines += [f"  {_describe(entry)}", f"    {'to see' if entry['rows'] else 'to count'} them: {entry['remedy']}"]
    return lines


def next_command(found: Sequence[Mapping[str, Any]], command: str) -> str:
    """Return how to handle the rows, and the command that works then."""
    remedies = "; ".join(dict.fromkeys(entry["remedy"] for entry in found))
    return f"{remedies}; delete these rows or change what they reference, then: {command}"
