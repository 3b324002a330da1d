"""Build queries for the rows that a plan will write, over the present schema."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from psycopg2 import sql

from ...database.connection import identifier
from ...database.queries import read_query
from .subject import Subject
from .writes import Writes


def created(subject: Subject, writes: Writes, wanted: Collection[str]) -> list[sql.Composable]:
    """Return a query per declaration of new rows: the wanted columns, with defaults where none is given."""
    return [_created(subject, writes.table, entry, wanted) for entry in writes.created_by]


def updated(subject: Subject, writes: Writes, wanted: Collection[str]) -> list[sql.Composable]:
    """Return a query per declaration of updated rows: those that stay, with their new values."""
    found: list[sql.Composable] = []
    for entry in writes.updated_by:
        given = set(entry["columns"])
        columns = [
            sql.Identifier("u" if name in given else "t", name) + sql.SQL(" AS ") + sql.Identifier(name)
            for name in _present(subject, writes.table, wanted)
        ]
        found.append(
            sql.SQL("SELECT {} FROM {} AS t JOIN {} AS u ON u.{key} = t.{key} WHERE u.stays").format(
                sql.SQL(", ").join(columns),
                identifier(writes.table),
                rows_query(entry),
                key=sql.Identifier(entry["key"]),
            )
        )
    return found


def untouched(subject: Subject, writes: Writes, wanted: Collection[str]) -> sql.Composable:
    """Return a query for the rows that the plan does not change."""
    columns = [sql.Identifier("t", name) for name in _present(subject, writes.table, wanted)]
    others = [
        sql.SQL("NOT EXISTS (SELECT FROM {} AS u WHERE u.{key} = t.{key})").format(
            rows_query(entry), key=sql.Identifier(entry["key"])
        )
        for entry in writes.updated_by
    ]
    return sql.SQL("SELECT {} FROM {} AS t WHERE {}").format(
        sql.SQL(", ").join(columns),
        identifier(writes.table),
        sql.SQL(" AND ").join(others) if others else sql.SQL("true"),
    )


def given_columns(subject: Subject, table: str, entry: Mapping[str, Any]) -> list[str]:
    """Return the columns of a declaration that the table has already."""
    present = {column["column"] for column in subject.columns[table]}
    return [name for name in entry["columns"] if name in present]


def rows_query(entry: Mapping[str, Any]) -> sql.Composable:
    """Return a declaration's query as a table expression."""
    return sql.SQL("(\n{}\n)").format(sql.SQL(read_query(entry["rows"]).rstrip().rstrip(";")))


def _created(subject: Subject, table: str, entry: Mapping[str, Any], wanted: Collection[str]) -> sql.Composable:
    given = set(given_columns(subject, table, entry))
    columns = subject.columns[table]
    plain = [
        sql.SQL("CAST({} AS {}) AS {}").format(
            sql.Identifier("n", column["column"])
            if column["column"] in given
            else sql.SQL("({})").format(sql.SQL(column["default_value"] or "NULL"))
            if column["column"] in wanted
            else sql.SQL("NULL"),
            sql.SQL(column["type"]) if column["column"] in given or column["column"] in wanted else sql.SQL("text"),
            sql.Identifier(column["column"]),
        )
        for column in columns
        if not column["generated"]
    ]
    inner = sql.SQL("SELECT {} FROM {} AS n").format(sql.SQL(", ").join(plain), rows_query(entry))
    computed = [column for column in columns if column["generated"] and column["column"] in wanted]
    if not computed:
        return inner
    return sql.SQL("SELECT b.*, {} FROM ({}) AS b").format(
        sql.SQL(", ").join(
            sql.SQL("({}) AS {}").format(sql.SQL(column["default_value"]), sql.Identifier(column["column"]))
            for column in computed
        ),
        inner,
    )


def _present(subject: Subject, table: str, wanted: Collection[str]) -> list[str]:
    return [column["column"] for column in subject.columns[table] if column["column"] in wanted]
