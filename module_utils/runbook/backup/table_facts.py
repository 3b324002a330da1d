"""What a manifest keeps of the dumped tables besides their rows: keys that a restore has to reckon with, and size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..session.connection import Cursor
from ..session.keys import foreign_keys, orphans


def unvalidated_keys(cursor: Cursor, names: Sequence[str]) -> list[dict[str, Any]]:
    """Count what breaks the keys that are not validated: a restore must bring back no more than that."""
    keys = [key for key in foreign_keys(cursor, names) if not key.validated and key.readable]
    return [{"name": key.name, "table": key.child, "orphans": orphans(cursor, key)[0]} for key in keys]


def outside_keys(cursor: Cursor, names: Sequence[str]) -> list[dict[str, Any]]:
    """Return the keys to tables that are not in the dump: a scratch database needs the rows that they point at."""
    return [
        {
            "name": key.name,
            "table": key.child,
            "columns": list(key.child_columns),
            "parent": key.parent,
            "parent_columns": list(key.parent_columns),
        }
        for key in foreign_keys(cursor, names)
        if key.child in names and key.parent not in names
    ]


def bytes_of(cursor: Cursor, names: Sequence[str]) -> int:
    """Return the size of the tables with their indexes: what a restore beside them needs."""
    cursor.execute(
        "SELECT coalesce(sum(pg_catalog.pg_total_relation_size(c.oid)), 0)::bigint FROM pg_catalog.pg_class c"
        "  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname || '.' || c.relname = ANY (%s)",
        (list(names),),
    )
    row = cursor.fetchone()
    return int(row[0]) if row else 0


GRANTEES = """
WITH schemas AS (SELECT oid, nspacl FROM pg_catalog.pg_namespace WHERE nspname = ANY (%s)),
acls (acl) AS (
    SELECT nspacl FROM schemas
    UNION ALL SELECT relacl FROM pg_catalog.pg_class WHERE relnamespace IN (SELECT oid FROM schemas)
    UNION ALL SELECT proacl FROM pg_catalog.pg_proc WHERE pronamespace IN (SELECT oid FROM schemas)
    UNION ALL SELECT typacl FROM pg_catalog.pg_type WHERE typnamespace IN (SELECT oid FROM schemas)
    UNION ALL SELECT defaclacl FROM pg_catalog.pg_default_acl WHERE defaclnamespace IN (SELECT oid FROM schemas)
    UNION ALL SELECT a.attacl FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_class c ON c.oid = a.attrelid
     WHERE c.relnamespace IN (SELECT oid FROM schemas)
),
named (role) AS (
    SELECT entry.grantee FROM acls CROSS JOIN LATERAL pg_catalog.aclexplode(acls.acl) AS entry
    UNION SELECT pg_catalog.unnest(p.polroles) FROM pg_catalog.pg_policy p
      JOIN pg_catalog.pg_class c ON c.oid = p.polrelid WHERE c.relnamespace IN (SELECT oid FROM schemas)
)
SELECT r.rolname::text FROM named JOIN pg_catalog.pg_roles r ON r.oid = named.role ORDER BY 1
"""


def grantees(cursor: Cursor, schemas: Sequence[str]) -> list[str]:
    """Return the roles that are granted something on the schemas' objects: the dump cannot be restored without them."""
    cursor.execute(GRANTEES, (list(schemas),))
    return [name for (name,) in cursor.fetchall()]
