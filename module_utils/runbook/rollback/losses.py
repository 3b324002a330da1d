"""What a rollback would lose: rows that the application has written since, and rows that a reverse archives."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from psycopg2 import sql

from ..database.connection import Cursor, rows_as_dicts
from ..database.queries import read_query
from ..errors import driver_errors
from ..evidence.written_rows import SEES_NOTHING, WRITTEN, summary

Facts = dict[str, Any]

SAMPLES_PER_TABLE = 5

# Some rows of each operation. A row that was inserted and deleted since the snapshot is not lost.
SAMPLES = """
WITH written AS MATERIALIZED ({written}),
     judged AS (
         SELECT w.table_name, w.key,
                CASE WHEN NOT w.existed THEN 'inserted' WHEN w.last_operation = 'D' THEN 'deleted' ELSE 'updated' END
                AS operation
           FROM written AS w WHERE w.existed OR w.last_operation <> 'D'),
     numbered AS (
         SELECT j.*, row_number() OVER (PARTITION BY j.table_name, j.operation ORDER BY j.key) AS place
           FROM judged AS j),
     placed AS (
         SELECT n.*, row_number() OVER (PARTITION BY n.table_name ORDER BY n.place, n.operation) AS turn
           FROM numbered AS n)
SELECT table_name, key, operation FROM placed WHERE turn <= {limit} ORDER BY table_name, turn
"""

ARCHIVED = """
WITH found AS MATERIALIZED ({query})
SELECT g.what, g.rows, ARRAY(SELECT f.key::text FROM found AS f WHERE f.what = g.what ORDER BY 1 LIMIT {limit}) AS keys
  FROM (SELECT what, count(*) AS rows FROM found GROUP BY what) AS g ORDER BY g.what
"""


def written_since(cursor: Cursor, server: Mapping[str, Any], incomplete: str) -> Facts:
    """Return what the application has written since the snapshot, by table and operation, with samples.

    :param server: ``server`` of the run's snapshot; empty without a snapshot.
    :param incomplete: why the change log is incomplete; empty if it is complete.
    :returns: ``exists``, ``tables``, and ``not_known``: why the counts are incomplete.
    """
    visible = server.get("visible", "")
    facts = summary(cursor, visible, server.get("time"))
    truncated = [table["table"] for table in facts["tables"] if table["truncations"]]
    reasons = [incomplete] if incomplete else []
    reasons += [f"{', '.join(truncated)} has been truncated since"] if truncated else []
    samples: list[dict[str, Any]] = []
    if facts["exists"]:
        since = sql.Literal(visible or SEES_NOTHING)
        cursor.execute(
            sql.SQL(SAMPLES).format(written=sql.SQL(WRITTEN).format(since=since), limit=sql.Literal(SAMPLES_PER_TABLE))
        )
        samples = rows_as_dicts(cursor)
    for table in facts["tables"]:
        of_table = [row for row in samples if row["table_name"] == table["table"]]
        table["samples"] = [{"key": row["key"], "operation": row["operation"]} for row in of_table]
    return {**facts, "not_known": "; ".join(reasons)}


def archived_by_reverse(cursor: Cursor, query_file: str) -> list[Facts]:
    """Return what a full reverse archives, by the plan's query: ``what``, ``rows``, ``keys`` (samples)."""
    text = sql.SQL(ARCHIVED).format(query=sql.SQL(read_query(query_file)), limit=sql.Literal(SAMPLES_PER_TABLE))
    with driver_errors(f"the query {query_file} failed", object_name=query_file):
        cursor.execute(text)
    return rows_as_dicts(cursor)


def rows_written(written: Mapping[str, Any]) -> int:
    """Return the number of rows inserted, updated or deleted since the snapshot."""
    return sum(table["inserted"] + table["updated"] + table["deleted"] for table in written["tables"])


def to_lines(written: Mapping[str, Any]) -> list[str]:
    """Return what was written as lines, one for each table, with samples."""
    lines = [f"not known: {written['not_known']}"] if written["not_known"] else []
    for table in written["tables"]:
        counts = f"{table['inserted']} inserted, {table['updated']} updated, {table['deleted']} deleted"
        some = "; ".join(f"{row['key']} {row['operation']}" for row in table["samples"])
        lines.append(f"{table['table']}: {counts}{f'; for example: {some}' if some else ''}")
    return lines
