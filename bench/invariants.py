"""Check what must hold after a load on the demo's schema, with SQL that is independent of the plan's checks.

Usage: python -m bench.invariants before --directory D --host SOCKET      (before the load: per-row hashes into files)
       python -m bench.invariants after  --directory D --host SOCKET --ledger traffic.json ...
``after`` exits 1 if an invariant is violated, and prints the number of examined rows for each.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import psycopg2
from psycopg2 import sql

from bench import invariant_tables as tables
from bench.traffic.statements import read_statements

STATEMENTS = read_statements("invariants.sql")
#: Invariants of a database whose tracks are not created yet.
BEFORE_MIGRATION = ("untouched_posts_unchanged", "no_post_from_nowhere", "entries_lost_without_archive")
LAST_VERSION = "20250122000004"


@contextlib.contextmanager
def _session(options: Mapping[str, Any]) -> Iterator[Any]:
    """Open a transaction with one snapshot for all queries."""
    connection = psycopg2.connect(**options)
    try:
        connection.set_session(isolation_level="REPEATABLE READ")
        with connection.cursor() as cursor:
            cursor.execute("SET search_path = pg_catalog, pg_temp")
            cursor.execute("SET TimeZone = 'UTC'")
            cursor.execute("SET work_mem = '256MB'")
            yield cursor
    finally:
        connection.rollback()
        connection.close()


def before(options: Mapping[str, Any], directory: Path) -> None:
    """Write the contents of the database to files in a directory."""
    directory.mkdir(parents=True, exist_ok=True)
    with _session(options) as cursor:
        tables.write_before(cursor, directory)


def after(
    options: Mapping[str, Any], directory: Path, ledgers: Iterable[Mapping[str, Sequence[str]]]
) -> list[dict[str, Any]]:
    """Return every invariant with the number of violating rows, the rows examined and examples.

    :param ledgers: the ``ledger`` of every load since ``before``.
    """
    with _session(options) as cursor:
        cursor.execute(
            "SELECT count(*) > 0 FROM supabase_migrations.schema_migrations WHERE version = %s", (LAST_VERSION,)
        )
        migrated = bool(cursor.fetchone()[0])
        tables.load(cursor, directory, ledgers)
        found = [_foreign_keys(cursor)]
        for name, statement in STATEMENTS.items():
            if migrated or name in BEFORE_MIGRATION:
                cursor.execute(statement)
                wrong, examined, examples = cursor.fetchone()  # examples: an array of text
                found.append(_result(name, wrong, examined, examples))
        return found


def _result(name: str, wrong: int, examined: int | None, examples: Sequence[Any] | None) -> dict[str, Any]:
    shown = [str(example) for example in examples or []]
    return {"name": name, "wrong": int(wrong), "rows_examined": int(examined or 0), "examples": shown}


def _foreign_keys(cursor: Any) -> dict[str, Any]:
    """Count rows without a parent by every key between our tables, validated or not."""
    cursor.execute(
        """
        SELECT c.conrelid::regclass::text, c.conname, c.confrelid::regclass::text,
            array_agg(a.attname ORDER BY k.place), array_agg(f.attname ORDER BY k.place)
        FROM pg_constraint AS c
        CROSS JOIN LATERAL unnest(c.conkey, c.confkey) WITH ORDINALITY AS k (child, parent, place)
        JOIN pg_attribute AS a ON a.attrelid = c.conrelid AND a.attnum = k.child
        JOIN pg_attribute AS f ON f.attrelid = c.confrelid AND f.attnum = k.parent
        WHERE c.contype = 'f' AND c.conparentid = 0
        GROUP BY c.oid, c.conrelid, c.conname, c.confrelid
        ORDER BY 1, 2
        """
    )
    wrong, examined, examples = 0, 0, []
    for child, name, parent, columns, keys in cursor.fetchall():
        pairs = [sql.SQL("c.{} = p.{}").format(*map(sql.Identifier, pair)) for pair in zip(columns, keys, strict=True)]
        cursor.execute(
            sql.SQL(
                "SELECT count(*) FILTER (WHERE p.{} IS NULL), count(*) FROM {} AS c LEFT JOIN {} AS p ON {} WHERE {}"
            ).format(
                sql.Identifier(keys[0]),
                sql.Identifier(*child.split(".")),
                sql.Identifier(*parent.split(".")),
                sql.SQL(" AND ").join(pairs),
                sql.SQL(" AND ").join(sql.SQL("c.{} IS NOT NULL").format(sql.Identifier(column)) for column in columns),
            )
        )
        orphans, children = cursor.fetchone()
        wrong, examined = wrong + orphans, examined + children
        if orphans:
            examples.append(f"{child} ({name}): {orphans} rows without {parent}")
    return _result("no_orphan_on_any_foreign_key", wrong, examined, examples)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.invariants", description=__doc__)
    parser.add_argument("when", choices=("before", "after"))
    parser.add_argument("--directory", type=Path, required=True)
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", type=int, default=5432)
    parser.add_argument("--dbname", default="postgres")
    parser.add_argument("--superuser", default="supabase_admin")
    parser.add_argument("--ledger", type=Path, nargs="*", default=[], help="outputs of bench.traffic since `before`")
    given = parser.parse_args()
    options = {"host": given.host, "port": given.port, "dbname": given.dbname, "user": given.superuser}
    if given.when == "before":
        before(options, given.directory)
        return 0
    results = after(options, given.directory, [json.loads(path.read_text())["ledger"] for path in given.ledger])
    sys.stdout.write(as_text(results))
    return 1 if any(result["wrong"] for result in results) else 0


def as_text(results: Iterable[Mapping[str, Any]]) -> str:
    """Return a line for each invariant."""
    return "".join(
        f"{'WRONG ' if r['wrong'] else 'holds '} {r['name']}: {r['wrong']} of {r['rows_examined']} rows"
        + (f", for example {', '.join(r['examples'])}" if r["examples"] else "")
        + "\n"
        for r in results
    )


if __name__ == "__main__":
    raise SystemExit(main())
