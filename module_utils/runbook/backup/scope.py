"""What a backup holds: the tables of some schemas, or the whole database."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import RunbookError
from ..journal.schema import SCHEMA as JOURNAL
from ..session.connection import Cursor
from .dumped_tables import DumpedTable, dumped_tables, existing_schemas

#: ``tables``: the schemas named; ``database``: everything that pg_dump can take.
SCOPES = ("tables", "database")

# The journal stays out: what it says of the database would be another's, and a restore carries the live one over.
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
    """Return a backup's scope. Manifests that say nothing are of the time when there was only one."""
    return str(manifest.get("scope", "tables"))


def what_to_dump(cursor: Cursor, params: Mapping[str, Any]) -> tuple[list[str], list[DumpedTable]]:
    """Return the schemas to dump and the tables in them.

    :raises RunbookError: a schema is missing, or a table whose rows must be in the backup is in none of them.
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
        # A database that no migration was ever applied to has no history yet.
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
            f"a backup of the whole database needs every table, and permission is denied to this role for "
            f"{', '.join(hidden[:5])}{more}.",
            object_name=hidden[0],
            next_command="GRANT SELECT (and USAGE on the schemas) TO the role, or database_backup_scope: tables",
        )
