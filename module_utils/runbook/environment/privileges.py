"""Check that the connected role may do what the plan does: by trying, never by the role's name."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg2

from ..database.queries import savepoint
from ..verification.findings import Finding
from .view import View

#: Schema of the run journal.
JOURNAL_SCHEMA = "migration_runbook"

NOT_OWNED = """
SELECT c.oid::regclass::text AS "table", pg_get_userbyid(c.relowner) AS owner
FROM unnest(%(tables)s::text[]) AS wanted(name)
JOIN pg_class AS c ON c.oid = to_regclass(wanted.name)
WHERE NOT pg_has_role(c.relowner, 'USAGE')
ORDER BY 1
"""

ROW_SECURITY = """
SELECT c.oid::regclass::text AS "table"
FROM unnest(%(tables)s::text[]) AS wanted(name)
JOIN pg_class AS c ON c.oid = to_regclass(wanted.name)
WHERE row_security_active(c.oid)
ORDER BY 1
"""

SCHEMAS_WITHOUT_CREATE = """
SELECT n.nspname AS schema
FROM unnest(%(schemas)s::text[]) AS wanted(name)
JOIN pg_namespace AS n ON n.nspname = wanted.name
WHERE NOT has_schema_privilege(n.oid, 'CREATE')
ORDER BY 1
"""

SCHEMAS_MISSING = """
SELECT wanted.name AS schema
FROM unnest(%(schemas)s::text[]) AS wanted(name)
WHERE NOT EXISTS (SELECT FROM pg_namespace WHERE nspname = wanted.name)
ORDER BY 1
"""


def examine_ownership(view: View) -> Iterator[Finding]:
    """Require that the role owns the plan's tables and sees all their rows."""
    user = view.server["user"]
    for row in view.rows(NOT_OWNED, {"tables": view.changed_tables()}):
        yield Finding(
            "not_owner",
            "blocking",
            row["table"],
            f"{row['table']} belongs to {row['owner']}, and {user} is not a member of that role",
            "only the owner of a table can add columns, constraints, indexes and triggers to it",
            f"connect as {row['owner']}, or: GRANT {row['owner']} TO {user}",
        )
    for row in view.rows(ROW_SECURITY, {"tables": view.tables()}):
        yield Finding(
            "row_security",
            "blocking",
            row["table"],
            f"row-level security applies to {user} on {row['table']}",
            "rows that it hides are missing from counts, backups and the migration, without any error",
            f"connect as a role with BYPASSRLS, or: ALTER ROLE {user} BYPASSRLS",
        )


def examine_create(view: View) -> Iterator[Finding]:
    """Require the privileges for what a run and the plan create."""
    user, database = view.server["user"], view.server["database"]
    own = [JOURNAL_SCHEMA, view.plan["helper_schema"]]
    missing = [row["schema"] for row in view.rows(SCHEMAS_MISSING, {"schemas": own})]
    if missing and not view.value("SELECT has_database_privilege(current_database(), 'CREATE')"):
        yield Finding(
            "create_on_database",
            "blocking",
            database,
            f"{user} may not create schemas in {database}; needed: {', '.join(missing)}",
            "the journal and the plan's functions need their own schemas",
            f'GRANT CREATE ON DATABASE "{database}" TO "{user}"',
        )
    schemas = list(dict.fromkeys([*view.plan["schemas"], *own]))
    for row in view.rows(SCHEMAS_WITHOUT_CREATE, {"schemas": schemas}):
        yield Finding(
            "create_on_schema",
            "blocking",
            row["schema"],
            f"{user} may not create objects in schema {row['schema']}",
            "the plan creates indexes and functions there",
            f'GRANT CREATE ON SCHEMA "{row["schema"]}" TO "{user}"',
        )


def examine_replica_role(view: View) -> Iterator[Finding]:
    """Try to set session_replication_role inside a savepoint."""
    wanted = view.plan["requirements"]["replica_role"]
    view.server["may_set_replica_role"] = None
    if not wanted:
        return
    try:
        with savepoint(view.cursor):
            view.cursor.execute("SET LOCAL session_replication_role = replica")
        view.server["may_set_replica_role"] = True
    except psycopg2.errors.InsufficientPrivilege:
        view.server["may_set_replica_role"] = False
        user, major = view.server["user"], view.server["major"]
        optional = wanted == "optional"
        yield Finding(
            "replica_role",
            "warning" if optional else "blocking",
            user,
            f"{user} may not set session_replication_role (PostgreSQL {major})",
            "the plan moves rows without firing the tables' own triggers"
            + ("; without the privilege it uses a slower way" if optional else ""),
            f'as a superuser: GRANT SET ON PARAMETER session_replication_role TO "{user}"',
        )
