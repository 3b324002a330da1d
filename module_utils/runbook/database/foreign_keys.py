"""Read foreign keys from the catalog, and find rows that violate them, whether or not a key is marked valid."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from typing import Any, Literal

from psycopg2 import sql

from .connection import Cursor, rows_as_dicts

#: Offending values listed per key.
VALUES_SHOWN = 5

KEYS = """
SELECT c.conname AS name, cn.nspname || '.' || ct.relname AS child, pn.nspname || '.' || pt.relname AS parent,
       ARRAY[cn.nspname, ct.relname]::text[] AS child_path, ARRAY[pn.nspname, pt.relname]::text[] AS parent_path,
       c.conrelid::bigint AS child_oid,
       c.convalidated AS validated,
       -- Later servers know keys that promise nothing.
       coalesce((pg_catalog.to_jsonb(c) ->> 'conenforced')::boolean, true) AS enforced,
       k.child_readable, k.child_readable AND k.parent_readable AS readable,
       k.child_columns, k.parent_columns, k.operator_schemas, k.operators, k.collation_schemas, k.collations,
       coalesce((SELECT pg_catalog.array_agg(a.attname::text ORDER BY a.attnum) FROM pg_catalog.pg_attribute a
                  WHERE a.attrelid = c.conrelid AND a.attnum = ANY (c.confdelsetcols)), k.child_columns) AS set_columns,
       c.confdeltype::text AS on_delete, c.confupdtype::text AS on_update, c.confmatchtype::text AS match,
       c.condeferrable AS deferrable, c.condeferred AS initially_deferred,
       pg_catalog.pg_get_constraintdef(c.oid) AS definition
  FROM pg_catalog.pg_constraint c
  JOIN pg_catalog.pg_class ct ON ct.oid = c.conrelid
  JOIN pg_catalog.pg_namespace cn ON cn.oid = ct.relnamespace
  JOIN pg_catalog.pg_class pt ON pt.oid = c.confrelid
  JOIN pg_catalog.pg_namespace pn ON pn.oid = pt.relnamespace
 CROSS JOIN LATERAL (
    SELECT pg_catalog.array_agg(ca.attname::text ORDER BY k.place) AS child_columns,
           pg_catalog.array_agg(pa.attname::text ORDER BY k.place) AS parent_columns,
           pg_catalog.array_agg(opn.nspname::text ORDER BY k.place) AS operator_schemas,
           pg_catalog.array_agg(op.oprname::text ORDER BY k.place) AS operators,
           pg_catalog.array_agg(pcn.nspname::text ORDER BY k.place) AS collation_schemas,
           pg_catalog.array_agg(CASE WHEN pa.attcollation <> ca.attcollation THEN pco.collname::text END
                                ORDER BY k.place) AS collations,
           -- Row-level security hides rows without a word: what it applies to cannot be counted.
           pg_catalog.has_schema_privilege(cn.oid, 'USAGE') AND NOT pg_catalog.row_security_active(ct.oid)
           AND pg_catalog.bool_and(pg_catalog.has_column_privilege(ct.oid, ca.attnum, 'SELECT')) AS child_readable,
           pg_catalog.has_schema_privilege(pn.oid, 'USAGE') AND NOT pg_catalog.row_security_active(pt.oid)
           AND pg_catalog.bool_and(pg_catalog.has_column_privilege(pt.oid, pa.attnum, 'SELECT')) AS parent_readable
      FROM ROWS FROM (pg_catalog.unnest(c.conkey), pg_catalog.unnest(c.confkey),
                      pg_catalog.unnest(c.conpfeqop)) WITH ORDINALITY AS k (child, parent, operator, place)
      JOIN pg_catalog.pg_attribute ca ON ca.attrelid = c.conrelid AND ca.attnum = k.child
      JOIN pg_catalog.pg_attribute pa ON pa.attrelid = c.confrelid AND pa.attnum = k.parent
      LEFT JOIN pg_catalog.pg_collation pco ON pco.oid = pa.attcollation
      LEFT JOIN pg_catalog.pg_namespace pcn ON pcn.oid = pco.collnamespace
      JOIN pg_catalog.pg_operator op ON op.oid = k.operator
      JOIN pg_catalog.pg_namespace opn ON opn.oid = op.oprnamespace) AS k
 -- The key of a partitioned table stands for those of its partitions.
 WHERE c.contype = 'f' AND c.conparentid = 0 AND {condition}
 ORDER BY child, name
"""

OF_TABLES = "(cn.nspname || '.' || ct.relname = ANY (%(tables)s) OR pn.nspname || '.' || pt.relname = ANY (%(tables)s))"

Action = Literal["NO ACTION", "RESTRICT", "CASCADE", "SET NULL", "SET DEFAULT"]
Match = Literal["SIMPLE", "FULL", "PARTIAL"]
ACTIONS: Mapping[str, Action] = {
    "a": "NO ACTION",
    "r": "RESTRICT",
    "c": "CASCADE",
    "n": "SET NULL",
    "d": "SET DEFAULT",
}
MATCHES: Mapping[str, Match] = {"s": "SIMPLE", "f": "FULL", "p": "PARTIAL"}


@dataclasses.dataclass(frozen=True)
class ForeignKey:
    """A foreign key with its whole definition.

    :param child_path: schema and name of the table that references, of ``child`` any of them may contain a dot.
    :param validated: as the catalog says; rows written under the replica role can still violate it.
    :param enforced: false for a key that the server never checks (NOT ENFORCED).
    :param readable: whether this role may read the key's columns of both tables, all rows of them.
    :param child_readable: the same of the table that references.
    :param operators: per column, schema and name of the operator in *parent operator child*.
    :param collations: per column, the parent's where the child has another one: it is the one that the server uses.
    :param set_columns: what ON DELETE SET NULL and SET DEFAULT change.
    :param definition: as ``pg_get_constraintdef`` prints it; NOT VALID included.
    """

    name: str
    child: str
    parent: str
    child_path: tuple[str, ...]
    parent_path: tuple[str, ...]
    child_oid: int
    validated: bool
    enforced: bool
    readable: bool
    child_readable: bool
    child_columns: tuple[str, ...]
    parent_columns: tuple[str, ...]
    operators: tuple[tuple[str, str], ...]
    collations: tuple[tuple[str, str] | None, ...]
    set_columns: tuple[str, ...]
    on_delete: Action
    on_update: Action
    match: Match
    deferrable: bool
    initially_deferred: bool
    definition: str

    def to_text(self) -> str:
        """Return ``name (child columns → parent)``."""
        return f"{self.name} ({self.child} {', '.join(self.child_columns)} → {self.parent})"

    def equal(self, parent: str, child: str) -> sql.Composable:
        """Return the condition under which a row of the child references a row of the parent, by their aliases."""
        places = zip(self.parent_columns, self.child_columns, self.operators, self.collations, strict=True)
        return sql.SQL(" AND ").join(
            sql.SQL("{} OPERATOR({}.{}) {}{}").format(
                sql.Identifier(parent, there),
                sql.Identifier(schema),
                sql.SQL(operator),
                sql.Identifier(child, here),
                sql.SQL(" COLLATE {}").format(sql.Identifier(*collation)) if collation else sql.SQL(""),
            )
            for there, here, (schema, operator), collation in places
        )


def foreign_keys(cursor: Cursor, tables: Collection[str]) -> list[ForeignKey]:
    """Return every foreign key from or to one of these tables, of any owner and in any schema."""
    return read_keys(cursor, OF_TABLES, {"tables": list(tables)})


def read_keys(cursor: Cursor, condition: str, parameters: Mapping[str, Any]) -> list[ForeignKey]:
    """Return the foreign keys that satisfy a condition over the aliases of ``KEYS``."""
    cursor.execute(sql.SQL(KEYS).format(condition=sql.SQL(condition)), parameters)
    return [
        ForeignKey(
            name=row["name"],
            child=row["child"],
            parent=row["parent"],
            child_path=tuple(row["child_path"]),
            parent_path=tuple(row["parent_path"]),
            child_oid=row["child_oid"],
            validated=row["validated"],
            enforced=row["enforced"],
            readable=row["readable"],
            child_readable=row["child_readable"],
            child_columns=tuple(row["child_columns"]),
            parent_columns=tuple(row["parent_columns"]),
            operators=tuple(zip(row["operator_schemas"], row["operators"], strict=True)),
            collations=tuple(
                (schema, name) if name else None
                for schema, name in zip(row["collation_schemas"], row["collations"], strict=True)
            ),
            set_columns=tuple(row["set_columns"]),
            on_delete=ACTIONS[row["on_delete"]],
            on_update=ACTIONS[row["on_update"]],
            match=MATCHES[row["match"]],
            deferrable=row["deferrable"],
            initially_deferred=row["initially_deferred"],
            definition=row["definition"],
        )
        for row in rows_as_dicts(cursor)
    ]


def orphans(cursor: Cursor, key: ForeignKey) -> tuple[int, list[str]]:
    """Return how many rows have no parent, and the first values that they reference.

    A row with a null among the key's columns references nothing. With MATCH FULL, a row with some nulls and some
    values violates the key too.
    """
    columns = [sql.Identifier("c", column) for column in key.child_columns]
    filled = sql.SQL(" AND ").join(sql.SQL("{} IS NOT NULL").format(column) for column in columns)
    broken = sql.SQL("{filled} AND NOT EXISTS (SELECT FROM {parent} AS p WHERE {equal})").format(
        filled=filled, parent=sql.Identifier(*key.parent_path), equal=key.equal("p", "c")
    )
    if key.match == "FULL":
        some = sql.SQL(" OR ").join(sql.SQL("{} IS NOT NULL").format(column) for column in columns)
        broken = sql.SQL("({broken} OR ({some}) AND NOT ({filled}))").format(broken=broken, some=some, filled=filled)
    cursor.execute(
        sql.SQL(
            "SELECT count(*), (array_agg(value))[:{shown}]"
            "  FROM (SELECT concat_ws(', ', {values}) AS value FROM {child} AS c WHERE {broken}) AS o"
        ).format(
            shown=sql.Literal(VALUES_SHOWN),
            values=sql.SQL(", ").join(sql.SQL("coalesce({}::text, 'null')").format(column) for column in columns),
            child=sql.Identifier(*key.child_path),
            broken=broken,
        )
    )
    row: Any = cursor.fetchone()
    return row[0], list(row[1] or [])
