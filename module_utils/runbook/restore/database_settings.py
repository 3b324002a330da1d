"""What belongs to a database itself and is in no dump of it: rights, comment, settings, limit of connections."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from psycopg2 import sql

from ..database.connection import Cursor

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

# Settings whose value is a list are kept quoted as SQL wants them; any other is one value.
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
    """Return what there is on the level of the database ``name``."""
    cursor.execute(FACTS, (name,))
    oid, owner, limit, comment = cursor.fetchone() or (0, "", -1, None)
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


def give(cursor: Cursor, name: str, facts: Mapping[str, Any]) -> list[str]:
    """Give the database ``name`` what another has. Returns what was given, in words.

    It runs in the cursor's transaction; where one thing is refused, all of it is.
    """
    given = []
    for words, statement in _statements(name, facts):
        cursor.execute(statement)
        given += [words] if words else []
    return given


def _statements(name: str, facts: Mapping[str, Any]) -> Iterator[tuple[str, sql.Composable]]:
    database = sql.Identifier(name)
    owner = sql.Identifier(facts["owner"])
    # Nothing is left of what it was made with: the rights that follow are all that it has.
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
            # Parameters of extensions and plans have a dot in their name.
            sql.SQL("{} SET {} TO {}").format(whose, sql.Identifier(*key.split(".")), values),
        )
    limit = sql.Literal(facts["connection_limit"])
    yield "", sql.SQL("ALTER DATABASE {} CONNECTION LIMIT {}").format(database, limit)
    yield "", sql.SQL("COMMENT ON DATABASE {} IS {}").format(database, sql.Literal(facts["comment"]))
