"""Find in the catalogs what makes a swap impossible; each finding has the command that removes it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ..backup.dumped_tables import scope_of
from ..database.connection import Cursor, rows_as_dicts
from ..database.disk_space import free_bytes
from ..database.queries import value
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

# Without autovacuum workers: they have no user, and a rename cancels them.
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

# Objects of users and not of extensions: pg_restore has to set their owners.
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


STAY = """-e '{"rollback_options": {"leave_replication_behind": true}}'"""
IN_PLACE = "restore in place: the same command without -e restore_mode=swap"


def maintenance_of(live: str) -> str:
    """Return the default of the database from which the live one is renamed."""
    return "template1" if live == "postgres" else "postgres"


def require_none(refusals: Iterator[Refusal], database: str) -> None:
    """Raise the first finding, if there is one.

    :raises RunbookError: the swap is not possible.
    """
    for reason, next_command in refusals:
        raise RunbookError(f"a swap is not possible: {reason}.", object_name=database, next_command=next_command)


def of_backup(manifest: Mapping[str, Any], directory: str) -> Iterator[Refusal]:
    """Yield the reasons why this backup cannot replace the live database."""
    if scope_of(manifest) != "database":
        yield (
            f"the backup {directory} contains only the plan's schemas (database_backup_scope: tables), and a swap "
            "replaces the whole database",
            f"{IN_PLACE}; for the next run set database_backup_scope: database",
        )
    if not manifest["rows"]:
        yield f"the backup {directory} contains no tables, so nothing could be verified", IN_PLACE


def of_database(cursor: Cursor, params: Mapping[str, Any]) -> Iterator[Refusal]:
    """Yield the reasons in the cursor's database, which must be the live one.

    :param params: ``maintenance_database``, ``leave_replication_behind``, ``free_disk_bytes``, ``disk_path``.
    """
    cursor.execute(ROLE)
    (role,) = rows_as_dicts(cursor)
    database = role["database"]
    if database == params["maintenance_database"]:
        yield (
            f"{database} is also the maintenance database, and a session cannot rename its own database",
            "set rollback_options.maintenance_database to another database of the server, for example template1",
        )
    if role["is_template"]:
        yield f"{database} is a template database", IN_PLACE
    if not role["owns"]:
        yield (
            f"{role['name']} does not own the database {database} ({role['owner']} does), and only its owner may "
            "rename it",
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
            f"{role['name']} is not a member of {', '.join(foreign)}, so it cannot restore the owner of their objects",
            f"as a superuser: GRANT those roles TO {role['name']}; or {IN_PLACE}",
        )
    yield from _sessions(cursor, role)
    prepared = _names(cursor, PREPARED)
    if prepared:
        yield (
            f"prepared transactions would stay in the old database: {', '.join(prepared)}",
            f"COMMIT PREPARED '{prepared[0]}', or ROLLBACK PREPARED",
        )
    replication = [] if params["leave_replication_behind"] else _names(cursor, REPLICATION)
    if replication:
        yield (
            f"these would stay with the old database and receive no more changes: {', '.join(replication)}",
            f"drop them, or accept that they stay behind: {STAY}",
        )
    yield from _disk(cursor, params)


def _sessions(cursor: Cursor, role: Mapping[str, Any]) -> Iterator[Refusal]:
    cursor.execute(SESSIONS, {"is_superuser": role["is_superuser"]})
    found = [f"pid {pid} (user {user}, {application or kind})" for pid, user, application, kind in cursor.fetchall()]
    if found:
        yield (
            f"{role['name']} may not end {', '.join(found[:5])}, and a database with sessions cannot be renamed",
            f"end them as a superuser (a hosted server may need these sessions; then {IN_PLACE})",
        )


def _disk(cursor: Cursor, params: Mapping[str, Any]) -> Iterator[Refusal]:
    free, how = free_bytes(params)
    needed = value(cursor, "SELECT pg_catalog.pg_database_size(pg_catalog.current_database())")
    if free is not None and free < needed:
        yield f"{free} bytes are free {how}, a second database needs about {needed}", "free disk space on the server"


def _names(cursor: Cursor, query: str) -> list[str]:
    cursor.execute(query)
    return [name for (name,) in cursor.fetchall()]
