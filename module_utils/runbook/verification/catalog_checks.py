"""Checks for every plan: no row violates a foreign key, and no constraint, index or trigger is disabled or invalid."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from ..database.connection import Cursor, Stopwatch
from ..database.foreign_keys import ForeignKey, foreign_keys, orphans
from ..database.queries import ROWS_SHOWN
from ..database.readers import Readers
from .checks import blank_result

Result = dict[str, Any]

NONE = "no offending rows"

#: Constraints, indexes and triggers of tables, and whether they are not in force.
OBJECTS = """
WITH ours AS (
    SELECT c.oid FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
     WHERE n.nspname || '.' || c.relname = ANY (%(tables)s)
), object AS (
    SELECT 'constraint not validated' AS kind, c.conname AS name, NOT c.convalidated AS wrong,
           CASE WHEN NOT c.convalidated THEN pg_catalog.pg_get_constraintdef(c.oid) END AS definition
      FROM pg_catalog.pg_constraint c JOIN ours ON ours.oid = c.conrelid
    UNION ALL
    SELECT 'index not valid', r.relname, NOT (i.indisvalid AND i.indisready),
           CASE WHEN NOT (i.indisvalid AND i.indisready) THEN pg_catalog.pg_get_indexdef(r.oid) END
      FROM pg_catalog.pg_index i JOIN ours ON ours.oid = i.indrelid
      JOIN pg_catalog.pg_class r ON r.oid = i.indexrelid
    UNION ALL
    SELECT 'trigger disabled', t.tgname, t.tgenabled = 'D',
           CASE WHEN t.tgenabled = 'D' THEN pg_catalog.pg_get_triggerdef(t.oid) END
      FROM pg_catalog.pg_trigger t JOIN ours ON ours.oid = t.tgrelid
)
SELECT (SELECT count(*) FROM object) AS examined, kind, name, definition
  FROM (SELECT) AS one LEFT JOIN object ON wrong
 ORDER BY kind, name
"""


def catalog_checks(readers: Readers, tables: Collection[str], *, why_not: str = "") -> list[Result]:
    """Check every foreign key from and to these tables, and their constraints, indexes and triggers.

    A valid key can be violated: sessions under the replica role are not checked.

    :param why_not: why nothing can be judged now, so that the checks are only listed.
    """
    keys = blank_result("foreign_keys", "Every foreign key from and to the written tables holds, valid or not", NONE)
    state = blank_result("catalog_state", "Constraints validated, indexes valid, triggers enabled", NONE)
    if why_not:
        return [{**result, "status": "would_be_checked", "why": why_not} for result in (keys, state)]
    return [_check_keys(readers, tables, keys), _check_state(readers.first, tables, state)]


def written_tables(plan: Mapping[str, Any]) -> list[str]:
    """Return the tables that the plan declares to write, or else all that it protects."""
    declared = [entry["table"] for entry in (*plan.get("creates", ()), *plan.get("updates", ()))]
    return list(dict.fromkeys(declared or [entry["table"] for entry in plan.get("protected_tables", ())]))


def _check_keys(readers: Readers, tables: Collection[str], result: Result) -> Result:
    watch = Stopwatch()
    keys = [key for key in foreign_keys(readers.first, tables) if key.enforced]
    readable = [key for key in keys if key.readable]
    counted = zip(readable, readers.map(orphans, readable), strict=True)
    broken = [_broken(key, count, values) for key, (count, values) in counted if count]
    result["observed"] = {"rows_without_parent": sum(row["rows_without_parent"] for row in broken)}
    unreadable = [key.to_text() for key in keys if not key.readable]
    if unreadable:
        result["observed"]["unreadable_keys"] = "; ".join(unreadable)
    return _judged(result, broken, len(readable), watch)


def _broken(key: ForeignKey, count: int, values: list[str]) -> dict[str, Any]:
    return {"key": key.to_text(), "rows_without_parent": count, "values": ", ".join(values)}


def _check_state(cursor: Cursor, tables: Collection[str], result: Result) -> Result:
    watch = Stopwatch()
    cursor.execute(OBJECTS, {"tables": list(tables)})
    rows = cursor.fetchall()
    wrong = [{"kind": kind, "name": name, "definition": text} for _, kind, name, text in rows if kind]
    result["observed"] = {"objects": len(wrong)}
    return _judged(result, wrong, int(rows[0][0]), watch)


def _judged(result: Result, offenders: list[dict[str, Any]], examined: int, watch: Stopwatch) -> Result:
    why = "it examined nothing, so it proves nothing" if not examined else ""
    if offenders:
        why = "found " + ", ".join(f"{name} = {value}" for name, value in result["observed"].items())
    return {
        **result,
        "rows_examined": examined,
        "seconds": watch.seconds(),
        "status": "failed" if why else "passed",
        "why": why,
        "offenders": offenders[:ROWS_SHOWN],
        "offenders_total": len(offenders),
    }
