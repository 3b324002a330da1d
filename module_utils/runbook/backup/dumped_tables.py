"""Read from the catalog what a dump contains: schemas, tables, rows, foreign keys and grantees."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from psycopg2 import sql

from ..database.connection import Cursor, identifier
from ..database.foreign_keys import foreign_keys, orphans
from ..database.queries import value
from ..errors import RunbookError
from ..journal.schema import SCHEMA as JOURNAL

# Without members of extensions: pg_dump does not dump their rows.
TABLES = """
SELECT c.oid, n.nspname || '.' || c.relname,
       coalesce(pg_catalog.array_agg(a.attname::text ORDER BY a.attnum) FILTER (WHERE a.attname IS NOT NULL), '{}'),
       coalesce(pg_catalog.array_agg(pg_catalog.format_type(a.atttypid, a.atttypmod) ORDER BY a.attnum)
                FILTER (WHERE a.attname IS NOT NULL), '{}')
  FROM pg_catalog.pg_class c
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  LEFT JOIN pg_catalog.pg_attribute a
    ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
 WHERE c.relkind = 'r' AND n.nspname = ANY (%s)
   AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d
                    WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
 GROUP BY c.oid, n.nspname, c.relname
 ORDER BY n.nspname, c.relname
"""


@dataclasses.dataclass(frozen=True)
class DumpedTable:
    """A table of a dump.

    :param columns: name → type, without generated columns, which are not dumped.
    """

    object_id: int
    name: str
    columns: dict[str, str]


def dumped_tables(cursor: Cursor, schemas: Sequence[str]) -> list[DumpedTable]:
    """Return the tables of these schemas whose rows pg_dump writes, ordered by name."""
    cursor.execute(TABLES, (list(schemas),))
    return [
        DumpedTable(object_id, name, dict(zip(columns, types, strict=True)))
        for object_id, name, columns, types in cursor.fetchall()
    ]


def existing_schemas(cursor: Cursor, schemas: Sequence[str]) -> list[str]:
    """Return the schemas that exist, in the given order, each once."""
    cursor.execute("SELECT nspname::text FROM pg_catalog.pg_namespace WHERE nspname = ANY (%s)", (list(schemas),))
    existing = {name for (name,) in cursor.fetchall()}
    return [name for name in dict.fromkeys(schemas) if name in existing]


def row_count(cursor: Cursor, table: str) -> int:
    """Count a table's own rows. Rows of tables that inherit from it are dumped with their own table."""
    return int(value(cursor, sql.SQL("SELECT count(*) FROM ONLY {}").format(identifier(table))))


def unvalidated_keys(cursor: Cursor, names: Sequence[str]) -> list[dict[str, Any]]:
    """Count the rows without a parent of each NOT VALID foreign key: a restore may have no more than these."""
    keys = [key for key in foreign_keys(cursor, names) if not key.validated and key.readable]
    return [{"name": key.name, "table": key.child, "orphans": orphans(cursor, key)[0]} for key in keys]


def outside_keys(cursor: Cursor, names: Sequence[str]) -> list[dict[str, Any]]:
    """Return the foreign keys to tables outside the dump: a scratch database needs the rows that they reference."""
    return [
        {
            "name": key.name,
            "table": key.child,
            "columns": list(key.child_columns),
            "parent": key.parent,
            "parent_columns": list(key.parent_columns),
        }
        for key in foreign_keys(cursor, names)
        if key.child in names and key.parent not in names
    ]


def bytes_of(cursor: Cursor, names: Sequence[str]) -> int:
    """Return the size of the tables with their indexes, which a second copy needs."""
    size = value(
        cursor,
        "SELECT coalesce(sum(pg_catalog.pg_total_relation_size(c.oid)), 0)::bigint FROM pg_catalog.pg_class c"
        "  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname || '.' || c.relname = ANY (%s)",
        (list(names),),
    )
    return int(size)


GRANTEES = """
WITH schemas AS (SELECT oid, nspacl FROM pg_catalog.pg_namespace WHERE nspname = ANY (%s)),
acls (acl) AS (
    SELECT nspacl FROM schemas
    UNION ALL SELECT relacl FROM pg_catalog.pg_class WHERE relnamespace IN (SELECT oid FROM schemas)
    UNION ALL SELECT proacl FROM pg_catalog.pg_proc WHERE pronamespace IN (SELECT oid FROM schemas)
    UNION ALL SELECT typacl FROM pg_catalog.pg_type WHERE typnamespace IN (SELECT oid FROM schemas)
    UNION ALL SELECT defaclacl FROM pg_catalog.pg_default_acl WHERE defaclnamespace IN (SELECT oid FROM schemas)
    UNION ALL SELECT a.attacl FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_class c ON c.oid = a.attrelid
     WHERE c.relnamespace IN (SELECT oid FROM schemas)
),
named (role) AS (
    SELECT entry.grantee FROM acls CROSS JOIN LATERAL pg_catalog.aclexplode(acls.acl) AS entry
    UNION SELECT pg_catalog.unnest(p.polroles) FROM pg_catalog.pg_policy p
      JOIN pg_catalog.pg_class c ON c.oid = p.polrelid WHERE c.relnamespace IN (SELECT oid FROM schemas)
)
SELECT r.rolname::text FROM named JOIN pg_catalog.pg_roles r ON r.oid = named.role ORDER BY 1
"""


def grantees(cursor: Cursor, schemas: Sequence[str]) -> list[str]:
    """Return the roles with privileges on the schemas' objects: the dump cannot be restored without them."""
    cursor.execute(GRANTEES, (list(schemas),))
    return [name for (name,) in cursor.fetchall()]


#: ``tables``: the given schemas; ``database``: everything that pg_dump can dump.
SCOPES = ("tables", "database")

# Without the journal: it would describe another database, and a swap copies the live one.
ALL_SCHEMAS = """
SELECT nspname::text FROM pg_catalog.pg_namespace
 WHERE nspname !~ '^pg_' AND nspname NOT IN ('information_schema', %s)
 ORDER BY 1
"""

UNREADABLE = """
SELECT n.nspname || '.' || c.relname
  FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE n.nspname = ANY (%s) AND c.relkind IN ('r', 'S')
   AND NOT (pg_catalog.has_schema_privilege(n.oid, 'USAGE') AND pg_catalog.has_table_privilege(c.oid, 'SELECT'))
   AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d
                    WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
 ORDER BY 1
"""


def scope_of(manifest: Mapping[str, Any]) -> str:
    """Return the scope of a backup; older manifests have none and mean ``tables``."""
    return str(manifest.get("scope", "tables"))


def what_to_dump(cursor: Cursor, params: Mapping[str, Any]) -> tuple[list[str], list[DumpedTable]]:
    """Return the schemas to dump and the tables in them.

    :raises RunbookError: a schema does not exist, or no schema has a table whose rows must be in the backup.
    """
    schemas = existing_schemas(cursor, params["schemas"])
    missing = [name for name in params["schemas"] if name not in schemas]
    if missing:
        raise RunbookError(
            f"schema {', '.join(missing)} does not exist in this database.",
            object_name=missing[0],
            next_command="check database_connection and the plan's schemas",
        )
    if params["scope"] == "database":
        cursor.execute(ALL_SCHEMAS, (JOURNAL,))
        schemas = [name for (name,) in cursor.fetchall()]
        _require_readable(cursor, schemas)
    else:
        # Before the first migration, a database has no history table.
        history = (params["history_table"] or "").split(".", 1)[0]
        schemas += existing_schemas(cursor, [history] if history and history not in schemas else [])
    tables = dumped_tables(cursor, schemas)
    names = {table.name for table in tables}
    lacking = [name for name in params["tables"] if name not in names]
    if lacking:
        raise RunbookError(
            f"table {', '.join(lacking)} is not among the tables of {', '.join(schemas)}: "
            "its rows would not be in the backup.",
            object_name=lacking[0],
            next_command="check the plan's schemas and protected_tables",
        )
    return schemas, tables


def _require_readable(cursor: Cursor, schemas: list[str]) -> None:
    cursor.execute(UNREADABLE, (schemas,))
    hidden = [name for (name,) in cursor.fetchall()]
    if hidden:
        more = f" and {len(hidden) - 5} more" if len(hidden) > 5 else ""
        raise RunbookError(
            f"a backup of the whole database reads every table, and this role may not read "
            f"{', '.join(hidden[:5])}{more}.",
            object_name=hidden[0],
            next_command="GRANT SELECT (and USAGE on the schemas) TO the role, or database_backup_scope: tables",
        )
