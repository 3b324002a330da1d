"""Copy the properties of a database that no dump of it contains: privileges, comment, settings, connection limit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from psycopg2 import sql

from ..database.connection import Cursor
from ..database.queries import row

FACTS = """
SELECT d.oid, pg_catalog.pg_get_userbyid(d.datdba)::text AS owner, d.datconnlimit AS connection_limit,
       pg_catalog.shobj_description(d.oid, 'pg_database') AS comment
  FROM pg_catalog.pg_database d WHERE d.datname = %s
"""

GRANTS = """
SELECT coalesce(g.rolname::text, '') AS grantee, a.privilege_type, a.is_grantable
  FROM pg_catalog.pg_database d
 CROSS JOIN LATERAL pg_catalog.aclexplode(coalesce(d.datacl, pg_catalog.acldefault('d', d.datdba))) a
  LEFT JOIN pg_catalog.pg_roles g ON g.oid = a.grantee
 WHERE d.datname = %s ORDER BY 1, 2
"""

SETTINGS = """
SELECT coalesce(r.rolname::text, '') AS role, pg_catalog.unnest(s.setconfig) AS setting
  FROM pg_catalog.pg_db_role_setting s
  JOIN pg_catalog.pg_database d ON d.oid = s.setdatabase
  LEFT JOIN pg_catalog.pg_roles r ON r.oid = s.setrole
 WHERE d.datname = %s ORDER BY 1, 2
"""

# The values of these settings are stored as quoted lists; any other setting has a single value.
_LISTS = (
    "search_path",
    "temp_tablespaces",
    "session_preload_libraries",
    "local_preload_libraries",
    "shared_preload_libraries",
    "unix_socket_directories",
    "DateStyle",
)


def read(cursor: Cursor, name: str) -> dict[str, Any]:
    """Return the properties of the database ``name``."""
    oid, owner, limit, comment = row(cursor, FACTS, (name,)) or (0, "", -1, None)
    cursor.execute(GRANTS, (name,))
    grants = cursor.fetchall()
    cursor.execute(SETTINGS, (name,))
    return {
        "oid": oid,
        "owner": owner,
        "connection_limit": limit,
        "comment": comment,
        "grants": [{"grantee": role, "privilege": right, "grantable": grantable} for role, right, grantable in grants],
        "settings": [{"role": role, "setting": setting} for role, setting in cursor.fetchall()],
    }


def apply(cursor: Cursor, name: str, facts: Mapping[str, Any]) -> list[str]:
    """Apply properties returned by ``read`` to the database ``name``, and describe the privileges and settings.

    The statements run in the cursor's transaction: if one fails, none is applied.
    """
    applied = []
    for description, statement in _statements(name, facts):
        cursor.execute(statement)
        applied += [description] if description else []
    return applied


def _statements(name: str, facts: Mapping[str, Any]) -> Iterator[tuple[str, sql.Composable]]:
    database = sql.Identifier(name)
    owner = sql.Identifier(facts["owner"])
    # Revoke the privileges of a new database first: it must have the following ones only.
    yield "", sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC, {}, SESSION_USER").format(database, owner)
    for grant in facts["grants"]:
        role = sql.Identifier(grant["grantee"]) if grant["grantee"] else sql.SQL("PUBLIC")
        more = sql.SQL(" WITH GRANT OPTION" if grant["grantable"] else "")
        right = sql.SQL(grant["privilege"])
        yield (
            f"{grant['privilege']} to {grant['grantee'] or 'PUBLIC'}",
            sql.SQL("GRANT {} ON DATABASE {} TO {}{}").format(right, database, role, more),
        )
    for entry in facts["settings"]:
        key, value = entry["setting"].split("=", 1)
        whose = (
            sql.SQL("ALTER ROLE {} IN DATABASE {}").format(sql.Identifier(entry["role"]), database)
            if entry["role"]
            else sql.SQL("ALTER DATABASE {}").format(database)
        )
        parts = [part.strip().strip('"') for part in value.split(",")] if key in _LISTS else [value]
        values = sql.SQL(", ").join(map(sql.Literal, parts))
        yield (
            f"{key} of {entry['role'] or 'the database'}",
            # Names of custom parameters contain a dot.
            sql.SQL("{} SET {} TO {}").format(whose, sql.Identifier(*key.split(".")), values),
        )
    limit = sql.Literal(facts["connection_limit"])
    yield "", sql.SQL("ALTER DATABASE {} CONNECTION LIMIT {}").format(database, limit)
    yield "", sql.SQL("COMMENT ON DATABASE {} IS {}").format(database, sql.Literal(facts["comment"]))
