"""Find what a DELETE or UPDATE does to rows of other tables, through every foreign key, transitively."""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Collection, Iterable, Mapping
from typing import Literal

from psycopg2 import sql

from .connection import Cursor
from .foreign_keys import Action, ForeignKey, read_keys

#: What happens to the child's rows: ``refuse`` makes the statement fail, ``dangle`` leaves them pointing at nothing.
Effect = Literal["delete", "set null", "set default", "update", "refuse", "dangle"]

EFFECTS: Mapping[Action, Effect] = {
    "NO ACTION": "refuse",
    "RESTRICT": "refuse",
    "CASCADE": "delete",
    "SET NULL": "set null",
    "SET DEFAULT": "set default",
}

# A partition's rows are its parents', and the rows of a partitioned or inherited table are its children's.
FAMILY = """
c.confrelid IN (
    WITH RECURSIVE given AS (
        SELECT r.oid, r.relispartition FROM pg_catalog.pg_class r
          JOIN pg_catalog.pg_namespace n ON n.oid = r.relnamespace WHERE n.nspname || '.' || r.relname = %(table)s),
    above AS (
        SELECT oid, relispartition FROM given
        UNION
        SELECT r.oid, r.relispartition FROM above
          JOIN pg_catalog.pg_inherits i ON i.inhrelid = above.oid
          JOIN pg_catalog.pg_class r ON r.oid = i.inhparent WHERE above.relispartition),
    below AS (
        SELECT oid FROM given
        UNION
        SELECT i.inhrelid FROM below JOIN pg_catalog.pg_inherits i ON i.inhparent = below.oid)
    SELECT oid FROM above UNION SELECT oid FROM below)
"""


@dataclasses.dataclass(frozen=True)
class Dependent:
    """One foreign key whose child's rows a change reaches.

    :param effect: what happens to these rows.
    :param path: the keys between the changed table and this key's parent, the first one references the changed table.
    """

    key: ForeignKey
    effect: Effect
    path: tuple[ForeignKey, ...] = ()

    @property
    def root(self) -> str:
        """The table whose rows are deleted or changed."""
        return (*self.path, self.key)[0].parent

    @property
    def countable(self) -> bool:
        """Return whether this role may read every table between the changed one and the child, all rows of them."""
        return all(key.child_readable for key in (*self.path, self.key))


def dependents(
    cursor: Cursor, tables: Iterable[str], updated: Mapping[str, Collection[str]] | None = None
) -> list[Dependent]:
    """Return every key that references these tables, and each that references rows deleted or changed through one.

    :param tables: whose rows are deleted.
    :param updated: by table, columns that are changed.
    :returns: direct ones first; keys among the given tables are included.
    """
    found: dict[tuple[int, str, bool], Dependent] = {}
    # Columns None: its rows are deleted.
    waiting: deque[tuple[str, frozenset[str] | None, tuple[ForeignKey, ...]]] = deque(
        [(table, None, ()) for table in tables]
        + [(table, frozenset(columns), ()) for table, columns in (updated or {}).items()]
    )
    while waiting:
        table, columns, path = waiting.popleft()
        for key in read_keys(cursor, FAMILY, {"table": table}):
            if columns is not None and not columns.intersection(key.parent_columns):
                continue
            place = (key.child_oid, key.name, columns is None)
            if place in found:
                continue
            effect = effect_of(key, deleted=columns is None)
            found[place] = Dependent(key, effect, path)
            if effect == "delete":
                waiting.append((key.child, None, (*path, key)))
            elif effect in ("set null", "set default", "update"):
                changed = key.set_columns if columns is None else key.child_columns
                waiting.append((key.child, frozenset(changed), (*path, key)))
    return list(found.values())


def effect_of(key: ForeignKey, *, deleted: bool) -> Effect:
    """Return what a key does to the child's rows when the parent's row is deleted, or its referenced columns change."""
    if not key.enforced:
        return "dangle"
    effect = EFFECTS[key.on_delete if deleted else key.on_update]
    return "update" if effect == "delete" and not deleted else effect


def is_empty(cursor: Cursor, key: ForeignKey) -> bool:
    """Return whether the referencing table is empty."""
    cursor.execute(sql.SQL("SELECT NOT EXISTS (SELECT FROM {})").format(sql.Identifier(*key.child_path)))
    row = cursor.fetchone()
    return bool(row and row[0])


def rows_reached(cursor: Cursor, dependent: Dependent, condition: sql.Composable) -> int:
    """Count the child's rows that a change of some rows of the root table reaches.

    :param condition: which rows of the root table, by the alias ``root``.
    """
    cursor.execute(sql.SQL("SELECT count(*) {}").format(reached(dependent, condition)))
    row = cursor.fetchone()
    return int(row[0]) if row else 0


def reached(dependent: Dependent, condition: sql.Composable) -> sql.Composable:
    """Return FROM and WHERE of a query over these rows of the child, under the alias ``child``."""
    keys = (*dependent.path, dependent.key)
    names = ["root", *(f"through_{number}" for number in range(1, len(keys))), "child"]
    inner = [
        sql.SQL("{} AS {}").format(sql.Identifier(*table), sql.Identifier(name))
        for table, name in zip((key.parent_path for key in keys), names, strict=False)
    ]
    joined = [key.equal(names[place], names[place + 1]) for place, key in enumerate(keys)]
    return sql.SQL("FROM {} AS child WHERE EXISTS (SELECT FROM {} WHERE {})").format(
        sql.Identifier(*dependent.key.child_path),
        sql.SQL(", ").join(inner),
        sql.SQL(" AND ").join([*joined, sql.SQL("({})").format(condition)]),
    )
