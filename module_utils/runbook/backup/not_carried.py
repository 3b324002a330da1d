"""List what a dump does not contain, with the objects of this database; every manifest includes the list."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..database.connection import Cursor
from ..database.queries import value

MEMBERSHIP = (
    "SELECT pubname || ': ' || schemaname || '.' || tablename FROM pg_catalog.pg_publication_tables"
    " WHERE schemaname = ANY (%(names)s) ORDER BY 1"
)

#: What, its meaning for a restore, and a query for the objects (one text column).
NOT_CARRIED: tuple[tuple[str, str, str], ...] = (
    (
        "publication membership",
        "A table restored from this dump is in no publication; subscribers get no changes until it is added again.",
        MEMBERSHIP,
    ),
    (
        "foreign keys of other schemas onto these tables",
        "They prevent DROP TABLE; DROP … CASCADE drops them.",
        "SELECT conrelid::regclass::text || ': ' || conname FROM pg_catalog.pg_constraint"
        "  JOIN pg_catalog.pg_class c ON c.oid = conrelid JOIN pg_catalog.pg_class p ON p.oid = confrelid"
        " WHERE contype = 'f' AND p.relnamespace = ANY (%(schemas)s)"
        "   AND c.relnamespace <> ALL (%(schemas)s) ORDER BY 1",
    ),
    (
        "rows of other schemas that these tables reference",
        "The foreign keys cannot be created in a database without those rows.",
        "SELECT DISTINCT confrelid::regclass::text FROM pg_catalog.pg_constraint"
        "  JOIN pg_catalog.pg_class c ON c.oid = conrelid JOIN pg_catalog.pg_class p ON p.oid = confrelid"
        " WHERE contype = 'f' AND c.relnamespace = ANY (%(schemas)s)"
        "   AND p.relnamespace <> ALL (%(schemas)s) ORDER BY 1",
    ),
    (
        "triggers of other schemas that call functions of these",
        "They fail when the functions are dropped.",
        "SELECT tgrelid::regclass::text || ': ' || tgname FROM pg_catalog.pg_trigger"
        "  JOIN pg_catalog.pg_proc f ON f.oid = tgfoid JOIN pg_catalog.pg_class c ON c.oid = tgrelid"
        " WHERE NOT tgisinternal AND f.pronamespace = ANY (%(schemas)s)"
        "   AND c.relnamespace <> ALL (%(schemas)s) ORDER BY 1",
    ),
    (
        "roles",
        "Owners and grantees must exist before a restore; the dump has no passwords and memberships.",
        "SELECT DISTINCT pg_catalog.pg_get_userbyid(relowner) FROM pg_catalog.pg_class"
        " WHERE relnamespace = ANY (%(schemas)s) ORDER BY 1",
    ),
    (
        "settings of the database and of roles",
        "The dump has no ALTER DATABASE … SET and no ALTER ROLE … SET.",
        "SELECT coalesce('role ' || pg_catalog.pg_get_userbyid(nullif(setrole, 0)), 'database') || ': '"
        "       || pg_catalog.split_part(setting, '=', 1)"
        "  FROM pg_catalog.pg_db_role_setting s LEFT JOIN pg_catalog.pg_database d ON d.oid = s.setdatabase"
        " CROSS JOIN LATERAL pg_catalog.unnest(s.setconfig) AS setting"
        " WHERE s.setdatabase = 0 OR d.datname = pg_catalog.current_database() ORDER BY 1",
    ),
    (
        "extensions",
        "They must be installed before a restore on another server.",
        "SELECT extname::text FROM pg_catalog.pg_extension ORDER BY 1",
    ),
    (
        "event triggers",
        "They belong to the database, not to a schema.",
        "SELECT evtname::text FROM pg_catalog.pg_event_trigger ORDER BY 1",
    ),
    (
        "replication slots and subscriptions",
        "They belong to the server.",
        "SELECT slot_name::text FROM pg_catalog.pg_replication_slots"
        " WHERE database = pg_catalog.current_database() ORDER BY 1",
    ),
)


#: A dump of the whole database lacks only these.
OF_THE_SERVER = ("roles", "settings of the database and of roles", "replication slots and subscriptions")


def not_carried(cursor: Cursor, schemas: Sequence[str], scope: str = "tables") -> list[dict[str, Any]]:
    """Return what a dump of these schemas lacks: ``what``, ``meaning``, ``objects`` (names).

    :param scope: ``database`` for a dump of the whole database.
    """
    oids = "SELECT coalesce(pg_catalog.array_agg(oid), '{}') FROM pg_catalog.pg_namespace WHERE nspname = ANY (%s)"
    values = {"schemas": value(cursor, oids, (list(schemas),)), "names": list(schemas)}
    found = []
    for what, meaning, query in NOT_CARRIED:
        if scope == "database" and what not in OF_THE_SERVER:
            continue
        cursor.execute(query, values)
        found.append({"what": what, "meaning": meaning, "objects": [name for (name,) in cursor.fetchall()]})
    return found


def publication_membership(cursor: Cursor, schemas: Sequence[str]) -> list[str]:
    """Return the publications of tables of these schemas, as ``publication: schema.table``."""
    cursor.execute(MEMBERSHIP, {"names": list(schemas)})
    return [name for (name,) in cursor.fetchall()]
