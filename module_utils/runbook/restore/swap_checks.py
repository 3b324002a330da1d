"""What stands in the way of a swap, read from the catalogs: each finding with the command that removes it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ..backup.dumped_tables import scope_of
from ..database.connection import Cursor
from ..database.disk_space import free_bytes
from ..errors import RunbookError
from ..journal.schema import SCHEMA as JOURNAL

Refusal = tuple[str, str]

ROLE = """
SELECT current_user::text AS name, r.rolcreatedb OR r.rolsuper AS may_create, r.rolsuper AS is_superuser,
       pg_catalog.pg_has_role('pg_signal_backend', 'USAGE') AS may_end,
       pg_catalog.pg_has_role(d.datdba, 'USAGE') AS owns, d.datistemplate AS is_template,
       pg_catalog.pg_get_userbyid(d.datdba)::text AS owner, d.datname::text AS database
  FROM pg_catalog.pg_roles r CROSS JOIN pg_catalog.pg_database d
 WHERE r.rolname = current_user AND d.datname = pg_catalog.current_database()
"""

# Autovacuum, which has no user, gives way to a rename by itself.
SESSIONS = """
SELECT a.pid, coalesce(a.usename::text, '-') AS "user", coalesce(a.application_name, '') AS application,
       coalesce(a.backend_type, '') AS kind
  FROM pg_catalog.pg_stat_activity a LEFT JOIN pg_catalog.pg_roles r ON r.oid = a.usesysid
 WHERE a.datname = pg_catalog.current_database() AND a.pid <> pg_catalog.pg_backend_pid()
   AND a.usesysid IS NOT NULL AND NOT %(is_superuser)s
   AND (coalesce(r.rolsuper, true)
        OR NOT (pg_catalog.pg_has_role(a.usesysid, 'USAGE') OR pg_catalog.pg_has_role('pg_signal_backend', 'USAGE')))
 ORDER BY a.pid
"""

# Made by a user, and no part of an extension: what pg_restore has to give to its owner.
FOREIGN_OWNERS = """
WITH owned (class, object, owner, schema) AS (
    SELECT 'pg_catalog.pg_namespace'::regclass, oid, nspowner, oid FROM pg_catalog.pg_namespace
    UNION ALL SELECT 'pg_catalog.pg_class'::regclass, oid, relowner, relnamespace FROM pg_catalog.pg_class
               WHERE relkind NOT IN ('i', 'I', 't')
    UNION ALL SELECT 'pg_catalog.pg_proc'::regclass, oid, proowner, pronamespace FROM pg_catalog.pg_proc
    UNION ALL SELECT 'pg_catalog.pg_type'::regclass, oid, typowner, typnamespace FROM pg_catalog.pg_type
               WHERE typrelid = 0 AND typelem = 0
    UNION ALL SELECT 'pg_catalog.pg_default_acl'::regclass, oid, defaclrole, defaclnamespace
                FROM pg_catalog.pg_default_acl
    UNION ALL SELECT 'pg_catalog.pg_publication'::regclass, oid, pubowner, 0 FROM pg_catalog.pg_publication
    UNION ALL SELECT 'pg_catalog.pg_event_trigger'::regclass, oid, evtowner, 0 FROM pg_catalog.pg_event_trigger
    UNION ALL SELECT 'pg_catalog.pg_foreign_server'::regclass, oid, srvowner, 0 FROM pg_catalog.pg_foreign_server
)
SELECT pg_catalog.pg_get_userbyid(owner)::text, count(*)
  FROM owned
 WHERE object >= 16384 AND NOT pg_catalog.pg_has_role(owner, 'MEMBER')
   AND schema IS DISTINCT FROM (SELECT oid FROM pg_catalog.pg_namespace WHERE nspname = %(journal)s)
   AND schema NOT IN (SELECT oid FROM pg_catalog.pg_namespace WHERE nspname ~ '^pg_(toast|temp)')
   AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d
                    WHERE d.classid = class AND d.objid = object AND d.deptype = 'e')
 GROUP BY 1 ORDER BY 1
"""

PREPARED = "SELECT gid FROM pg_catalog.pg_prepared_xacts WHERE database = pg_catalog.current_database() ORDER BY 1"

REPLICATION = """
SELECT 'replication slot ' || slot_name FROM pg_catalog.pg_replication_slots
 WHERE database = pg_catalog.current_database()
UNION ALL
SELECT 'subscription ' || subname FROM pg_catalog.pg_subscription
 WHERE subdbid = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())
 ORDER BY 1
"""

SIZE = "SELECT pg_catalog.pg_database_size(pg_catalog.current_database())"

STAY = """-e '{"rollback_options": {"leave_replication_behind": true}}'"""
IN_PLACE = "restore in place: the same command without -e restore_mode=swap"


def maintenance_of(live: str) -> str:
    """Return the database from which this one is renamed, where nothing else is said."""
    return "template1" if live == "postgres" else "postgres"


def require_none(refusals: Iterator[Refusal], database: str) -> None:
    """Refuse on the first finding.

    :raises RunbookError: with its reason and its command.
    """
    for reason, next_command in refusals:
        raise RunbookError(f"no swap: {reason}.", object_name=database, next_command=next_command)


def of_backup(manifest: Mapping[str, Any], directory: str) -> Iterator[Refusal]:
    """Yield why this backup cannot take the live database's place."""
    if scope_of(manifest) != "database":
        yield (
            f"the backup {directory} holds the plan's schemas alone, and a database beside needs everything "
            "(database_backup_scope: tables)",
            f"{IN_PLACE}; for the next run set database_backup_scope: database",
        )
    if not manifest["rows"]:
        yield f"the backup {directory} holds no table, so there would be nothing to verify", IN_PLACE


def of_database(cursor: Cursor, params: Mapping[str, Any]) -> Iterator[Refusal]:
    """Yield what stands in the way in the cursor's database, which is the live one.

    :param params: ``maintenance_database``, ``leave_replication_behind``, ``free_disk_bytes``, ``disk_path``.
    """
    role = _row(cursor, ROLE)
    database = role["database"]
    if database == params["maintenance_database"]:
        yield (
            f"{database} is the database to rename, and no session can rename its own",
            "set rollback_options.maintenance_database to another database of the server, for example template1",
        )
    if role["is_template"]:
        yield f"{database} is a template", IN_PLACE
    if not role["owns"]:
        yield (
            f"{role['name']} does not own the database {database} ({role['owner']} does), and only an owner renames it",
            f"as a superuser: GRANT {role['owner']} TO {role['name']}; or {IN_PLACE}",
        )
    if not role["may_create"]:
        yield (
            f"{role['name']} may not create databases",
            f"as a superuser: ALTER ROLE {role['name']} CREATEDB; or {IN_PLACE}",
        )
    cursor.execute(FOREIGN_OWNERS, {"journal": JOURNAL})
    foreign = [f"{owner} ({count} objects)" for owner, count in cursor.fetchall()]
    if foreign:
        yield (
            f"{role['name']} is no member of {', '.join(foreign)}, so it cannot give them back what they own",
            f"as a superuser: GRANT those roles TO {role['name']}; or {IN_PLACE}",
        )
    yield from _sessions(cursor, role)
    prepared = _names(cursor, PREPARED)
    if prepared:
        yield (
            f"prepared transactions stay with the database they were prepared in: {', '.join(prepared)}",
            f"COMMIT PREPARED '{prepared[0]}', or ROLLBACK PREPARED",
        )
    replication = [] if params["leave_replication_behind"] else _names(cursor, REPLICATION)
    if replication:
        yield (
            f"these stay with the old database, and who follows them gets nothing more: {', '.join(replication)}",
            f"drop them, or say that they may stay behind: {STAY}",
        )
    yield from _disk(cursor, params)


def _sessions(cursor: Cursor, role: Mapping[str, Any]) -> Iterator[Refusal]:
    cursor.execute(SESSIONS, {"is_superuser": role["is_superuser"]})
    found = [f"pid {pid} (user {user}, {application or kind})" for pid, user, application, kind in cursor.fetchall()]
    if found:
        yield (
            f"{role['name']} may not end {', '.join(found[:5])}: a database is renamed only without sessions",
            f"end them as a superuser (a hosted server keeps its own there: then {IN_PLACE})",
        )


def _disk(cursor: Cursor, params: Mapping[str, Any]) -> Iterator[Refusal]:
    free, how = free_bytes(params)
    cursor.execute(SIZE)
    (needed,) = cursor.fetchone() or (0,)
    if free is not None and free < needed:
        yield f"{free} bytes are free {how}, a second database needs about {needed}", "make room on the server"


def _names(cursor: Cursor, query: str) -> list[str]:
    cursor.execute(query)
    return [name for (name,) in cursor.fetchall()]


def _row(cursor: Cursor, query: str) -> dict[str, Any]:
    cursor.execute(query)
    values = cursor.fetchone() or ()
    return dict(zip([column.name for column in cursor.description or ()], values, strict=True))
