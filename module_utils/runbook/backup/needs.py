"""What the objects of a dump depend on outside it: extensions, and objects of other schemas, from the catalog.

A restore into an empty database needs them first. Extensions are installed; of everything else a stub is enough,
because nothing but the dumped rows is compared afterwards. What function bodies name has no entry in the catalog.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..session.connection import Cursor, rows_as_dicts
from .need_catalog import NAMED, OF_OBJECT, OWNER, REFERENCES
from .need_statements import Reference, behind, build
from .need_tables import StubTable, key_of_constraint, key_of_index

Need = dict[str, Any]

#: Where this server's role may not make what is needed.
ELSEWHERE = (
    "drill on another server, as a superuser of it: database_backup_restore_drill_connection, or "
    "database_backup_restore_drill_embedded: true"
)


def needs_of(cursor: Cursor, schemas: Sequence[str], ours: Sequence[str]) -> list[Need]:
    """Return what to make before objects of these schemas can be restored, in the order in which to make it.

    :param ours: schemas whose functions are called by nothing that is restored.
    :returns: each need's ``kind``, ``name``, ``schema``, ``version`` (of an extension), ``statements`` (none where it
        cannot be derived), ``probe`` (a function and a name: whether it is there already), ``columns`` and ``keys``
        (of a table), and ``needed_by``.
    """
    cursor.execute("SELECT oid FROM pg_catalog.pg_namespace WHERE nspname = ANY (%s)", (list(schemas),))
    oids = [oid for (oid,) in cursor.fetchall()]
    cursor.execute(REFERENCES, {"schemas": oids, "ours": list(ours)})
    walk = _Walk(cursor, [*schemas, "pg_catalog", "information_schema"])
    for row in rows_as_dicts(cursor):
        walk.visit((row["catalog"], row["id"]), row["part"], row["by_catalog"], row["needed_by"])
    return walk.found()


class _Walk:
    """From each reference to the objects that it needs itself, which come before it."""

    def __init__(self, cursor: Cursor, there: Sequence[str]) -> None:
        self._cursor, self._there = cursor, there
        self._needs: dict[Reference, Need] = {}
        self._seen: set[Reference] = set()
        self._tables: dict[int, StubTable] = {}

    def found(self) -> list[Need]:
        """Return the needs; which columns of a table is known only now."""
        for number, table in self._tables.items():
            self._needs["pg_class", number] |= table.parts(self._cursor)
        return list(self._needs.values())

    def visit(self, reference: Reference, part: int, by_catalog: str, needed_by: str) -> None:
        """Note what is referred to, after what it needs itself.

        :param part: the number of a column; 0 for the whole.
        :param by_catalog: of what refers to it.
        """
        catalog, number = reference
        values = {"catalog": catalog, "id": number}
        extension = self._one(OWNER, values)
        named = extension or self._one(NAMED, values)
        if extension:
            self._visit_extension(extension, needed_by)
        elif named is None or named["schema"] in self._there:
            return
        elif catalog in ("pg_class", "pg_constraint"):
            self._visit_relation(reference, named, part, by_catalog, needed_by)
        elif reference not in self._seen:
            self._seen.add(reference)
            self._visit_object(reference, named, needed_by)

    def _visit_extension(self, extension: Mapping[str, Any], needed_by: str) -> None:
        reference = ("pg_extension", extension["id"])
        if reference not in self._seen and extension["name"] != "plpgsql":
            self._seen.add(reference)
            self._visit_referred(reference, f"extension {extension['name']}")
            made = _need({"kind": "extension", **extension}, needed_by)
            self._needs[reference] = {**made, "version": extension["version"]}

    def _visit_object(self, reference: Reference, named: Mapping[str, Any], needed_by: str) -> None:
        catalog, number = reference
        other = behind(self._cursor, number) if catalog == "pg_type" else None
        if other:
            self.visit(other, 0, "pg_type", needed_by)
            return
        stub = build(self._cursor, catalog, number)
        for kind in stub.types:
            self.visit(("pg_type", kind), 0, catalog, named["name"])
        if stub.refers:
            self._visit_referred(reference, named["name"])
        self._needs[reference] = _need(named, needed_by, stub.statements, stub.probe)

    def _visit_referred(self, reference: Reference, name: str) -> None:
        catalog, number = reference
        for row in self._all(OF_OBJECT, {"catalog": catalog, "id": number}):
            self.visit((row["catalog"], row["id"]), row["part"], catalog, name)

    def _visit_relation(
        self, reference: Reference, named: Mapping[str, Any], part: int, by_catalog: str, needed_by: str
    ) -> None:
        catalog, number = reference
        key = (key_of_index if catalog == "pg_class" else key_of_constraint)(self._cursor, number)
        if key:
            references = self._table(key[0], needed_by).add_key(*key[1:])
        elif catalog == "pg_constraint":
            return
        elif named["kind"] == "sequence":
            made = [f"CREATE SEQUENCE {named['name']}"]
            self._needs[reference] = _need(named, needed_by, made, ("to_regclass", named["name"]))
            return
        else:
            # A foreign key names the table and its columns; whoever else names the table means all of it.
            whole = part == 0 and by_catalog not in ("pg_constraint", "pg_proc")
            references = self._table(number, needed_by).add_columns(None if whole else [part])
        for one in references:
            self.visit(one, 0, "pg_class", named["name"])

    def _table(self, number: int, needed_by: str) -> StubTable:
        if number not in self._tables:
            table = self._tables[number] = StubTable(self._cursor, number)
            named = {"kind": "table", "schema": table.schema, "name": table.name}
            # Its columns follow when all their types are there.
            made = [f"CREATE TABLE {table.name} ()"]
            self._needs["pg_class", number] = _need(named, needed_by, made, ("to_regclass", table.name))
        return self._tables[number]

    def _one(self, statement: str, values: Mapping[str, Any]) -> dict[str, Any] | None:
        return next(iter(self._all(statement, values)), None)

    def _all(self, statement: str, values: Mapping[str, Any]) -> list[dict[str, Any]]:
        self._cursor.execute(statement, values)
        return rows_as_dicts(self._cursor)


def _need(
    named: Mapping[str, Any], needed_by: str, made: Sequence[str] = (), probe: tuple[str, str] | None = None
) -> Need:
    return {
        "kind": named["kind"], "name": named["name"], "schema": named["schema"], "version": "",
        "statements": list(made), "probe": list(probe or ()), "columns": [], "keys": [], "needed_by": needed_by,
    }  # fmt: skip
