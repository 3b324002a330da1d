"""Read the whole state of a database: rows of the application's and the plan's tables, and the catalog."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from psycopg2 import sql
from support.catalogue import catalogue
from support.servers import query

#: Times, run ids and numbers of attempts.
LEFT_OUT = {
    "archive": ("id", "archived_at", "run_id"),
    "deleted_post": ("deleted_at",),
}
SCHEMAS = ("public", "tracks_posts_separation", "tracks_posts_separation_kept")


def state_of(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the number and the checksum of each table's rows, and the catalog."""
    tables = query(
        options,
        "SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE c.relkind = 'r' AND n.nspname = ANY (%s) ORDER BY 1, 2",
        (list(SCHEMAS),),
    )
    state: dict[str, Any] = {}
    for schema, table in tables:
        statement = sql.SQL(
            "SELECT count(*), coalesce(sum(hashtextextended((to_jsonb(r) - %s::text[])::text, 0)), 0)::text FROM {} r"
        ).format(sql.Identifier(schema, table))
        state[f"{schema}.{table}"] = query(options, statement, (list(LEFT_OUT.get(table, ())),))[0]
    state["history"] = query(options, "SELECT version, name FROM supabase_migrations.schema_migrations ORDER BY 1")
    return {**state, **catalogue(options)}


def differences(expected: Mapping[str, Any], found: Mapping[str, Any]) -> list[str]:
    """Return the differences as lines."""
    return [
        f"{name}: expected {_short(expected.get(name))}, found {_short(found.get(name))}"
        for name in sorted(expected.keys() | found.keys())
        if expected.get(name) != found.get(name)
    ]


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) < 300 else f"{text[:300]}…"
