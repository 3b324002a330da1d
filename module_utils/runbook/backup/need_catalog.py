"""Queries of the catalog for what objects of a dump refer to outside it."""

from __future__ import annotations

#: Objects of the dumped schemas that a dump of these schemas holds, and what each refers to. ``theirs``: members of an
#: extension, and what belongs to one of them.
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
   -- The log's triggers are left out of every restore.
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

#: What an object refers to itself, for those that are made whole.
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
