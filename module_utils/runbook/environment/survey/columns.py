"""Find columns that the plan does not fill, may not write, or compares under a nondeterministic collation."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import psycopg2
from psycopg2 import sql

from ...database.queries import savepoint, value
from ...verification.findings import Finding, diag_message
from .subject import Subject, quoted
from .writes import Writes

#: CHECK constraints that may mean NOT NULL.
NOT_NULL_CHECKS = """
SELECT wanted.name AS "table", k.conname::text AS name, pg_catalog.pg_get_expr(k.conbin, k.conrelid) AS rule
  FROM unnest(%(tables)s::text[]) AS wanted (name)
  JOIN pg_catalog.pg_constraint AS k ON k.conrelid = to_regclass(wanted.name) AND k.contype = 'c'
 WHERE pg_catalog.pg_get_expr(k.conbin, k.conrelid) LIKE '%%IS NOT NULL%%'
 ORDER BY 1, 2
"""


def examine_required_columns(subject: Subject) -> Iterator[Finding]:
    """Find columns that require a value and get none in rows that the plan creates."""
    checks = subject.view.rows(NOT_NULL_CHECKS, {"tables": subject.tables})
    for writes in subject.writes.values():
        if not subject.creates_rows(writes):
            continue
        for column in subject.columns[writes.table]:
            if _is_filled(subject, writes, column["column"]) or column["identity"] or column["generated"]:
                continue
            why = _why_required(subject, column, checks)
            if not why:
                continue
            name = f"{writes.table}.{column['column']}"
            yield Finding(
                "required_column",
                "blocking" if subject.direction == "applied" else "warning",
                name,
                f"{name} {why}, and the plan creates rows of {writes.table} without it",
                "the server refuses every row that a migration or a compatibility trigger creates there: the backfill "
                "stops, and the application's writes that need such a row fail",
                f"ALTER TABLE {writes.table} ALTER COLUMN {quoted(column['column'])} SET DEFAULT <value>; or until the "
                f"plan is complete: ALTER TABLE {writes.table} ALTER COLUMN {quoted(column['column'])} DROP NOT NULL",
            )


def _is_filled(subject: Subject, writes: Writes, column: str) -> bool:
    if writes.filled is not None:
        # Rows that the plan inserts again have every column.
        return column in writes.filled or (writes.whole_rows and not writes.filled)
    return re.search(rf"(?<!\w){re.escape(column)}(?!\w)", subject.text) is not None


def _why_required(subject: Subject, column: dict[str, Any], checks: list[dict[str, Any]]) -> str:
    """Return why the column refuses a row that does not name it; empty if it does not."""
    has_default = column["default_value"] is not None or column["domain_default"]
    if not has_default:
        if column["not_null"]:
            return "is NOT NULL and has no default"
        if column["domain_not_null"] or (column["is_checked"] and _refuses_null(subject, column["type"])):
            return f"has the domain {column['type']}, which refuses NULL, and has no default"
        return _required_by_check(column["column"], column["table"], checks)
    if not (column["not_null"] or column["domain_not_null"]) or column["default_value"] is None:
        return ""
    found = _default_now(subject, column)
    return (
        f"is NOT NULL, and its default ({column['default_value']}) {found} in a session of the runbook" if found else ""
    )


def _default_now(subject: Subject, column: dict[str, Any]) -> str:
    """Return what is wrong with a default that depends on the session; empty if nothing."""
    if "(" not in column["default_value"] or "nextval(" in column["default_value"]:
        return ""
    try:
        with savepoint(subject.view.cursor):
            default = sql.SQL(column["default_value"])
            is_null = value(subject.view.cursor, sql.SQL("SELECT ({}) IS NULL").format(default))
    except psycopg2.errors.ReadOnlySqlTransaction:
        return ""
    except psycopg2.Error as error:
        return f"fails ({diag_message(error)})"
    return "is NULL" if is_null else ""


def _refuses_null(subject: Subject, type_name: str) -> bool:
    try:
        with savepoint(subject.view.cursor):
            subject.view.cursor.execute(sql.SQL("SELECT CAST(NULL AS {})").format(sql.SQL(type_name)))
    except psycopg2.errors.IntegrityError:
        return True
    return False


def _required_by_check(column: str, table: str, checks: list[dict[str, Any]]) -> str:
    """Return the CHECK that refuses NULL in this column regardless of the other columns; empty without one."""
    for check in checks:
        rule = check["rule"]
        named = re.search(rf'(?<![\w"])"?{re.escape(column)}"? IS NOT NULL', rule)
        if check["table"] == table and named and not re.search(r"\b(OR|CASE|NOT \()", rule):
            return f"must not be NULL (constraint {check['name']}) and has no default"
    return ""


def examine_generated_columns(subject: Subject) -> Iterator[Finding]:
    """Find GENERATED ALWAYS columns for which the plan gives a value."""
    for writes in subject.writes.values():
        for column in subject.columns[writes.table]:
            kind = "generated" if column["generated"] else "identity" if column["identity"] == "a" else ""
            given = column["column"] in ((writes.filled or frozenset()) | (writes.changed or frozenset()))
            whole = writes.whole_rows or (writes.inserts and writes.filled is None)
            if not kind or not (given or (whole and not _leaves_out(subject.text, kind))):
                continue
            name = f"{writes.table}.{column['column']}"
            how = "writes this column" if given else "inserts whole rows again"
            yield Finding(
                "generated_column",
                "warning" if subject.is_over else "blocking",
                name,
                f"{name} is GENERATED ALWAYS{' AS IDENTITY' if kind == 'identity' else ''}, and the plan {how}",
                "the server refuses a value for such a column (SQLSTATE 428C9)",
                f"ALTER TABLE {writes.table} ALTER COLUMN {quoted(column['column'])} "
                + ("SET GENERATED BY DEFAULT" if kind == "identity" else "DROP EXPRESSION, and fill it in another way"),
            )


def _leaves_out(text: str, kind: str) -> bool:
    """Return whether the plan's files leave out generated columns when they insert rows again."""
    return re.search(r"OVERRIDING\s+SYSTEM\s+VALUE" if kind == "identity" else r"\battgenerated\b", text) is not None


def examine_collations(subject: Subject) -> Iterator[Finding]:
    """Find columns with a nondeterministic collation that the plan names."""
    named = {(entry["table"], column) for entry in subject.view.required_tables() for column in entry["columns"]}
    for table, columns in subject.columns.items():
        for column in columns:
            if not column["nondeterministic"] or (table, column["column"]) not in named:
                continue
            name = f"{table}.{column['column']}"
            yield Finding(
                "nondeterministic_collation",
                "blocking",
                name,
                f"{name} has the collation {column['collation']}, which is not deterministic",
                "different texts compare as equal: the plan would treat two of them as one, and its checks compare "
                "in the same way",
                f"ALTER TABLE {table} ALTER COLUMN {quoted(column['column'])} TYPE {column['type']} COLLATE "
                '"C", or another deterministic collation; such texts are different values then',
            )
