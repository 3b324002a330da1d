"""Foreign keys as the catalog knows them, and the rows that break them whether or not a key is marked valid."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from typing import Any

from psycopg2 import sql

from .connection import Cursor, identifier, rows_as_dicts

#: Offending values named per key.
VALUES_SHOWN = 5

KEYS = """
SELECT c.conname AS name, cn.nspname || '.' || ct.relname AS child, pn.nspname || '.' || pt.relname AS parent,
       c.convalidated AS validated,
       pg_catalog.has_table_privilege(c.conrelid, 'SELECT')
       AND pg_catalog.has_schema_privilege(cn.oid, 'USAGE')
       AND pg_catalog.has_table_privilege(c.confrelid, 'SELECT')
       AND pg_catalog.has_schema_privilege(pn.oid, 'USAGE') AS readable,
       pg_catalog.array_agg(ca.attname::text ORDER BY k.place) AS child_columns,
       pg_catalog.array_agg(pa.attname::text ORDER BY k.place) AS parent_columns,
       pg_catalog.array_agg(opn.nspname::text ORDER BY k.place) AS operator_schemas,
       pg_catalog.array_agg(op.oprname::text ORDER BY k.place) AS operators,
       pg_catalog.array_agg(CASE WHEN pa.attcollation <> ca.attcollation THEN pco.collname::text END ORDER BY k.place)
       AS collations,
       pg_catalog.array_agg(pcn.nspname::text ORDER BY k.place) AS collation_schemas
  FROM pg_catalog.pg_constraint c
  JOIN pg_catalog.pg_class ct ON ct.oid = c.conrelid
  JOIN pg_catalog.pg_namespace cn ON cn.oid = ct.relnamespace
  JOIN pg_catalog.pg_class pt ON pt.oid = c.confrelid
  JOIN pg_catalog.pg_namespace pn ON pn.oid = pt.relnamespace
 CROSS JOIN LATERAL ROWS FROM (pg_catalog.unnest(c.conkey), pg_catalog.unnest(c.confkey),
                               pg_catalog.unnest(c.conpfeqop)) WITH ORDINALITY AS k (child, parent, operator, place)
  JOIN pg_catalog.pg_attribute ca ON ca.attrelid = c.conrelid AND ca.attnum = k.child
  JOIN pg_catalog.pg_attribute pa ON pa.attrelid = c.confrelid AND pa.attnum = k.parent
  LEFT JOIN pg_catalog.pg_collation pco ON pco.oid = pa.attcollation
  LEFT JOIN pg_catalog.pg_namespace pcn ON pcn.oid = pco.collnamespace
  JOIN pg_catalog.pg_operator op ON op.oid = k.operator
  JOIN pg_catalog.pg_namespace opn ON opn.oid = op.oprnamespace
 WHERE c.contype = 'f' AND c.conparentid = 0
   AND (cn.nspname || '.' || ct.relname = ANY (%(tables)s) OR pn.nspname || '.' || pt.relname = ANY (%(tables)s))
 GROUP BY c.oid, c.conname, cn.oid, cn.nspname, ct.relname, pn.oid, pn.nspname, pt.relname
 ORDER BY child, name
"""


@dataclasses.dataclass(frozen=True)
class ForeignKey:
    """One foreign key.

    :param validated: as the catalog says; rows written under replica role can break it all the same.
    :param readable: whether this role may read both tables.
    :param operators: per column, schema and name of the operator in *parent operator child*.
    :param collations: per column, the parent's where the child has another one: it is the one that the server uses.
    """

    name: str
    child: str
    parent: str
    validated: bool
    readable: bool
    child_columns: tuple[str, ...]
    parent_columns: tuple[str, ...]
    operators: tuple[tuple[str, str], ...]
    collations: tuple[tuple[str, str] | None, ...] = ()

    def same(self, parent: str, child: str) -> sql.Composable:
        """Return the condition that a row of the child points at one of the parent, as the server judges it.

        :param parent, child: aliases of the two.
        """
        places = zip(self.parent_columns, self.child_columns, self.operators, strict=True)
        collations = self.collations or (None,) * len(self.operators)
        return sql.SQL(" AND ").join(
            sql.SQL("{} OPERATOR({}.{}) {}{}").format(
                sql.Identifier(parent, there),
                sql.Identifier(schema),
                sql.SQL(operator),
                sql.Identifier(child, here),
                sql.SQL(" COLLATE {}").format(sql.Identifier(*collation)) if collation else sql.SQL(""),
            )
            for (there, here, (schema, operator)), collation in zip(places, collations, strict=True)
        )

    def in_words(self) -> str:
        """Return ``name (child columns → parent)``."""
        return f"{self.name} ({self.child} {', '.join(self.child_columns)} → {self.parent})"


def foreign_keys(cursor: Cursor, tables: Collection[str]) -> list[ForeignKey]:
    """Return every foreign key from or to one of these tables, whoever owns it and whatever schema it is in."""
    cursor.execute(KEYS, {"tables": list(tables)})
    return [
        ForeignKey(
            name=row["name"],
            child=row["child"],
            parent=row["parent"],
            validated=row["validated"],
            readable=row["readable"],
            child_columns=tuple(row["child_columns"]),
            parent_columns=tuple(row["parent_columns"]),
            operators=tuple(zip(row["operator_schemas"], row["operators"], strict=True)),
            collations=tuple(
                (schema, name) if name else None
                for schema, name in zip(row["collation_schemas"], row["collations"], strict=True)
            ),
        )
        for row in rows_as_dicts(cursor)
    ]


def orphans(cursor: Cursor, key: ForeignKey) -> tuple[int, list[str]]:
    """Return how many rows have no parent, and the first values they point at.

    A row with a null among the key's columns points at nothing (MATCH SIMPLE, the only kind in use).
    """
    child = [sql.Identifier("c", column) for column in key.child_columns]
    cursor.execute(
        sql.SQL(
            "SELECT count(*), (array_agg(value))[:{shown}]"
            "  FROM (SELECT concat_ws(', ', {child}) AS value FROM {child_table} AS c"
            "         WHERE {filled} AND NOT EXISTS (SELECT FROM {parent_table} AS p WHERE {equal})) AS o"
        ).format(
            shown=sql.Literal(VALUES_SHOWN),
            child=sql.SQL(", ").join(child),
            child_table=identifier(key.child),
            parent_table=identifier(key.parent),
            filled=sql.SQL(" AND ").join(sql.SQL("{} IS NOT NULL").format(column) for column in child),
            equal=key.same("p", "c"),
        )
    )
    row: Any = cursor.fetchone()
    return row[0], list(row[1] or [])
