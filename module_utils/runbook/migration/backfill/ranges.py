"""Divide the keys of a backfill into disjoint ranges, which the journal keeps for any worker and a resumed run."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from psycopg2 import sql
from psycopg2.extras import execute_values

from ...database.connection import Cursor, identifier
from ...database.queries import row, value
from ...journal.steps import Work


@dataclasses.dataclass
class Range:
    """Keys with ``after < key <= upto``; None is unbounded. ``after`` moves as batches are committed."""

    number: int
    after: str | None
    upto: str | None


#: Smallest useful range.
LEAST_ROWS = 1000


def divide(cursor: Cursor, table: str, key: str, rows_per_range: int, workers: int) -> list[Range]:
    """Return the table's keys in ranges of about equal size, from the planner's histogram.

    A large table has several ranges per worker, so that a common queue evens out their different sizes. A table
    without a histogram (small, or never analyzed) is one range.
    """
    schema, name = table.split(".", 1)
    statistics = row(
        cursor,
        "SELECT s.histogram_bounds::text, c.reltuples::bigint, pg_catalog.format_type(a.atttypid, NULL)"
        "  FROM pg_catalog.pg_class c"
        "  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
        "  JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attname = %s"
        "  LEFT JOIN pg_catalog.pg_stats s ON s.schemaname = n.nspname AND s.tablename = c.relname"
        "   AND s.attname = a.attname AND NOT s.inherited"
        " WHERE n.nspname = %s AND c.relname = %s",
        (key, schema, name),
    )
    bounds_text, rows, type_name = statistics or (None, 0, "")
    wanted = max(1, round(rows / rows_per_range), min(4 * workers, rows // LEAST_ROWS))
    if not bounds_text or wanted == 1:
        return [Range(1, None, None)]
    # Keep the histogram's order: for text it depends on the column's collation.
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
    """Return one range per key, which begins at the key before it."""
    key_type = value(
        cursor,
        "SELECT pg_catalog.format_type(atttypid, NULL) FROM pg_catalog.pg_attribute"
        " WHERE attrelid = pg_catalog.to_regclass(%s) AND attname = %s",
        (table, key),
        default="text",
    )
    cursor.execute(
        sql.SQL(
            "SELECT (SELECT before.{key}::text FROM {table} AS before WHERE before.{key} < wanted.{key}"
            " ORDER BY before.{key} DESC LIMIT 1), wanted.{key}::text"
            " FROM {table} AS wanted WHERE wanted.{key} = ANY (%s::{type}[]) ORDER BY wanted.{key}"
        ).format(key=sql.Identifier(key), table=identifier(table), type=sql.SQL(key_type)),
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
    """Return the number of the newest pass; 0 without one."""
    return int(
        value(cursor, "SELECT coalesce(max(pass), 0) FROM migration_runbook.range WHERE step_id = %s", (step_id,))
    )


def unfinished(cursor: Cursor, step_id: int, number_of_pass: int) -> list[Range]:
    """Return the unfinished ranges of a pass, each from the end of its last committed batch."""
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


#: Whether every column has statistics and the table was analyzed since this migration began.
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
    """Analyze the table, unless that happened during this migration.

    A new column has no statistics; each batch would then scan all remaining rows through its index, which makes the
    backfill quadratic.
    """
    known = {"run": work.run_id, "version": work.version, "direction": work.direction, "table": table}
    if not value(cursor, KNOWN, known):
        cursor.execute(sql.SQL("ANALYZE {}").format(identifier(table)))
