"""Determine whether the index of a CONCURRENTLY step exists, is valid, and has the file's definition."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

import pglast
from pglast import ast
from pglast.stream import RawStream
from psycopg2 import sql

from ..database.connection import BEGIN, Connection, transaction
from ..database.queries import row, value

SCRATCH_TABLE = "runbook_index_shape"


@dataclasses.dataclass(frozen=True)
class WantedIndex:
    """An index as a CREATE INDEX CONCURRENTLY statement names it."""

    schema: str
    table: str
    name: str
    statement: str


@dataclasses.dataclass(frozen=True)
class IndexState:
    """The index in the catalog; ``other`` is an index of this name with another definition."""

    status: Literal["absent", "invalid", "present", "other"]
    found: str = ""
    wanted: str = ""


def wanted_index(statement: str) -> WantedIndex | None:
    """Return the index that a statement builds, or None."""
    node: Any = pglast.parse_sql(statement)[0].stmt
    if not isinstance(node, ast.IndexStmt):
        return None
    relation: Any = node.relation
    return WantedIndex(relation.schemaname, relation.relname, str(node.idxname), statement)


def find(connection: Connection, wanted: WantedIndex) -> IndexState:
    """Look the index up and compare its definition in the server's own format (see _canonical)."""
    with transaction(connection) as cursor:
        found = row(
            cursor,
            "SELECT i.indisvalid AND i.indisready, pg_catalog.pg_get_indexdef(i.indexrelid),"
            " i.indrelid = pg_catalog.to_regclass(pg_catalog.format('%%I.%%I', %s, %s))"
            " FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid"
            " JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = %s AND c.relname = %s",
            (wanted.schema, wanted.table, wanted.schema, wanted.name),
        )
    if found is None:
        return IndexState("absent")
    valid, definition, of_this_table = found
    if not valid and of_this_table:
        return IndexState("invalid", found=definition)
    canonical = _canonical(connection, wanted)
    same = of_this_table and _shape(definition) == _shape(canonical)
    return IndexState("present" if same else "other", found=_shape(definition), wanted=_shape(canonical))


def blocking_statement(statement: str) -> str:
    """Return a CREATE INDEX CONCURRENTLY without CONCURRENTLY: faster, but it blocks writes."""
    node: Any = pglast.parse_sql(statement)[0].stmt
    node.concurrent = False
    return str(RawStream()(node))


def drop_statement(wanted: WantedIndex) -> sql.Composed:
    """Return the statement that drops an invalid index without blocking other sessions."""
    return sql.SQL("DROP INDEX CONCURRENTLY IF EXISTS {}").format(sql.Identifier(wanted.schema, wanted.name))


def _canonical(connection: Connection, wanted: WantedIndex) -> str:
    """Return the definition as the server formats it, from an index on an empty temporary copy of the table.

    The server adds defaults, casts and parentheses, so the file's text cannot be compared.
    """
    node: Any = pglast.parse_sql(wanted.statement)[0].stmt
    node.concurrent, node.if_not_exists = False, False
    node.relation.schemaname, node.relation.relname = "pg_temp", SCRATCH_TABLE
    with connection.cursor() as cursor:
        cursor.execute(BEGIN)
        try:
            cursor.execute(
                sql.SQL("CREATE TEMPORARY TABLE {} (LIKE {})").format(
                    sql.Identifier(SCRATCH_TABLE), sql.Identifier(wanted.schema, wanted.table)
                )
            )
            cursor.execute(RawStream()(node))
            scratch = (
                "SELECT pg_catalog.pg_get_indexdef(c.oid) FROM pg_catalog.pg_class c"
                " WHERE c.relnamespace = pg_catalog.pg_my_temp_schema() AND c.relname = %s"
            )
            return str(value(cursor, scratch, (wanted.name,), default=""))
        finally:
            if connection.closed == 0:
                cursor.execute("ROLLBACK")


def _shape(definition: str) -> str:
    """Return the definition without the names of index and table."""
    head, _, tail = definition.partition(" USING ")
    return ("UNIQUE " if head.startswith("CREATE UNIQUE ") else "") + "USING " + tail
