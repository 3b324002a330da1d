"""Build the queries for rows of the plan that violate a unique index, a CHECK or a foreign key."""

from __future__ import annotations

from psycopg2 import sql

from ...database.queries import ROWS_SHOWN
from . import rows
from .constraints import Rule
from .references import Key
from .subject import Subject
from .writes import Writes


def of_rule(subject: Subject, writes: Writes, rule: Rule) -> sql.Composable | None:
    """Return the query for an index or a CHECK; None if the plan declares no rows to which it applies."""
    return _unique(subject, writes, rule) if rule.kind == "unique_index" else _check(subject, writes, rule)


def _check(subject: Subject, writes: Writes, rule: Rule) -> sql.Composable | None:
    wanted = {*rule.columns, *_key(subject, rule.table)}
    parts = rows.updated(subject, writes, wanted)
    if set(rule.columns) & (writes.filled or set()) or rule.rechecks or not writes.updates:
        parts += rows.created(subject, writes, wanted)
    if rule.rechecks and writes.updates and not writes.updated_by:
        parts.append(rows.untouched(subject, writes, wanted))
    if not parts:
        return None
    alias = sql.Identifier(rule.table.split(".", 1)[1])
    return sql.SQL(
        "SELECT count(*), count(*) FILTER (WHERE NOT ok), (array_agg(key) FILTER (WHERE NOT ok))[1:{shown}]"
        "  FROM ({parts}) AS found"
    ).format(
        shown=sql.Literal(ROWS_SHOWN),
        parts=sql.SQL(" UNION ALL ").join(
            sql.SQL("SELECT ({}) IS NOT FALSE AS ok, {} AS key FROM ({}) AS {}").format(
                sql.SQL(str(rule.condition)), _shown(subject, rule.table), part, alias
            )
            for part in parts
        ),
    )


def _unique(subject: Subject, writes: Writes, rule: Rule) -> sql.Composable | None:
    wanted = set(rule.columns)
    new = rows.created(subject, writes, wanted) + rows.updated(subject, writes, wanted)
    if not new:
        return None
    names = [sql.Identifier(f"k{place}") for place in range(len(rule.keys))]
    keys = [
        sql.SQL("({}){} AS {}").format(sql.SQL(expression), sql.SQL(f" COLLATE {collation}" if collation else ""), name)
        for (expression, collation), name in zip(rule.keys, names, strict=True)
    ]
    alias = sql.Identifier(rule.table.split(".", 1)[1])
    condition = sql.SQL(rule.condition or "true")
    parts = [
        sql.SQL("SELECT {}, {} AS is_new FROM ({}) AS {} WHERE {}").format(
            sql.SQL(", ").join(keys), sql.Literal(is_new), part, alias, condition
        )
        for part, is_new in [*((part, True) for part in new), (rows.untouched(subject, writes, wanted), False)]
    ]
    filled = sql.SQL(" AND ").join(sql.SQL("{} IS NOT NULL").format(name) for name in names)
    return sql.SQL(
        "WITH found AS MATERIALIZED ({parts}), broken AS ("
        "  SELECT concat_ws(', ', {names}) AS key, count(*) FILTER (WHERE is_new) AS new_rows FROM found WHERE {filled}"
        "   GROUP BY {names} HAVING count(*) > 1 AND bool_or(is_new))"
        " SELECT (SELECT count(*) FROM found WHERE is_new), (SELECT coalesce(sum(new_rows), 0)::bigint FROM broken),"
        "        (SELECT array_agg(key) FROM (SELECT key FROM broken LIMIT {shown}) AS few)"
    ).format(
        parts=sql.SQL(" UNION ALL ").join(parts),
        names=sql.SQL(", ").join(names),
        filled=sql.SQL("true") if rule.nulls_are_equal else filled,
        shown=sql.Literal(ROWS_SHOWN),
    )


def of_key(subject: Subject, key: Key) -> sql.Composable:
    """Return the query for rows without a parent of this foreign key."""
    writes = subject.writes[key.table]
    wanted = {*key.columns, *_key(subject, key.table)}
    filled = sql.SQL(" AND ").join(sql.SQL("{} IS NOT NULL").format(sql.Identifier("c", name)) for name in key.columns)
    equal = sql.SQL(" AND ").join(
        sql.SQL("{} = {}").format(sql.Identifier("p", there), sql.Identifier("c", here))
        for here, there in zip(key.columns, key.parent_columns, strict=True)
    )
    return sql.SQL(
        "SELECT count(*), count(*) FILTER (WHERE missing), (array_agg(key) FILTER (WHERE missing))[1:{shown}] FROM ("
        "  SELECT {key} AS key, {filled} AND NOT EXISTS (SELECT FROM {parent} AS p WHERE {equal}) AS missing"
        "    FROM ({rows}) AS c) AS found"
    ).format(
        shown=sql.Literal(ROWS_SHOWN),
        key=_shown(subject, key.table),
        filled=filled,
        parent=sql.SQL(key.parent),
        equal=equal,
        rows=sql.SQL(" UNION ALL ").join(rows.created(subject, writes, wanted)),
    )


def _key(subject: Subject, table: str) -> list[str]:
    key = subject.key_of(table)
    return [key] if key else []


def _shown(subject: Subject, table: str) -> sql.Composable:
    key = subject.key_of(table)
    return sql.SQL("{}::text").format(sql.Identifier(key)) if key else sql.SQL("NULL::text")
