"""A digest of the catalog as far as the application meets it: a step that leaves it as it was needs no trial."""

from __future__ import annotations

from collections.abc import Collection

from ..session.connection import Cursor

#: Validation of a constraint changes nothing for new rows, and indexes count only where they refuse rows. A function
#: counts where it lies in a schema of one that a trigger calls: the row's version tells whether it was replaced.
STATE = """
WITH relation AS (
    SELECT c.oid, c.relrowsecurity, c.relforcerowsecurity, c.relacl, c.relkind
      FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
     WHERE n.nspname || '.' || c.relname = ANY (%(tables)s)
), fired AS (
    SELECT t.* FROM pg_catalog.pg_trigger t JOIN relation r ON r.oid = t.tgrelid WHERE NOT t.tgisinternal
), part AS (
    SELECT 'relation' AS kind, r.oid AS object, ROW(r.*)::text AS state FROM relation r
    UNION ALL
    SELECT 'column', a.attrelid, ROW(a.attnum, a.attname, a.atttypid, a.atttypmod, a.attnotnull, a.attidentity,
                                     a.attgenerated, a.attisdropped, a.attacl, d.oid, d.xmin)::text
      FROM pg_catalog.pg_attribute a JOIN relation r ON r.oid = a.attrelid
      LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
     WHERE a.attnum > 0
    UNION ALL
    SELECT 'constraint', c.oid, ROW(c.conname, c.contype, c.condeferrable, c.condeferred, c.conrelid, c.confrelid,
                                    c.confupdtype, c.confdeltype, c.conkey, c.confkey, c.conbin)::text
      FROM pg_catalog.pg_constraint c WHERE c.conrelid IN (SELECT oid FROM relation)
        OR c.confrelid IN (SELECT oid FROM relation)
    UNION ALL
    SELECT 'index', i.indexrelid, ROW(i.indkey, i.indexprs, i.indpred)::text
      FROM pg_catalog.pg_index i JOIN relation r ON r.oid = i.indrelid WHERE i.indisunique AND i.indisready
    UNION ALL
    SELECT 'trigger', f.oid, ROW(f.tgname, f.tgfoid, f.tgtype, f.tgenabled, f.tgattr, f.tgargs, f.tgqual)::text
      FROM fired f
    UNION ALL
    SELECT 'policy', p.oid, ROW(p.xmin)::text FROM pg_catalog.pg_policy p JOIN relation r ON r.oid = p.polrelid
    UNION ALL
    SELECT 'rule', w.oid, ROW(w.xmin)::text FROM pg_catalog.pg_rewrite w JOIN relation r ON r.oid = w.ev_class
    UNION ALL
    SELECT 'function', p.oid, ROW(p.xmin)::text FROM pg_catalog.pg_proc p
     WHERE p.pronamespace IN (SELECT o.pronamespace FROM fired f JOIN pg_catalog.pg_proc o ON o.oid = f.tgfoid)
       AND p.pronamespace <> 'pg_catalog'::pg_catalog.regnamespace
)
SELECT md5(string_agg(kind || object || state, E'\\n' ORDER BY kind, object, state)) FROM part
"""


def catalog_state(cursor: Cursor, tables: Collection[str]) -> str:
    """Return the digest for these tables, as the cursor's transaction sees them."""
    cursor.execute(STATE, {"tables": list(tables)})
    row = cursor.fetchone()
    return str(row[0]) if row else ""
