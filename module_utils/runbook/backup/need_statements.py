"""Build statements that create a stub of an object of another schema, with what a restored object needs of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from psycopg2 import sql

from ..database.connection import Cursor, rows_as_dicts
from ..database.queries import row

Reference = tuple[str, int]  # catalog and object id

COLUMNS = """
SELECT a.attnum AS number, a.attname::text AS name, pg_catalog.format_type(a.atttypid, a.atttypmod) AS type,
       a.atttypid AS type_id, CASE WHEN a.attcollation <> t.typcollation THEN a.attcollation END AS collation_id,
       CASE WHEN a.attcollation <> t.typcollation THEN a.attcollation::regcollation::text END AS collation
  FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
 WHERE a.attrelid = %s AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum
"""

TABLE = """
SELECT n.nspname::text AS schema, pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.relname) AS name
  FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = %s
"""

KEY_OF_INDEX = """
SELECT i.indrelid, i.indkey::int2[]::int[], i.indisprimary FROM pg_catalog.pg_index i WHERE i.indexrelid = %s
"""
KEY_OF_CONSTRAINT = """
SELECT conrelid, conkey::int[], contype = 'p' FROM pg_catalog.pg_constraint WHERE oid = %s AND contype IN ('p', 'u')
"""


class StubTable:
    """Collects the columns and keys that are needed of a table or view."""

    def __init__(self, cursor: Cursor, number: int) -> None:
        self._known = {column["number"]: column for column in _rows(cursor, COLUMNS, number)}
        (table,) = _rows(cursor, TABLE, number)
        self.schema: str = table["schema"]
        self.name: str = table["name"]
        self._wanted: dict[int, dict[str, Any]] = {}
        self._keys: dict[tuple[int, ...], bool] = {}

    def add_columns(self, numbers: Sequence[int] | None) -> list[Reference]:
        """Add these columns, or all, and return the types and collations that they need."""
        new = [number for number in (numbers or self._known) if number in self._known and number not in self._wanted]
        self._wanted |= {number: self._known[number] for number in new}
        columns = [self._known[number] for number in new]
        types = [("pg_type", column["type_id"]) for column in columns]
        return types + [("pg_collation", column["collation_id"]) for column in columns if column["collation_id"]]

    def add_key(self, numbers: Sequence[int], primary: bool) -> list[Reference]:
        """Add a unique key with its columns, and return what the columns need."""
        columns = [number for number in numbers if number > 0]
        self._keys[tuple(columns)] = self._keys.get(tuple(columns), False) or primary
        return self.add_columns(columns)

    def parts(self, cursor: Cursor) -> dict[str, Any]:
        """Return ``columns`` (for ADD COLUMN) and ``keys`` (column names, and whether it is the primary key)."""
        columns = []
        for _, column in sorted(self._wanted.items()):
            collation = f" COLLATE {column['collation']}" if column["collation"] else ""
            columns.append(f"{sql.Identifier(column['name']).as_string(cursor)} {column['type']}{collation}")
        keys = [
            {"columns": [self._known[number]["name"] for number in numbers], "primary": primary}
            for numbers, primary in self._keys.items()
        ]
        return {"columns": columns, "keys": keys}


def key_of_index(cursor: Cursor, number: int) -> tuple[int, list[int], bool] | None:
    """Return the table, the columns, and whether it is the primary key; None if it is not an index."""
    return row(cursor, KEY_OF_INDEX, (number,))


def key_of_constraint(cursor: Cursor, number: int) -> tuple[int, list[int], bool] | None:
    """Return the same for a unique or primary key constraint; None for any other constraint."""
    return row(cursor, KEY_OF_CONSTRAINT, (number,))


FUNCTION = """
SELECT p.proname AS name, n.nspname AS schema, p.prokind::text AS kind, p.provolatile::text AS volatility,
       p.proisstrict AS strict, p.pronargdefaults AS defaults, l.lanname::text AS language, p.proretset AS returns_set,
       p.prorettype::regtype::text AS returned, pg_catalog.pg_get_function_result(p.oid) AS result,
       pg_catalog.pg_get_functiondef(p.oid) AS definition, p.oid::regprocedure::text AS signature,
       coalesce(p.proallargtypes, p.proargtypes::oid[])::regtype[]::text[] AS types,
       p.proargmodes::text[] AS modes, p.proargnames AS names
  FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
  JOIN pg_catalog.pg_language l ON l.oid = p.prolang
 WHERE p.oid = %s AND p.prokind IN ('f', 'p')
"""

TYPE = """
SELECT t.oid::regtype::text AS name, t.typtype::text AS kind,
       pg_catalog.format_type(t.typbasetype, t.typtypmod) AS base, t.typbasetype AS base_id,
       r.rngsubtype AS subtype_id, pg_catalog.format_type(r.rngsubtype, NULL) AS subtype,
       ARRAY(SELECT enumlabel::text FROM pg_catalog.pg_enum WHERE enumtypid = t.oid ORDER BY enumsortorder) AS labels,
       ARRAY(SELECT a.atttypid FROM pg_catalog.pg_attribute a WHERE a.attrelid = t.typrelid AND a.attnum > 0
              AND NOT a.attisdropped ORDER BY a.attnum) AS types,
       ARRAY(SELECT pg_catalog.quote_ident(a.attname) || ' ' || pg_catalog.format_type(a.atttypid, a.atttypmod)
               FROM pg_catalog.pg_attribute a WHERE a.attrelid = t.typrelid AND a.attnum > 0
              AND NOT a.attisdropped ORDER BY a.attnum) AS columns
  FROM pg_catalog.pg_type t LEFT JOIN pg_catalog.pg_range r ON r.rngtypid = t.oid
 WHERE t.oid = %s
"""

BASE_OF_TYPE = """
SELECT CASE WHEN c.relkind <> 'c' THEN 'pg_class' ELSE 'pg_type' END AS catalog,
       CASE WHEN c.relkind <> 'c' THEN c.oid WHEN t.typcategory = 'A' AND t.typelem <> 0 THEN t.typelem
            WHEN t.typtype = 'm' THEN (SELECT rngtypid FROM pg_catalog.pg_range WHERE rngmultitypid = t.oid) END AS id
  FROM pg_catalog.pg_type t LEFT JOIN pg_catalog.pg_class c ON c.oid = t.typrelid WHERE t.oid = %s
"""

COLLATION = """
SELECT pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.collname) AS name,
       c.collprovider::text AS provider, c.collisdeterministic AS deterministic, c.collcollate, c.collctype,
       coalesce(pg_catalog.to_jsonb(c) ->> 'colllocale', pg_catalog.to_jsonb(c) ->> 'colliculocale') AS locale,
       pg_catalog.to_jsonb(c) ->> 'collicurules' AS rules
  FROM pg_catalog.pg_collation c JOIN pg_catalog.pg_namespace n ON n.oid = c.collnamespace WHERE c.oid = %s
"""

OPERATOR = """
SELECT pg_catalog.quote_ident(n.nspname) || '.' || o.oprname AS name, o.oid::regoperator::text AS signature,
       pg_catalog.quote_ident(pn.nspname) || '.' || pg_catalog.quote_ident(p.proname) AS function,
       CASE WHEN o.oprleft <> 0 THEN pg_catalog.format_type(o.oprleft, NULL) END AS leftarg,
       pg_catalog.format_type(o.oprright, NULL) AS rightarg
  FROM pg_catalog.pg_operator o JOIN pg_catalog.pg_namespace n ON n.oid = o.oprnamespace
  JOIN pg_catalog.pg_proc p ON p.oid = o.oprcode JOIN pg_catalog.pg_namespace pn ON pn.oid = p.pronamespace
 WHERE o.oid = %s
"""


@dataclasses.dataclass(frozen=True)
class Stub:
    """How to create an object.

    :param statements: empty if they cannot be derived.
    :param probe: a server function and its argument; it returns NULL if the object does not exist.
    :param refers: create the objects that it depends on according to pg_depend first.
    :param types: oids of types to create first.
    """

    statements: Sequence[str] = ()
    probe: tuple[str, str] | None = None
    refers: bool = False
    types: Sequence[int] = ()


def build(cursor: Cursor, catalog: str, number: int) -> Stub:
    """Return how to create an object that is neither a table nor an extension."""
    builders = {"pg_proc": _function, "pg_type": _type, "pg_collation": _collation, "pg_operator": _operator}
    return builders[catalog](cursor, number) if catalog in builders else Stub()


def base_of_type(cursor: Cursor, number: int) -> Reference | None:
    """Return the table of a row type, the element of an array type or the range of a multirange type."""
    catalog, base = row(cursor, BASE_OF_TYPE, (number,)) or ("", None)
    return (catalog, base) if base else None


def _rows(cursor: Cursor, statement: str, number: int) -> list[dict[str, Any]]:
    cursor.execute(statement, (number,))
    return rows_as_dicts(cursor)


def _function(cursor: Cursor, number: int) -> Stub:
    """Copy an immutable function, which indexes, checks and generated columns evaluate; others return NULL."""
    rows = _rows(cursor, FUNCTION, number)
    if not rows:
        return Stub()  # an aggregate, or a window function
    found = rows[0]
    probe = ("to_regprocedure", found["signature"])
    if found["volatility"] == "i" and found["language"] in ("sql", "plpgsql"):
        return Stub([found["definition"]], probe, refers=True)
    modes = found["modes"] or ["i"] * len(found["types"])
    names = found["names"] or [""] * len(modes)
    first_default = sum(mode in "ibv" for mode in modes) - found["defaults"]
    words, arguments, inputs = {"i": "", "o": "OUT ", "b": "INOUT ", "v": "VARIADIC "}, [], 0
    for mode, name, kind in zip(modes, names, found["types"], strict=True):
        if mode == "t":
            continue
        default = " DEFAULT NULL" if mode in "ibv" and inputs >= first_default else ""
        inputs += mode in "ibv"
        quoted = sql.Identifier(name).as_string(cursor) + " " if name else ""
        arguments.append(f"{words[mode]}{quoted}{kind}{default}")
    outputs = any(mode in "obt" for mode in modes)
    silent = found["kind"] == "p" or outputs or found["returned"] in ("void", "event_trigger")
    body = "" if silent else "RETURN;" if found["returns_set"] else "RETURN NULL;"
    body = "RETURN NEW;" if found["returned"] == "trigger" else body
    volatility = {"i": " IMMUTABLE", "s": " STABLE"}.get(found["volatility"], "")
    form = "CREATE {what} {name} ({arguments}){returns} LANGUAGE plpgsql{more} AS {body}"
    made = form.format(
        what="PROCEDURE" if found["kind"] == "p" else "FUNCTION",
        name=sql.Identifier(found["schema"], found["name"]).as_string(cursor),
        arguments=", ".join(arguments),
        returns=f" RETURNS {found['result']}" if found["result"] else "",
        more="" if found["kind"] == "p" else volatility + (" STRICT" if found["strict"] else ""),
        body=sql.Literal(f"BEGIN {body} END").as_string(cursor),
    )
    return Stub([made], probe, refers=True)


def _type(cursor: Cursor, number: int) -> Stub:
    (found,) = _rows(cursor, TYPE, number)
    name, probe = found["name"], ("to_regtype", found["name"])
    if found["kind"] == "e":
        labels = ", ".join(sql.Literal(label).as_string(cursor) for label in found["labels"])
        return Stub([f"CREATE TYPE {name} AS ENUM ({labels})"], probe)
    if found["kind"] == "d":
        # Without its checks: the rows of the backup satisfy them.
        return Stub([f"CREATE DOMAIN {name} AS {found['base']}"], probe, types=[found["base_id"]])
    if found["kind"] == "c":
        return Stub([f"CREATE TYPE {name} AS ({', '.join(found['columns'])})"], probe, types=found["types"])
    if found["kind"] == "r":
        made = f"CREATE TYPE {name} AS RANGE (SUBTYPE = {found['subtype']})"
        return Stub([made], probe, types=[found["subtype_id"]])
    return Stub(probe=probe)


def _collation(cursor: Cursor, number: int) -> Stub:
    (found,) = _rows(cursor, COLLATION, number)
    providers = {"i": "icu", "c": "libc", "b": "builtin"}
    if found["provider"] not in providers:
        return Stub()
    settings = [f"PROVIDER = {providers[found['provider']]}"]
    given = {"LOCALE": found["locale"], "RULES": found["rules"]}
    if found["provider"] == "c":
        given = {"LC_COLLATE": found["collcollate"], "LC_CTYPE": found["collctype"]}
    settings += [f"{key} = {sql.Literal(text).as_string(cursor)}" for key, text in given.items() if text is not None]
    settings += [] if found["deterministic"] else ["DETERMINISTIC = false"]
    return Stub([f"CREATE COLLATION {found['name']} ({', '.join(settings)})"], ("to_regcollation", found["name"]))


def _operator(cursor: Cursor, number: int) -> Stub:
    (found,) = _rows(cursor, OPERATOR, number)
    left = f"LEFTARG = {found['leftarg']}, " if found["leftarg"] else ""
    made = f"CREATE OPERATOR {found['name']} (FUNCTION = {found['function']}, {left}RIGHTARG = {found['rightarg']})"
    return Stub([made], ("to_regoperator", found["signature"]), refers=True)
