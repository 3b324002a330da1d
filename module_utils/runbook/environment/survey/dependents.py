"""Find objects of the deployment that read a column whose values the plan changes."""

from __future__ import annotations

from collections.abc import Iterator

from ...verification.findings import Finding
from .subject import Subject

#: Views and rules, policies, functions with a parsed body, generated columns.
DEPENDENTS = """
WITH reads AS (
    SELECT DISTINCT wanted."table", wanted."column", d.classid, d.objid, d.refobjid
      FROM unnest(%(tables)s::text[], %(columns)s::text[]) AS wanted ("table", "column")
      JOIN pg_catalog.pg_attribute AS a ON a.attrelid = to_regclass(wanted."table") AND a.attname = wanted."column"
      JOIN pg_catalog.pg_depend AS d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = a.attrelid
           AND d.refobjsubid = a.attnum
     WHERE d.classid IN ('pg_rewrite'::regclass, 'pg_policy'::regclass, 'pg_proc'::regclass, 'pg_attrdef'::regclass)
)
SELECT reads."table", reads."column", 'view' AS kind, c.oid::regclass::text AS name, c.relname::text AS short,
       n.nspname::text AS schema,
       CASE c.relkind WHEN 'm' THEN 'the materialized view' ELSE 'the view' END AS what
  FROM reads JOIN pg_catalog.pg_rewrite AS r ON reads.classid = 'pg_rewrite'::regclass AND r.oid = reads.objid
  JOIN pg_catalog.pg_class AS c ON c.oid = r.ev_class AND c.relkind IN ('v', 'm')
  JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
UNION
SELECT reads."table", reads."column", 'policy', format('%%s.%%s', p.polrelid::regclass, p.polname), p.polname::text,
       '', 'the policy'
  FROM reads JOIN pg_catalog.pg_policy AS p ON reads.classid = 'pg_policy'::regclass AND p.oid = reads.objid
UNION
SELECT reads."table", reads."column", 'function', f.oid::regprocedure::text, f.proname::text, n.nspname::text,
       'the function'
  FROM reads JOIN pg_catalog.pg_proc AS f ON reads.classid = 'pg_proc'::regclass AND f.oid = reads.objid
  JOIN pg_catalog.pg_namespace AS n ON n.oid = f.pronamespace
UNION
SELECT reads."table", reads."column", 'column', format('%%s.%%s', d.adrelid::regclass, a.attname), a.attname::text, '',
       'the generated column'
  FROM reads JOIN pg_catalog.pg_attrdef AS d ON reads.classid = 'pg_attrdef'::regclass AND d.oid = reads.objid
  JOIN pg_catalog.pg_attribute AS a ON a.attrelid = d.adrelid AND a.attnum = d.adnum AND a.attgenerated <> ''
 ORDER BY 1, 2, 4
"""

#: A function body in a string has no dependencies in the catalog, so search its text for the table and the column.
BODIES = """
SELECT p.oid::regprocedure::text AS name, p.proname::text AS short,
       string_agg(DISTINCT format('%%s.%%s', wanted."table", wanted."column"), ', ') AS columns
  FROM unnest(%(tables)s::text[], %(columns)s::text[]) AS wanted ("table", "column")
  JOIN pg_catalog.pg_class AS c ON c.oid = to_regclass(wanted."table")
  JOIN pg_catalog.pg_proc AS p ON p.prosqlbody IS NULL AND p.prosrc ~* format('\\m%%s\\M', c.relname)
       AND p.prosrc ~* format('\\m%%s\\M', wanted."column")
  JOIN pg_catalog.pg_namespace AS n ON n.oid = p.pronamespace
  JOIN pg_catalog.pg_language AS l ON l.oid = p.prolang
 WHERE l.lanname NOT IN ('internal', 'c')
   AND n.nspname <> ALL (ARRAY['pg_catalog', 'information_schema', %(helper_schema)s])
   AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend AS d
                    WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e')
 GROUP BY p.oid
 ORDER BY 1
"""


ADAPT = "compare it with the plan, and adapt it where necessary"


def examine_functions(subject: Subject) -> Iterator[Finding]:
    """Find functions whose text names a changed column; whether they read it cannot be determined."""
    pairs = _rewritten(subject)
    if not pairs:
        return
    parameters = {
        "tables": [table for table, _ in pairs],
        "columns": [column for _, column in pairs],
        "helper_schema": subject.view.plan["helper_schema"],
    }
    for row in subject.view.rows(BODIES, parameters):
        if subject.knows("", row["short"]):
            continue
        yield Finding(
            "function_names_changed_column",
            "warning",
            row["name"],
            f"the text of the function {row['name']} names {row['columns']}, whose values the plan changes",
            "it was written for the present values; afterwards it can return other rows, without any error",
            ADAPT,
        )


def _rewritten(subject: Subject) -> list[tuple[str, str]]:
    """Return table and column of everything that a pending migration changes."""
    if subject.direction == "reverted":
        return []
    return [(table, column) for table, writes in subject.writes.items() for column in sorted(writes.rewritten)]


def examine_dependents(subject: Subject) -> Iterator[Finding]:
    """Find views, policies, functions and generated columns that read a changed column."""
    pairs = _rewritten(subject)
    if not pairs:
        return
    found: dict[tuple[str, str], list[str]] = {}
    rows = subject.view.rows(
        DEPENDENTS, {"tables": [table for table, _ in pairs], "columns": [column for _, column in pairs]}
    )
    for row in rows:
        ours = row["schema"] == subject.view.plan["helper_schema"] or subject.knows(row["table"], row["short"])
        if not ours:
            found.setdefault((row["what"], row["name"]), []).append(f"{row['table']}.{row['column']}")
    for (what, name), columns in found.items():
        yield Finding(
            "object_on_changed_column",
            "blocking",
            name,
            f"{what} {name} reads {', '.join(columns)}, whose values the plan changes",
            "it was written for the present values; afterwards it can show or allow other rows, without any error",
            ADAPT,
        )
