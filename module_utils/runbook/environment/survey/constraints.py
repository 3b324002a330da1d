"""Find constraints and unique indexes that the plan does not know and that its rows can violate."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

from ...verification.findings import Finding
from .subject import Subject, quoted
from .writes import Writes

INDEXES = """
SELECT wanted.name AS "table", x.relname::text AS name, i.indisprimary AS is_primary, i.indisexclusion AS is_exclusion,
       NOT i.indimmediate OR coalesce(k.condeferrable, false) AS deferrable, k.conname::text AS "constraint",
       coalesce((to_jsonb(k) ->> 'conperiod')::boolean, false) AS is_temporal,
       i.indnullsnotdistinct AS nulls_are_equal,
       coalesce(pg_catalog.pg_get_constraintdef(k.oid), pg_catalog.pg_get_indexdef(i.indexrelid)) AS definition,
       pg_catalog.pg_get_expr(i.indpred, i.indrelid) AS predicate,
       ARRAY(SELECT pg_catalog.pg_get_indexdef(i.indexrelid, n, true)
               FROM generate_series(1, i.indnkeyatts) AS n ORDER BY n) AS keys,
       ARRAY(SELECT CASE WHEN co.oid IS NOT NULL THEN format('%%I.%%I', cn.nspname, co.collname) ELSE '' END
               FROM unnest(i.indcollation::oid[]) WITH ORDINALITY AS u (collation_id, place)
               LEFT JOIN pg_catalog.pg_collation AS co ON co.oid = u.collation_id
               LEFT JOIN pg_catalog.pg_namespace AS cn ON cn.oid = co.collnamespace ORDER BY u.place) AS collations,
       ARRAY(SELECT a.attname::text FROM pg_catalog.pg_attribute AS a
              WHERE a.attrelid = i.indrelid AND (
                    a.attnum = ANY (i.indkey::smallint[]) OR EXISTS (
                        SELECT FROM pg_catalog.pg_depend AS d
                         WHERE d.classid = 'pg_class'::regclass AND d.objid = i.indexrelid
                           AND d.refobjid = i.indrelid AND d.refobjsubid = a.attnum))
                AND a.attnum > 0 ORDER BY a.attnum) AS columns
  FROM unnest(%(tables)s::text[]) WITH ORDINALITY AS wanted (name, place)
  JOIN pg_catalog.pg_index AS i ON i.indrelid = to_regclass(wanted.name) AND (i.indisunique OR i.indisexclusion)
  JOIN pg_catalog.pg_class AS x ON x.oid = i.indexrelid
  LEFT JOIN pg_catalog.pg_constraint AS k ON k.conindid = i.indexrelid AND k.contype IN ('p', 'u', 'x')
 WHERE i.indisvalid
 ORDER BY wanted.place, x.relname
"""

CHECKS = """
SELECT wanted.name AS "table", k.conname::text AS name, pg_catalog.pg_get_constraintdef(k.oid) AS definition,
       pg_catalog.pg_get_expr(k.conbin, k.conrelid) AS rule, k.convalidated AS validated,
       coalesce((to_jsonb(k) ->> 'conenforced')::boolean, true) AS enforced,
       ARRAY(SELECT a.attname::text FROM pg_catalog.pg_attribute AS a
              WHERE a.attrelid = k.conrelid AND a.attnum = ANY (k.conkey) ORDER BY a.attnum) AS columns,
       EXISTS (SELECT FROM pg_catalog.pg_depend AS d
                WHERE d.classid = 'pg_constraint'::regclass AND d.objid = k.oid
                  AND d.refclassid = 'pg_proc'::regclass) AS calls_functions
  FROM unnest(%(tables)s::text[]) WITH ORDINALITY AS wanted (name, place)
  JOIN pg_catalog.pg_constraint AS k ON k.conrelid = to_regclass(wanted.name) AND k.contype = 'c'
 ORDER BY wanted.place, k.conname
"""


@dataclasses.dataclass(frozen=True)
class Rule:
    """One unique index or CHECK that the rows of the plan must satisfy.

    :param keys: expressions of a unique index with their collations; empty for a CHECK.
    :param condition: predicate of the index, or expression of the CHECK.
    :param rechecks: an update of any column can violate the CHECK, because it depends on more than the row.
    """

    kind: str
    table: str
    name: str
    definition: str
    columns: tuple[str, ...]
    condition: str | None
    keys: tuple[tuple[str, str], ...] = ()
    nulls_are_equal: bool = False
    rechecks: bool = False


#: In a CHECK, these depend on more than the row.
MOMENT = ("now()", "CURRENT_", "LOCALTIME", "clock_timestamp(", "statement_timestamp(", "random(", "current_setting(")


def examine_deferrable(subject: Subject) -> Iterator[Finding]:
    """Find deferrable constraints, which ON CONFLICT refuses, and exclusion constraints, which no query evaluates."""
    for row in subject.view.rows(INDEXES, {"tables": subject.tables}):
        writes, table = subject.writes[row["table"]], row["table"]
        if not (writes.inserts or writes.concerns(row["columns"])):
            continue
        constraint = row["constraint"] or row["name"]
        if row["deferrable"]:
            kind = "EXCLUDE" if row["is_exclusion"] else row["definition"].split(" DEFERRABLE")[0]
            yield Finding(
                "deferrable_constraint",
                "warning" if subject.is_over else "blocking",
                f"{table}.{constraint}",
                f"the constraint {constraint} on {table} is deferrable: {row['definition']}",
                "INSERT ... ON CONFLICT refuses a deferrable constraint (SQLSTATE 55000), also in a rollback; "
                "and a violation is only reported at the end of the transaction",
                f"ALTER TABLE {table} DROP CONSTRAINT {quoted(constraint)}, "
                f"ADD CONSTRAINT {quoted(constraint)} {kind} NOT DEFERRABLE",
                [{"definition": row["definition"]}],
            )
        elif (row["is_exclusion"] or row["is_temporal"]) and writes.concerns(row["columns"]):
            if subject.knows(table, constraint, row["definition"]) or subject.is_over:
                continue
            yield Finding(
                "exclusion_constraint",
                "blocking",
                f"{table}.{constraint}",
                f"{constraint} on {table} is an exclusion constraint: {row['definition']}",
                "which of the plan's rows it refuses cannot be computed beforehand; one refused row stops the "
                "migration, or the application's write that creates it",
                "check whether the plan's rows satisfy it; otherwise, until the plan is complete: ALTER TABLE "
                f"{table} DROP CONSTRAINT {quoted(constraint)}",
                [{"definition": row["definition"]}],
            )


def rules_to_evaluate(subject: Subject) -> list[Rule]:
    """Return the unique indexes and CHECKs that the plan does not know and that its rows can violate."""
    if subject.is_over or subject.direction == "reverted":
        return []
    rules = [_unique(row) for row in subject.view.rows(INDEXES, {"tables": subject.tables}) if _is_plain(subject, row)]
    return rules + [
        _check(row) for row in subject.view.rows(CHECKS, {"tables": subject.tables}) if _matters(subject, row)
    ]


def _is_plain(subject: Subject, row: dict[str, Any]) -> bool:
    if row["is_exclusion"] or row["is_temporal"] or row["deferrable"]:
        return False
    is_the_key = row["is_primary"] and row["columns"] == [subject.key_of(row["table"])]
    known = is_the_key or subject.knows(row["table"], row["constraint"] or row["name"], row["definition"])
    return not known and subject.writes[row["table"]].concerns(row["columns"])


def _matters(subject: Subject, row: dict[str, Any]) -> bool:
    writes: Writes = subject.writes[row["table"]]
    if not row["enforced"] or subject.knows(row["table"], row["name"], row["definition"]):
        return False
    return writes.concerns(row["columns"]) or (writes.updates and (_rechecks(row) or not row["validated"]))


def _rechecks(row: dict[str, Any]) -> bool:
    return row["calls_functions"] or any(word in row["rule"] for word in MOMENT)


def _unique(row: dict[str, Any]) -> Rule:
    return Rule(
        kind="unique_index",
        table=row["table"],
        name=row["constraint"] or row["name"],
        definition=row["definition"],
        columns=tuple(row["columns"]),
        condition=row["predicate"],
        keys=tuple(zip(row["keys"], row["collations"], strict=False)),
        nulls_are_equal=row["nulls_are_equal"],
    )


def _check(row: dict[str, Any]) -> Rule:
    return Rule(
        kind="check_constraint",
        table=row["table"],
        name=row["name"],
        definition=row["definition"],
        columns=tuple(row["columns"]),
        condition=row["rule"],
        rechecks=_rechecks(row) or not row["validated"],
    )
