"""Move rows to the plan's archive, with the rows that a delete would cascade to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from psycopg2 import sql

from ..database.connection import Cursor, identifier, rows_as_dicts
from ..database.foreign_keys import foreign_keys
from ..database.queries import value
from ..errors import RunbookError
from ..plan.migration_file import step_named
from .documents import define_documents

#: A repair script may fill ``archived`` (rows that it has deleted itself) and ``to_archive`` (keys of rows to archive
#: and delete). ``doomed`` identifies a row by table and ctid, because two partitions can have the same ctids.
TABLES = """
CREATE TEMPORARY TABLE archived (reason text, table_name text, row_data jsonb) ON COMMIT DROP;
CREATE TEMPORARY TABLE to_archive (reason text, table_name text, key text) ON COMMIT DROP;
CREATE TEMPORARY TABLE doomed (
    place bigint GENERATED ALWAYS AS IDENTITY, level integer, reason text, table_name text, stored_in oid, row_id tid,
    row_data jsonb, UNIQUE (stored_in, row_id)
) ON COMMIT DROP;
"""

CHILDREN = """
SELECT c.conname AS name, n.nspname || '.' || t.relname AS child, c.confdeltype = 'c' AS cascades,
       pg_catalog.has_schema_privilege(n.oid, 'USAGE')
       AND pg_catalog.has_table_privilege(c.conrelid, 'SELECT') AS readable,
       pg_catalog.has_schema_privilege(n.oid, 'USAGE') AND pg_catalog.has_table_privilege(c.conrelid, 'SELECT')
       AND pg_catalog.has_table_privilege(c.conrelid, 'INSERT')
       AND pg_catalog.has_table_privilege(c.conrelid, 'DELETE') AS writable
  FROM pg_catalog.pg_constraint c
  JOIN pg_catalog.pg_class t ON t.oid = c.conrelid
  JOIN pg_catalog.pg_namespace n ON n.oid = t.relnamespace
 WHERE c.contype = 'f' AND c.conparentid = 0 AND c.confrelid = %s::regclass
 ORDER BY 2, 1
"""


def prepare(cursor: Cursor, plan: Mapping[str, Any]) -> None:
    """Create the archive if it is missing, and the temporary tables that a repair script fills."""
    set_up_archive(cursor, plan)
    cursor.execute(TABLES)
    define_documents(cursor)


def set_up_archive(cursor: Cursor, plan: Mapping[str, Any]) -> None:
    """Run the first migration's step that creates the archive, or restores one that a rollback has set aside."""
    for statement in step_named(plan["migrations"][0]["file"], plan["archive"]["setup"]).statements:
        cursor.execute(statement)


def archive_rows(cursor: Cursor, plan: Mapping[str, Any], repair_id: str) -> int:
    """Archive and delete the rows in ``to_archive``, archive those in ``archived``, and return their number.

    :raises RunbookError: a row that references one of them could not be restored with it.
    """
    key_of = {entry["table"]: entry["key"] for entry in plan["protected_tables"]}
    cursor.execute("SELECT DISTINCT table_name FROM pg_temp.to_archive ORDER BY 1")
    tables = [name for (name,) in cursor.fetchall()]
    for table in tables:
        # The row lock keeps other sessions from adding rows that reference these.
        cursor.execute(
            sql.SQL(
                "INSERT INTO pg_temp.doomed (level, reason, table_name, stored_in, row_id, row_data)"
                " SELECT 0, f.reason, {name}, f.stored_in, f.row_id, f.row_data FROM ("
                "SELECT a.reason, t.tableoid AS stored_in, t.ctid AS row_id, pg_temp.row_document(t) AS row_data"
                " FROM {table} AS t"
                ' JOIN pg_temp.to_archive AS a ON a.key = t.{key}::text COLLATE "C" AND a.table_name = {name}'
                " FOR UPDATE OF t) AS f"
                " ON CONFLICT DO NOTHING"
            ).format(table=identifier(table), key=sql.Identifier(key_of[table]), name=sql.Literal(table))
        )
    waiting = [(table, 0) for table in tables]
    while waiting:
        parent, level = waiting.pop(0)
        cursor.execute(CHILDREN, (str(identifier(parent).as_string(cursor)),))
        keys = rows_as_dicts(cursor)
        equal = {(known.name, known.child): known.equal("p", "c") for known in foreign_keys(cursor, [parent])}
        keys = [{**key, "equal": equal[key["name"], key["child"]]} for key in keys]
        waiting += [(key["child"], level + 1) for key in keys if _add_children(cursor, parent, level, key)]
    number = value(
        cursor,
        sql.SQL(
            "WITH kept AS (INSERT INTO {} (reason, table_name, row_data, run_id)"
            " SELECT reason, table_name, row_data, %s FROM ("
            "  SELECT -1 AS level, 0 AS place, reason, table_name, row_data FROM pg_temp.archived UNION ALL"
            "  SELECT level, place, reason, table_name, row_data FROM pg_temp.doomed ORDER BY 1, 2) AS r RETURNING 1)"
            " SELECT count(*) FROM kept"
        ).format(identifier(plan["archive"]["table"])),
        (repair_id,),
    )
    for table in tables:
        cursor.execute(
            sql.SQL(
                "DELETE FROM {} AS t USING pg_temp.doomed AS d"
                " WHERE d.level = 0 AND d.table_name = %s AND d.stored_in = t.tableoid AND d.row_id = t.ctid"
            ).format(identifier(table)),
            (table,),
        )
    return int(number)


def _add_children(cursor: Cursor, parent: str, level: int, key: Mapping[str, Any]) -> int:
    """Add the rows that reference doomed rows of the parent to ``doomed``; refuse those that cannot be restored."""
    if not key["readable"]:
        raise RunbookError(
            f"rows of {key['child']} may reference rows of {parent} ({key['name']}), and this role may not read them.",
            object_name=key["child"],
            next_command=f"GRANT SELECT ON {key['child']} TO the role, then run the same command again",
        )
    values = {
        "child": identifier(key["child"]),
        "parent": identifier(parent),
        "equal": key["equal"],
        "child_name": sql.Literal(key["child"]),
        "level": sql.Literal(level + 1),
    }
    from_where = sql.SQL(
        " FROM {child} AS c JOIN {parent} AS p ON {equal}"
        " JOIN pg_temp.doomed AS d ON d.stored_in = p.tableoid AND d.row_id = p.ctid"
        " WHERE NOT EXISTS (SELECT FROM pg_temp.doomed AS o WHERE o.stored_in = c.tableoid AND o.row_id = c.ctid)"
    ).format(**values)
    if not (key["cascades"] and key["writable"]):
        found = value(cursor, sql.SQL("SELECT count(*)") + from_where)
        if found:
            why = "this role could not restore them" if key["cascades"] else "they would lose their parent rows"
            raise RunbookError(
                f"{found} rows of {key['child']} reference these rows of {parent} ({key['name']}): {why}.",
                object_name=key["child"],
                next_command="delete those rows first, or repair only rows without them: -e keys=<key>,<key>",
            )
        return 0
    cursor.execute(
        sql.SQL(
            "INSERT INTO pg_temp.doomed (level, reason, table_name, stored_in, row_id, row_data)"
            " SELECT {level}, f.reason, {child_name}, f.stored_in, f.row_id, f.row_data FROM ("
            "SELECT d.reason, c.tableoid AS stored_in, c.ctid AS row_id, pg_temp.row_document(c) AS row_data"
        ).format(**values)
        + from_where
        + sql.SQL(" FOR UPDATE OF c) AS f ON CONFLICT DO NOTHING")
    )
    return int(cursor.rowcount)
