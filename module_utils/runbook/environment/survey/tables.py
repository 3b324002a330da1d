"""Find tables of a kind that the plan was not written for, and privileges on single columns."""

from __future__ import annotations

from collections.abc import Iterator

from ...verification.findings import Finding
from .subject import Subject, quoted

TABLES = """
SELECT wanted.name AS "table", c.relkind::text AS kind, c.relispartition AS is_partition,
       c.relpersistence::text AS persistence, am.amname::text AS method, c.relforcerowsecurity AS forced,
       c.reloftype <> 0 AS is_typed,
       ARRAY(SELECT i.inhparent::regclass::text FROM pg_catalog.pg_inherits AS i
              WHERE i.inhrelid = c.oid ORDER BY 1) AS parents,
       ARRAY(SELECT i.inhrelid::regclass::text FROM pg_catalog.pg_inherits AS i
              WHERE i.inhparent = c.oid ORDER BY 1) AS children
  FROM unnest(%(tables)s::text[]) WITH ORDINALITY AS wanted (name, place)
  JOIN pg_catalog.pg_class AS c ON c.oid = to_regclass(wanted.name)
  LEFT JOIN pg_catalog.pg_am AS am ON am.oid = c.relam
 ORDER BY wanted.place
"""

GRANTS = """
SELECT wanted.name AS "table", coalesce(r.rolname::text, 'PUBLIC') AS role,
       string_agg(DISTINCT e.privilege_type, ', ') AS privileges,
       string_agg(DISTINCT a.attname::text, ', ' ORDER BY a.attname::text) AS columns
  FROM unnest(%(tables)s::text[]) WITH ORDINALITY AS wanted (name, place)
  JOIN pg_catalog.pg_class AS c ON c.oid = to_regclass(wanted.name)
  JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
       AND a.attacl IS NOT NULL
 CROSS JOIN LATERAL aclexplode(a.attacl) AS e
  LEFT JOIN pg_catalog.pg_roles AS r ON r.oid = e.grantee
 WHERE e.grantee <> c.relowner
 GROUP BY wanted.place, wanted.name, r.rolname
 ORDER BY wanted.place, 2
"""


def examine_kinds(subject: Subject) -> Iterator[Finding]:
    """Find tables with inheritance or partitions, and tables that are not ordinary heaps."""
    for row in subject.view.rows(TABLES, {"tables": subject.tables}):
        table = row["table"]
        family = [f"child of {name}" for name in row["parents"]] + [f"parent of {name}" for name in row["children"]]
        if family or row["kind"] == "p":
            found = "is partitioned" if row["kind"] == "p" else "is a partition" if row["is_partition"] else "inherits"
            yield Finding(
                "inheritance",
                "blocking",
                table,
                f"{table} {found}" + (f": {', '.join(family)}" if family else ""),
                "triggers, constraints and columns that the plan and the change log add to one table do not apply to "
                "the other, so writes through a parent or child can bypass them",
                "ALTER TABLE <child> NO INHERIT <parent> (or DETACH PARTITION), or a plan for these tables; "
                f"{table} must be an ordinary table",
            )
        if row["is_typed"]:
            yield Finding(
                "typed_table",
                "blocking",
                table,
                f"{table} is a typed table (CREATE TABLE ... OF)",
                "no column can be added to it",
                f"ALTER TABLE {table} NOT OF",
            )
        if row["persistence"] != "p":
            yield Finding(
                "unlogged_table",
                "warning",
                table,
                f"{table} is {'UNLOGGED' if row['persistence'] == 'u' else 'temporary'}",
                "it is empty after a crash of the server, even during the migration, and standbys do not have its rows",
                f"ALTER TABLE {table} SET LOGGED",
            )
        if row["method"] not in (None, "heap"):
            yield Finding(
                "table_access_method",
                "blocking",
                table,
                f"{table} uses the access method {row['method']}",
                "the runbook was tested on heap tables only: row locks, concurrent index builds and system columns "
                "can differ",
                f"ALTER TABLE {table} SET ACCESS METHOD heap",
            )
        if row["forced"]:
            yield Finding(
                "force_row_security",
                "blocking",
                table,
                f"{table} has FORCE ROW LEVEL SECURITY",
                "its policies apply to its owner too, and to the plan's trigger functions unless their owner has "
                "BYPASSRLS: rows that they hide are neither found nor written, without any error",
                f"ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY; or accept it if the role has BYPASSRLS",
            )


def examine_grants(subject: Subject) -> Iterator[Finding]:
    """Find roles with privileges on single columns, which do not include columns that the plan adds."""
    if subject.direction == "reverted" or subject.is_over:
        return
    for row in subject.view.rows(GRANTS, {"tables": subject.tables}):
        table = row["table"]
        grantee = row["role"] if row["role"] == "PUBLIC" else quoted(row["role"])
        yield Finding(
            "column_grants",
            "blocking",
            f"{table}: {row['role']}",
            f"{row['role']} has {row['privileges']} on single columns of {table}: {row['columns']}",
            "it gets no privileges on columns that the plan adds, so statements of the new application as this role "
            "fail (SQLSTATE 42501)",
            f"after the migration: GRANT {row['privileges'].split(', ')[0]} (<new columns>) ON {table} TO "
            f"{grantee}; accept the finding until then",
        )
