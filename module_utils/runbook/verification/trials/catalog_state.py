"""Digests of the catalog objects that the application uses; a step that changes none of them needs no trial."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from ...database.connection import Cursor

#: Validating a constraint changes nothing for new rows, and only unique indexes refuse rows. A function counts if its
#: schema has a function that a trigger calls.
STATE = """
WITH relation AS (
    SELECT c.oid, c.relrowsecurity, c.relforcerowsecurity, c.relacl, c.relkind
      FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
     WHERE n.nspname || '.' || c.relname = ANY (%(tables)s)
), fired AS (
    SELECT t.* FROM pg_catalog.pg_trigger t JOIN relation r ON r.oid = t.tgrelid WHERE NOT t.tgisinternal
), part AS (
    SELECT r.oid AS relation, 'relation' AS kind, r.oid AS object, ROW(r.*)::text AS state FROM relation r
    UNION ALL
    SELECT r.oid, 'column', r.oid, ROW(a.attnum, a.attname, a.atttypid, a.atttypmod, a.attnotnull, a.attidentity,
                                       a.attgenerated, a.attisdropped, a.attacl, d.oid, d.xmin)::text
      FROM pg_catalog.pg_attribute a JOIN relation r ON r.oid = a.attrelid
      LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
     WHERE a.attnum > 0
    UNION ALL
    SELECT r.oid, 'constraint', c.oid, ROW(c.conname, c.contype, c.condeferrable, c.condeferred, c.conrelid,
                                           c.confrelid, c.confupdtype, c.confdeltype, c.conkey, c.confkey,
                                           c.conbin)::text
      FROM pg_catalog.pg_constraint c JOIN relation r ON r.oid IN (c.conrelid, c.confrelid)
    UNION ALL
    SELECT r.oid, 'index', i.indexrelid, ROW(i.indkey, i.indexprs, i.indpred)::text
      FROM pg_catalog.pg_index i JOIN relation r ON r.oid = i.indrelid WHERE i.indisunique AND i.indisready
    UNION ALL
    SELECT f.tgrelid, 'trigger', f.oid, ROW(f.tgname, f.tgfoid, f.tgtype, f.tgenabled, f.tgattr, f.tgargs,
                                            f.tgqual)::text
      FROM fired f
    UNION ALL
    SELECT r.oid, 'policy', p.oid, ROW(p.xmin)::text FROM pg_catalog.pg_policy p JOIN relation r ON r.oid = p.polrelid
    UNION ALL
    SELECT r.oid, 'rule', w.oid, ROW(w.xmin)::text FROM pg_catalog.pg_rewrite w JOIN relation r ON r.oid = w.ev_class
), function AS (
    SELECT p.oid, p.proname, md5(ROW(p.*)::text) AS state FROM pg_catalog.pg_proc p
     WHERE p.pronamespace IN (SELECT o.pronamespace FROM fired f JOIN pg_catalog.pg_proc o ON o.oid = f.tgfoid)
       AND p.pronamespace <> 'pg_catalog'::pg_catalog.regnamespace
)
SELECT 'table ' || relation AS object, '' AS name,
       md5(string_agg(kind || object || state, E'\\n' ORDER BY kind, object, state)) AS state
  FROM part GROUP BY relation
UNION ALL
SELECT 'function ' || oid, proname, state FROM function
"""

#: By table and function: its name (of a function only) and its digest.
State = Mapping[str, tuple[str, str]]


def catalog_state(cursor: Cursor, tables: Collection[str]) -> State:
    """Return the digests for these tables in the cursor's transaction."""
    cursor.execute(STATE, {"tables": list(tables)})
    return {thing: (name, state) for thing, name, state in cursor.fetchall()}


def changes_what_is_met(before: State, after: State) -> bool:
    """Return whether statements that worked before can use another object now.

    A new object matters only if it is a function: calls of one with the same name may resolve to it.
    """
    names = {name for name, _ in before.values() if name}
    return any(after.get(thing) != state for thing, state in before.items()) or any(
        name in names for thing, (name, _) in after.items() if thing not in before
    )
