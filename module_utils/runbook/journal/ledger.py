"""The history that the Supabase CLI reads: the applied versions with their statements."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from ..database import queries
from ..database.connection import Cursor
from ..plan.sql_text import digest

TABLE = "supabase_migrations.schema_migrations"
Drift = Literal["none", "edited", "unknown"]


def read(cursor: Cursor) -> dict[str, dict[str, Any]]:
    """Return each applied version with its row. Works without the table, and with more columns or fewer."""
    if not _exists(cursor):
        return {}
    cursor.execute("SELECT to_jsonb(t) FROM supabase_migrations.schema_migrations t")
    return {str(row["version"]): row for (row,) in cursor.fetchall()}


def ensure(cursor: Cursor) -> None:
    """Create the schema, the table and our columns if they are missing."""
    if not _exists(cursor):
        cursor.execute("CREATE SCHEMA IF NOT EXISTS supabase_migrations")
        cursor.execute(
            "CREATE TABLE supabase_migrations.schema_migrations"
            " (version text PRIMARY KEY, statements text[], name text)"
        )
        return
    cursor.execute(
        "SELECT attname FROM pg_attribute WHERE attrelid = 'supabase_migrations.schema_migrations'::regclass"
        " AND attnum > 0 AND NOT attisdropped"
    )
    columns = {name for (name,) in cursor.fetchall()}
    if "statements" not in columns:
        cursor.execute("ALTER TABLE supabase_migrations.schema_migrations ADD COLUMN statements text[]")
    if "name" not in columns:
        cursor.execute("ALTER TABLE supabase_migrations.schema_migrations ADD COLUMN name text")


def insert(cursor: Cursor, version: str, name: str, statements: Sequence[str]) -> None:
    """Record a version as applied."""
    cursor.execute(
        "INSERT INTO supabase_migrations.schema_migrations (version, statements, name) VALUES (%s, %s, %s)",
        (version, list(statements), name),
    )


def delete(cursor: Cursor, version: str) -> None:
    """Record a version as not applied."""
    cursor.execute("DELETE FROM supabase_migrations.schema_migrations WHERE version = %s", (version,))


def drift(row: Mapping[str, Any], statements: Sequence[str]) -> Drift:
    """Compare the applied statements with the file's; comments and white space do not count."""
    recorded = row.get("statements")
    if not recorded:
        return "unknown"  # an early version of the CLI stored no statements
    same = list(recorded) == list(statements) or digest(recorded) == digest(statements)
    return "none" if same else "edited"


def _exists(cursor: Cursor) -> bool:
    return bool(queries.value(cursor, "SELECT to_regclass('supabase_migrations.schema_migrations') IS NOT NULL"))
