"""What a dump leaves behind: named in every manifest, with the objects that are concerned here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..database.connection import Cursor

MEMBERSHIP = (
    "SELECT pubname || ': ' || schemaname || '.' || tablename FROM pg_catalog.pg_publication_tables"
    " WHERE schemaname = ANY (%(names)s) ORDER BY 1"
)

#: What, why it matters, and a query for its objects (one text column).
NOT_CARRIED: tuple[tuple[str, str, str], ...] = (
    (
        "publication membership",
        "A table made from this dump is in no publication: its changes reach no subscriber until it is added again.",
        MEMBERSHIP,
    ),
    (
        "foreign keys of other schemas onto these tables",
        "They keep a table from being dropped, and are lost with DROP … CASCADE.",
        "SELECT conrelid::regclass::text || ': ' || conname FROM pg_catalog.pg_constraint"
        "  JOIN pg_catalog.pg_class c ON c.oid = conrelid JOIN pg_catalog.pg_class p ON p.oid = confrelid"
        " WHERE contype = 'f' AND p.relnamespace = ANY (%(schemas)s)"
        "   AND c.relnamespace <> ALL (%(schemas)s) ORDER BY 1",
    ),
    (
        "rows of other schemas that these tables point at",
        "The foreign keys fail in a database that lacks those rows.",
        "SELECT DISTINCT confrelid::regclass::text FROM pg_catalog.pg_constraint"
        "  JOIN pg_catalog.pg_class c ON c.oid = conrelid JOIN pg_catalog.pg_class p ON p.oid = confrelid"
        " WHERE contype = 'f' AND c.relnamespace = ANY (%(schemas)s)"
        "   AND p.relnamespace <> ALL (%(schemas)s) ORDER BY 1",
    ),
    (
        "triggers of other schemas that call functions of these",
        "They stop working when the functions are dropped.",
        "SELECT tgrelid::regclass::text || ': ' || tgname FROM pg_catalog.pg_trigger"
        "  JOIN pg_catalog.pg_proc f ON f.oid = tgfoid JOIN pg_catalog.pg_class c ON c.oid = tgrelid"
        " WHERE NOT tgisinternal AND f.pronamespace = ANY (%(schemas)s)"
        "   AND c.relnamespace <> ALL (%(schemas)s) ORDER BY 1",
    ),
    (
        "roles",
        "Owners and grantees must exist where the dump is restored; passwords and memberships are not in it.",
        "SELECT DISTINCT pg_catalog.pg_get_userbyid(relowner) FROM pg_catalog.pg_class"
        " WHERE relnamespace = ANY (%(schemas)s) ORDER BY 1",
    ),
    (
        "settings of the database and of roles",
        "ALTER DATABASE … SET and ALTER ROLE … SET are not in it.",
        "SELECT coalesce('role ' || pg_catalog.pg_get_userbyid(nullif(setrole, 0)), 'database') || ': '"
        "       || pg_catalog.split_part(setting, '=', 1)"
        "  FROM pg_catalog.pg_db_role_setting s LEFT JOIN pg_catalog.pg_database d ON d.oid = s.setdatabase"
        " CROSS JOIN LATERAL pg_catalog.unnest(s.setconfig) AS setting"
        " WHERE s.setdatabase = 0 OR d.datname = pg_catalog.current_database() ORDER BY 1",
    ),
    (
        "extensions",
        "They must be installed before the dump is restored elsewhere.",
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


#: Of these, a dump of the whole database lacks only what is not inside a database.
OF_THE_SERVER = ("roles", "settings of the database and of roles", "replication slots and subscriptions")


def not_carried(cursor: Cursor, schemas: Sequence[str], scope: str = "tables") -> list[dict[str, Any]]:
    """Return each kind of thing that a dump of these schemas lacks: ``what``, ``meaning``, ``objects`` (names).

    :param scope: ``database``: the dump holds everything in the database.
    """
    cursor.execute(
        "SELECT coalesce(pg_catalog.array_agg(oid), '{}') FROM pg_catalog.pg_namespace WHERE nspname = ANY (%s)",
        (list(schemas),),
    )
    row = cursor.fetchone()
    values = {"schemas": row[0] if row else [], "names": list(schemas)}
    found = []
    for what, meaning, query in NOT_CARRIED:
        if scope == "database" and what not in OF_THE_SERVER:
            continue
        cursor.execute(query, values)
        found.append({"what": what, "meaning": meaning, "objects": [name for (name,) in cursor.fetchall()]})
    return found


def publication_membership(cursor: Cursor, schemas: Sequence[str]) -> list[str]:
    """Return the publications that tables of these schemas are in, as ``publication: schema.table``."""
    cursor.execute(MEMBERSHIP, {"names": list(schemas)})
    return [name for (name,) in cursor.fetchall()]
