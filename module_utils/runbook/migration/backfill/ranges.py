"""The keys of a backfill cut into disjoint ranges, kept in the journal: any worker can take any of them, also later."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from psycopg2 import sql
from psycopg2.extras import execute_values

from ...database.connection import Cursor, identifier
from ...journal.steps import Work


@dataclasses.dataclass
class Range:
    """Keys with ``after < key <= upto``; None is unbounded. ``after`` moves as batches are committed."""

    number: int
    after: str | None
    upto: str | None


#: A worker's share is not worth less.
LEAST_ROWS = 1000


def divide(cursor: Cursor, table: str, key: str, rows_per_range: int, workers: int) -> list[Range]:
    """Return the table's keys in ranges of about equal size, as the planner's statistics know them.

    Several for each worker, where there are rows enough. Statistics are a sample: ranges are uneven by some percent,
    which one queue for all workers evens out.
    A table without a histogram (small, or never analyzed) is one range.
    """
    schema, name = table.split(".", 1)
    cursor.execute(
        "SELECT s.histogram_bounds::text, c.reltuples::bigint, pg_catalog.format_type(a.atttypid, NULL)"
        "  FROM pg_catalog.pg_class c"
        "  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
        "  JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attname = %s"
        "  LEFT JOIN pg_catalog.pg_stats s ON s.schemaname = n.nspname AND s.tablename = c.relname"
        "   AND s.attname = a.attname AND NOT s.inherited"
        " WHERE n.nspname = %s AND c.relname = %s",
        (key, schema, name),
    )
    row = cursor.fetchone()
    bounds_text, rows, type_name = row or (None, 0, "")
    wanted = max(1, round(rows / rows_per_range), min(4 * workers, rows // LEAST_ROWS))
    if not bounds_text or wanted == 1:
        return [Range(1, None, None)]
    # In the histogram's order: of text it is that of the column's collation, which the bare values do not have.
    cursor.execute(
        sql.SQL("SELECT bound::text FROM unnest(%s::{}[]) WITH ORDINALITY AS b (bound, place) ORDER BY place").format(
            sql.SQL(type_name)
        ),
        (bounds_text,),
    )
    inner = list(dict.fromkeys(bound for (bound,) in cursor.fetchall()))[1:-1]
    step = max(1.0, (len(inner) + 1) / wanted)
    cuts = sorted({round(step * place) - 1 for place in range(1, wanted)} & set(range(len(inner))))
    edges: list[str | None] = [None, *(inner[cut] for cut in cuts), None]
    return [Range(number, edges[number - 1], edges[number]) for number in range(1, len(edges))]


def around(cursor: Cursor, table: str, key: str, keys: Sequence[str]) -> list[Range]:
    """Return ranges that hold just these keys: each begins at the key before it."""
    cursor.execute(
        "SELECT pg_catalog.format_type(atttypid, NULL) FROM pg_catalog.pg_attribute"
        " WHERE attrelid = pg_catalog.to_regclass(%s) AND attname = %s",
        (table, key),
    )
    row = cursor.fetchone()
    cursor.execute(
        sql.SQL(
            "SELECT (SELECT before.{key}::text FROM {table} AS before WHERE before.{key} < wanted.{key}"
            " ORDER BY before.{key} DESC LIMIT 1), wanted.{key}::text"
            " FROM {table} AS wanted WHERE wanted.{key} = ANY (%s::{type}[]) ORDER BY wanted.{key}"
        ).format(key=sql.Identifier(key), table=identifier(table), type=sql.SQL(row[0] if row else "text")),
        (list(keys),),
    )
    return [Range(number, before, at) for number, (before, at) in enumerate(cursor.fetchall(), 1)]


def keep(cursor: Cursor, step_id: int, number_of_pass: int, ranges: Sequence[Range]) -> None:
    """Write the ranges of a pass into the journal."""
    execute_values(
        cursor,
        "INSERT INTO migration_runbook.range (step_id, pass, number, after_key, upto_key) VALUES %s",
        [(step_id, number_of_pass, found.number, found.after, found.upto) for found in ranges],
    )


def newest_pass(cursor: Cursor, step_id: int) -> int:
    """Return the number of the pass that was begun last; 0 where none was."""
    cursor.execute("SELECT coalesce(max(pass), 0) FROM migration_runbook.range WHERE step_id = %s", (step_id,))
    row = cursor.fetchone()
    return int(row[0]) if row else 0


def unfinished(cursor: Cursor, step_id: int, number_of_pass: int) -> list[Range]:
    """Return the ranges of a pass that are not through, each from where its last committed batch ended."""
    cursor.execute(
        "SELECT r.number, coalesce(last.upto_key, r.after_key), r.upto_key FROM migration_runbook.range r"
        "  LEFT JOIN (SELECT DISTINCT ON (range_number) range_number, upto_key FROM migration_runbook.batch"
        "    WHERE step_id = %s AND pass = %s ORDER BY range_number, id DESC) AS last ON last.range_number = r.number"
        " WHERE r.step_id = %s AND r.pass = %s"
        "   AND (last.range_number IS NULL OR last.upto_key IS DISTINCT FROM r.upto_key)"
        " ORDER BY r.number",
        (step_id, number_of_pass) * 2,
    )
    return [Range(*row) for row in cursor.fetchall()]


#: Every column was looked at some time, and the table since this migration began (all of it or some columns).
KNOWN = """
SELECT greatest(t.last_analyze, t.last_autoanalyze) >= (
           SELECT min(s.started_at) FROM migration_runbook.step AS s
            WHERE s.run_id = %(run)s AND s.version = %(version)s AND s.direction = %(direction)s
              AND s.superseded_at IS NULL
       )
   AND NOT EXISTS (
           SELECT FROM pg_catalog.pg_attribute AS a
            WHERE a.attrelid = t.relid AND a.attnum > 0 AND NOT a.attisdropped
              AND NOT EXISTS (
                      SELECT FROM pg_catalog.pg_stats AS known
                       WHERE known.schemaname = t.schemaname AND known.tablename = t.relname
                         AND known.attname = a.attname
                  )
       )
  FROM pg_catalog.pg_stat_all_tables AS t
 WHERE t.relid = pg_catalog.to_regclass(%(table)s)
"""


def refresh(cursor: Cursor, table: str, work: Work) -> None:
    """Give the planner the table as it is, unless a step of the same migration has done so.

    A column just added has no statistics, and a batch is then planned through its index over every row that is left,
    which makes the backfill quadratic.
    """
    cursor.execute(KNOWN, {"run": work.run_id, "version": work.version, "direction": work.direction, "table": table})
    row = cursor.fetchone()
    if not (row and row[0]):
        cursor.execute(sql.SQL("ANALYZE {}").format(identifier(table)))
