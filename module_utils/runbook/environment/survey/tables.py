"""What a table is, and who may do what with it, where that is not what the plan was written for."""

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
    """Tables in a family of tables, and tables that are no ordinary heap."""
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
                "rows that are written through a parent fire none of the triggers that the plan and the change "
                "log put on a child, and a constraint or column of one is not that of the other",
                "ALTER TABLE <child> NO INHERIT <parent> (or DETACH PARTITION), or a plan that names the tables "
                f"as they are; {table} must be a table of its own",
            )
        if row["is_typed"]:
            yield Finding(
                "typed_table",
                "blocking",
                table,
                f"{table} is a table of a type (CREATE TABLE ... OF)",
                "no column can be added to it",
                f"ALTER TABLE {table} NOT OF",
            )
        if row["persistence"] != "p":
            yield Finding(
                "unlogged_table",
                "warning",
                table,
                f"{table} is {'UNLOGGED' if row['persistence'] == 'u' else 'temporary'}",
                "it is empty after a crash of the server, in the middle of the plan too, and no standby has its rows",
                f"ALTER TABLE {table} SET LOGGED",
            )
        if row["method"] not in (None, "heap"):
            yield Finding(
                "table_access_method",
                "blocking",
                table,
                f"{table} is stored by the access method {row['method']}",
                "the runbook was tried on heap tables: row locks, concurrent index builds and system columns can "
                "differ",
                f"ALTER TABLE {table} SET ACCESS METHOD heap",
            )
        if row["forced"]:
            yield Finding(
                "force_row_security",
                "blocking",
                table,
                f"{table} has FORCE ROW LEVEL SECURITY",
                "its policies hold for its owner too, so for the plan's trigger functions where their owner "
                "cannot bypass row-level security: rows they do not show are not found and not written, without "
                "any error",
                f"ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY; or accept it where the role has BYPASSRLS",
            )


def examine_grants(subject: Subject) -> Iterator[Finding]:
    """Roles that may use single columns: a column that the plan adds is not among them."""
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
            "it gets nothing on the columns that the plan adds, so what the new application sends as this role is "
            "refused (SQLSTATE 42501)",
            f"after the migration: GRANT {row['privileges'].split(', ')[0]} (<new columns>) ON {table} TO "
            f"{grantee}; accept the finding until then",
        )
