"""Set the deployment's search_path: its triggers run when rows of its tables are written."""

from __future__ import annotations

from collections.abc import Sequence

from psycopg2 import sql

from .connection import Cursor, identifier

#: Settings of roles that may write the tables, the owner's last; then the database's, else the server's. An answer is a
#: list as ALTER ROLE and ALTER DATABASE keep it.
SETTINGS = """
WITH written AS (
    SELECT oid, relowner FROM pg_catalog.pg_class WHERE oid = ANY (%(tables)s::regclass[])
), setting AS (
    SELECT DISTINCT ON (d.setrole) d.setrole, pg_catalog.substr(c.line, 13) AS value
      FROM pg_catalog.pg_db_role_setting d CROSS JOIN LATERAL pg_catalog.unnest(d.setconfig) AS c (line)
     WHERE c.line LIKE 'search\\_path=%%'
       AND d.setdatabase IN (
           0, (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()))
     ORDER BY d.setrole, d.setdatabase DESC
)
SELECT place, value FROM (
    SELECT CASE WHEN r.oid IN (SELECT relowner FROM written) THEN 2 WHEN r.rolcanlogin THEN 0 ELSE 1 END AS place,
           s.value, r.rolname::text AS role
      FROM setting s JOIN pg_catalog.pg_roles r ON r.oid = s.setrole
     WHERE NOT r.rolsuper AND EXISTS (
           SELECT FROM pg_catalog.pg_roles w CROSS JOIN written t
            WHERE NOT w.rolsuper AND pg_catalog.pg_has_role(r.oid, w.oid, 'MEMBER')
              AND pg_catalog.has_table_privilege(w.oid, t.oid, 'INSERT, UPDATE, DELETE'))
    UNION ALL
    SELECT 3, value, '' FROM setting WHERE setrole = 0
    UNION ALL
    SELECT 4, reset_val, '' FROM pg_catalog.pg_settings
     WHERE name = 'search_path' AND NOT EXISTS (
           SELECT FROM setting
            WHERE setrole IN (0, (SELECT oid FROM pg_catalog.pg_roles WHERE rolname = session_user)))
    UNION ALL
    SELECT 5, boot_val, '' FROM pg_catalog.pg_settings WHERE name = 'search_path'
) AS every ORDER BY place, role
"""

#: What the server makes of such a list: the schemas that are there and open to this role, without its own ("$user").
RESOLVED = """
SELECT coalesce(pg_catalog.array_agg(s.name::text ORDER BY s.place) FILTER (WHERE s.name::text !~ '^pg_'), '{}')
  FROM pg_catalog.unnest(pg_catalog.current_schemas(false)) WITH ORDINALITY AS s (name, place)
"""


def use_deployment_path(cursor: Cursor, tables: Sequence[str]) -> str:
    """Set the path until the transaction ends, because deferred triggers need it too. Return it.

    Our own statements name every schema; pg_catalog stays first, and pg_temp is last.
    """
    cursor.execute(SETTINGS, {"tables": [identifier(table).as_string(cursor) for table in tables]})
    schemas: list[str] = []
    has_default = False
    for place, value in cursor.fetchall():
        if place > 3 and has_default:
            continue
        found = _resolved(cursor, value)
        has_default = has_default or (place >= 3 and bool(found))
        schemas += [schema for schema in found if schema not in schemas]
    path = sql.SQL(", ").join(map(sql.Identifier, [*schemas, "pg_temp"])).as_string(cursor)
    cursor.execute("SELECT pg_catalog.set_config('search_path', %s, true)", (path,))
    return path


def _resolved(cursor: Cursor, value: str) -> list[str]:
    cursor.execute(
        "SELECT pg_catalog.set_config('search_path',"
        " pg_catalog.regexp_replace(%s, '\"?\\$user\"?', 'pg_catalog', 'g'), true)",
        (value,),
    )
    cursor.execute(RESOLVED)
    row = cursor.fetchone()
    return list(row[0]) if row else []


def use_own_path(cursor: Cursor) -> None:
    """Set the path of our sessions again, for the rest of the transaction."""
    cursor.execute("SELECT pg_catalog.set_config('search_path', 'pg_catalog', true)")
