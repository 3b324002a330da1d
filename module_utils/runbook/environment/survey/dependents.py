"""Objects of the deployment that read a column whose values or meaning the plan changes."""

from __future__ import annotations

from collections.abc import Iterator

from ...verification.findings import Finding
from .subject import Subject

#: Views and rules, policies, functions with a parsed body, generated columns. Objects in the plan's schema are its own.
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


def examine_dependents(subject: Subject) -> Iterator[Finding]:
    """Views, policies, functions and generated columns that read a changed column."""
    pairs = [
        (table, column)
        for table, writes in subject.writes.items()
        if subject.direction == "applied"
        for column in sorted(writes.changed or ())
    ]
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
            "it was written for what the column holds now; afterwards it can show or allow other rows, without "
            "any error",
            "read it against the plan, adapt it where it must be, then accept it: "
            f"environment_verification_accept with finding object_on_changed_column and object {name}",
        )
