"""Convert rows to the JSON documents of a plan's archive, and back, without loss."""

from __future__ import annotations

from ..database.connection import Cursor

#: jsonb changes values of many types: json loses white space and repeated keys, arrays their lower bounds, floats the
#: sign of -0; others depend on session settings (DateStyle, search_path). Such a value is stored as the text of its
#: type, written and read under the same settings. ``format`` calls the type's output function, which a cast to text
#: need not do. Repair scripts of a plan call row_document too.
_FUNCTIONS = r"""
CREATE OR REPLACE FUNCTION pg_temp.row_document(entry anyelement) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
    SET datestyle = 'ISO' SET intervalstyle = 'postgres' SET extra_float_digits = 3 SET lc_monetary = 'C'
AS $$
DECLARE
    document jsonb;
BEGIN
    EXECUTE (
        SELECT pg_catalog.format(
            'SELECT pg_catalog.jsonb_object_agg(c.name, c.value) FROM (VALUES %s) AS c (name, value)',
            pg_catalog.string_agg(pg_catalog.format(
                CASE
                    WHEN c.typtype = 'e' OR c.oid = ANY (
                        '{boolean,smallint,integer,bigint,numeric,text,varchar,bpchar,uuid,bytea,date,timestamp,timestamptz,time}'
                        ::pg_catalog.regtype[]
                    ) THEN '(%L, pg_catalog.to_jsonb(($1).%I))'
                    ELSE '(%L, CASE WHEN pg_catalog.num_nulls(($1).%2$I) = 0 THEN '
                        'pg_catalog.to_jsonb(pg_catalog.format(''%%s'', ($1).%2$I)) END)'
                END, a.attname, a.attname
            ), ', ')
        )
        FROM pg_catalog.pg_type AS t
        JOIN pg_catalog.pg_attribute AS a ON a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped
        JOIN pg_catalog.pg_type AS c ON c.oid = a.atttypid
        WHERE t.oid = pg_catalog.pg_typeof(entry)
    ) INTO document USING entry;
    RETURN document;
END
$$;
CREATE OR REPLACE FUNCTION pg_temp.document_row(of_type anyelement, document jsonb) RETURNS anyelement
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
    SET datestyle = 'ISO' SET intervalstyle = 'postgres' SET lc_monetary = 'C' SET xmloption = 'content'
AS $$
DECLARE
    row_text text := (
        SELECT '(' || pg_catalog.string_agg(
            coalesce('"' || pg_catalog.regexp_replace(document ->> a.attname, '(["\\])', '\1\1', 'g') || '"', ''),
            ',' ORDER BY a.attnum
        ) || ')'
        FROM pg_catalog.pg_type AS t
        JOIN pg_catalog.pg_attribute AS a ON a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped
        WHERE t.oid = pg_catalog.pg_typeof(of_type)
    );
BEGIN
    EXECUTE pg_catalog.format(
        'SELECT (r.whole).* FROM (SELECT $1::%s AS whole OFFSET 0) AS r', pg_catalog.pg_typeof(of_type)
    ) INTO of_type USING row_text;
    RETURN of_type;
END
$$;
"""


def define_documents(cursor: Cursor) -> None:
    """Create ``pg_temp.row_document(row)`` and ``pg_temp.document_row(NULL::table, document)`` for this session."""
    cursor.execute(_FUNCTIONS)
