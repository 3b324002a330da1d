"""Find in the catalog what the objects of a dump need outside it: extensions, and objects of other schemas.

They must exist before a restore into an empty database. Extensions are installed; stubs of all other objects suffice,
because only the dumped rows are compared afterwards. The catalog does not record what function bodies refer to.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..database.connection import Cursor, rows_as_dicts
from .need_statements import Reference, StubTable, base_of_type, build, key_of_constraint, key_of_index

#: What the objects that a dump of these schemas contains refer to. ``theirs``: members of extensions and their parts.
REFERENCES = """
WITH RECURSIVE theirs AS (
    SELECT classid, objid FROM pg_catalog.pg_depend WHERE deptype = 'e'
    UNION
    SELECT d.classid, d.objid FROM pg_catalog.pg_depend d
      JOIN theirs t ON d.refclassid = t.classid AND d.refobjid = t.objid AND d.deptype IN ('a', 'i')),
relations AS (SELECT oid FROM pg_catalog.pg_class WHERE relnamespace = ANY (%(schemas)s::oid[])),
inside (classid, objid) AS (
    SELECT 'pg_catalog.pg_class'::regclass::oid, oid FROM relations
    UNION ALL SELECT 'pg_catalog.pg_type'::regclass, oid FROM pg_catalog.pg_type
     WHERE typnamespace = ANY (%(schemas)s::oid[])
    UNION ALL SELECT 'pg_catalog.pg_proc'::regclass, oid FROM pg_catalog.pg_proc
     WHERE pronamespace = ANY (%(schemas)s::oid[])
    UNION ALL SELECT 'pg_catalog.pg_operator'::regclass, oid FROM pg_catalog.pg_operator
     WHERE oprnamespace = ANY (%(schemas)s::oid[])
    UNION ALL SELECT 'pg_catalog.pg_collation'::regclass, oid FROM pg_catalog.pg_collation
     WHERE collnamespace = ANY (%(schemas)s::oid[])
    UNION ALL SELECT 'pg_catalog.pg_opclass'::regclass, oid FROM pg_catalog.pg_opclass
     WHERE opcnamespace = ANY (%(schemas)s::oid[])
    UNION ALL SELECT 'pg_catalog.pg_opfamily'::regclass, oid FROM pg_catalog.pg_opfamily
     WHERE opfnamespace = ANY (%(schemas)s::oid[])
    UNION ALL SELECT 'pg_catalog.pg_ts_config'::regclass, oid FROM pg_catalog.pg_ts_config
     WHERE cfgnamespace = ANY (%(schemas)s::oid[])
    UNION ALL SELECT 'pg_catalog.pg_ts_dict'::regclass, oid FROM pg_catalog.pg_ts_dict
     WHERE dictnamespace = ANY (%(schemas)s::oid[])
    UNION ALL SELECT 'pg_catalog.pg_statistic_ext'::regclass, oid FROM pg_catalog.pg_statistic_ext
     WHERE stxnamespace = ANY (%(schemas)s::oid[])
    UNION ALL SELECT 'pg_catalog.pg_constraint'::regclass, oid FROM pg_catalog.pg_constraint
     WHERE connamespace = ANY (%(schemas)s::oid[])
    UNION ALL SELECT 'pg_catalog.pg_attrdef'::regclass, oid FROM pg_catalog.pg_attrdef
     WHERE adrelid IN (SELECT oid FROM relations)
    UNION ALL SELECT 'pg_catalog.pg_rewrite'::regclass, oid FROM pg_catalog.pg_rewrite
     WHERE ev_class IN (SELECT oid FROM relations)
    UNION ALL SELECT 'pg_catalog.pg_trigger'::regclass, oid FROM pg_catalog.pg_trigger
     WHERE NOT tgisinternal AND tgrelid IN (SELECT oid FROM relations)
    UNION ALL SELECT 'pg_catalog.pg_policy'::regclass, oid FROM pg_catalog.pg_policy
     WHERE polrelid IN (SELECT oid FROM relations)),
own AS (SELECT * FROM inside EXCEPT SELECT * FROM theirs)
SELECT d.refclassid::regclass::text AS catalog, d.refobjid AS id, d.refobjsubid AS part,
       d.classid::regclass::text AS by_catalog,
       min(pg_catalog.pg_describe_object(d.classid, d.objid, d.objsubid)) AS needed_by
  FROM own JOIN pg_catalog.pg_depend d ON d.classid = own.classid AND d.objid = own.objid
 WHERE (d.refclassid, d.refobjid) NOT IN (SELECT classid, objid FROM own)
   AND d.refclassid <> 'pg_catalog.pg_namespace'::regclass
   -- No restore creates the change log's triggers.
   AND NOT EXISTS (SELECT FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
                    WHERE p.oid = d.refobjid AND d.refclassid = 'pg_catalog.pg_proc'::regclass
                      AND n.nspname = ANY (%(ours)s))
 GROUP BY 1, 2, 3, 4
 ORDER BY 1, 2, 3
"""

OWNER = """
SELECT e.oid AS id, e.extname::text AS name, n.nspname::text AS schema, e.extversion AS version
  FROM pg_catalog.pg_extension e JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace
 WHERE e.oid = %(id)s AND %(catalog)s = 'pg_extension'
    OR e.oid = (SELECT d.refobjid FROM pg_catalog.pg_depend d
                 WHERE d.classid = ('pg_catalog.' || %(catalog)s)::regclass AND d.objid = %(id)s AND d.deptype = 'e')
"""

#: What an object that is copied whole refers to.
OF_OBJECT = """
SELECT refclassid::regclass::text AS catalog, refobjid AS id, refobjsubid AS part
  FROM pg_catalog.pg_depend
 WHERE classid = ('pg_catalog.' || %(catalog)s)::regclass AND objid = %(id)s AND deptype IN ('n', 'a', 'x')
   AND refclassid <> 'pg_catalog.pg_namespace'::regclass
"""

NAMED = """
SELECT i.type AS kind, coalesce((pg_catalog.parse_ident(i.schema))[1], c.schema, '') AS schema, i.identity AS name
  FROM pg_catalog.pg_identify_object(('pg_catalog.' || %(catalog)s)::regclass, %(id)s, 0) AS i
  LEFT JOIN (SELECT n.nspname::text AS schema, o.oid FROM pg_catalog.pg_constraint o
              JOIN pg_catalog.pg_namespace n ON n.oid = o.connamespace) AS c
         ON c.oid = %(id)s AND %(catalog)s = 'pg_constraint'
"""


Need = dict[str, Any]

#: The next command if this role may not create what is needed.
ELSEWHERE = (
    "drill on another server, as a superuser of it: database_backup_restore_drill_options.scratch_connection, or "
    "database_backup_restore_drill_embedded: true"
)


def needs_of(cursor: Cursor, schemas: Sequence[str], ours: Sequence[str]) -> list[Need]:
    """Return what to create before objects of these schemas can be restored, in the order of creation.

    :param ours: schemas whose functions no restored object calls.
    :returns: ``kind``, ``name``, ``schema``, ``version`` (of an extension), ``statements`` (empty if they cannot be
        derived), ``probe`` (a function and a name that show whether it exists), ``columns`` and ``keys`` (of a table),
        and ``needed_by`` of each need.
    """
    cursor.execute("SELECT oid FROM pg_catalog.pg_namespace WHERE nspname = ANY (%s)", (list(schemas),))
    oids = [oid for (oid,) in cursor.fetchall()]
    cursor.execute(REFERENCES, {"schemas": oids, "ours": list(ours)})
    collector = _Collector(cursor, [*schemas, "pg_catalog", "information_schema"])
    for row in rows_as_dicts(cursor):
        collector.visit((row["catalog"], row["id"]), row["part"], row["by_catalog"], row["needed_by"])
    return collector.found()


class _Collector:
    """Collects the needs in dependency order: what a need itself needs comes first."""

    def __init__(self, cursor: Cursor, present: Sequence[str]) -> None:
        self._cursor, self._present = cursor, present
        self._needs: dict[Reference, Need] = {}
        self._seen: set[Reference] = set()
        self._tables: dict[int, StubTable] = {}

    def found(self) -> list[Need]:
        """Return the needs, with the columns and keys of tables, which are complete only now."""
        for number, table in self._tables.items():
            self._needs["pg_class", number] |= table.parts(self._cursor)
        return list(self._needs.values())

    def visit(self, reference: Reference, part: int, by_catalog: str, needed_by: str) -> None:
        """Add a referenced object, after the objects that it needs itself.

        :param part: the number of a column; 0 for the whole object.
        :param by_catalog: the catalog of the object that refers to it.
        """
        catalog, number = reference
        values = {"catalog": catalog, "id": number}
        extension = self._one(OWNER, values)
        named = extension or self._one(NAMED, values)
        if extension:
            self._visit_extension(extension, needed_by)
        elif named is None or named["schema"] in self._present:
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
        base = base_of_type(self._cursor, number) if catalog == "pg_type" else None
        if base:
            self.visit(base, 0, "pg_type", needed_by)
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
            # A foreign key refers to the table and to its columns; any other reference to a table needs all columns.
            whole = part == 0 and by_catalog not in ("pg_constraint", "pg_proc")
            references = self._table(number, needed_by).add_columns(None if whole else [part])
        for one in references:
            self.visit(one, 0, "pg_class", named["name"])

    def _table(self, number: int, needed_by: str) -> StubTable:
        if number not in self._tables:
            table = self._tables[number] = StubTable(self._cursor, number)
            named = {"kind": "table", "schema": table.schema, "name": table.name}
            # The columns are added after all their types exist.
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
