"""Fill an empty database once, from SQL files with settings: base schema and generated rows."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from ..database.connection import Connection, Cursor, rows_as_dicts, transaction
from ..errors import RunbookError, driver_errors

#: Settings reach the SQL files as ``demo.<name>``, read with ``current_setting``.
PREFIX = "demo"

#: The database itself records what was loaded, in the same transaction.
_MARKER_TABLE = """
CREATE SCHEMA demo_data;
CREATE TABLE demo_data.loaded (settings jsonb NOT NULL, loaded_at timestamptz NOT NULL DEFAULT pg_catalog.now());
"""

_USER_TABLES = """
SELECT n.nspname || '.' || c.relname
FROM pg_catalog.pg_class AS c
INNER JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'f', 'v', 'm')
    AND n.nspname <> 'information_schema'
    AND n.nspname !~ '^pg_'
ORDER BY 1
"""


def session_settings(settings: Mapping[str, Any]) -> dict[str, str]:
    """Return settings as the custom parameters of a session.

    :raises RunbookError: a name that PostgreSQL would not take as part of a parameter's name.
    """
    bad = [name for name in settings if not re.fullmatch(r"[a-z_][a-z0-9_]*", name)]
    if bad:
        raise RunbookError(f"not a name for a setting: {', '.join(bad)}.", object_name="settings")
    return {f"{PREFIX}.{name}": _text(value) for name, value in settings.items()}


def loaded_settings(cursor: Cursor) -> dict[str, str] | None:
    """Return the settings a database was filled with; None when it was not filled."""
    cursor.execute("SELECT to_regclass('demo_data.loaded') IS NOT NULL")
    row = cursor.fetchone()
    if not row or not row[0]:
        return None
    cursor.execute("SELECT settings FROM demo_data.loaded")
    row = cursor.fetchone()
    return dict(row[0]) if row else None


def needs_load(cursor: Cursor, settings: Mapping[str, Any]) -> bool:
    """Return whether the database must be filled: not if it already contains these data.

    :raises RunbookError: it contains data of other settings, or tables that this module did not load.
    """
    wanted = session_settings(settings)
    found = loaded_settings(cursor)
    if found is not None:
        different = sorted(name for name in {*found, *wanted} if found.get(name) != wanted.get(name))
        if different:
            differing = ", ".join(f"{name} is {found.get(name)}, asked for {wanted.get(name)}" for name in different)
            raise RunbookError(
                f"the database was filled with other settings: {differing}.",
                object_name="demo_data.loaded",
                next_command="make stop, then make demo with the new settings",
            )
        return False
    cursor.execute(_USER_TABLES)
    tables = [row[0] for row in cursor.fetchall()]
    if tables:
        raise RunbookError(
            f"the database is not empty: it contains {len(tables)} tables or views, the first is {tables[0]}. "
            "Only an empty database is filled.",
            object_name=tables[0],
            next_command="connect to an empty database",
        )
    return True


def load(connection: Connection, files: Sequence[str], settings: Mapping[str, Any]) -> None:
    """Run the files in order, in one transaction with the record of what was loaded; then vacuum and analyze.

    The session must carry ``session_settings(settings)``.
    """
    with transaction(connection) as cursor:
        for path in files:
            with open(path, encoding="utf-8") as file, driver_errors(f"cannot run {path}", object_name=path):
                cursor.execute(file.read())
        cursor.execute(_MARKER_TABLE)
        cursor.execute("INSERT INTO demo_data.loaded (settings) VALUES (%s)", (json.dumps(session_settings(settings)),))
    with connection.cursor() as cursor:
        cursor.execute("VACUUM (ANALYZE)")


def summary(cursor: Cursor, query_file: str) -> dict[str, Any]:
    """Return the one row of a query as a dict."""
    with open(query_file, encoding="utf-8") as file, driver_errors(f"cannot run {query_file}", object_name=query_file):
        cursor.execute(file.read())
        return rows_as_dicts(cursor)[0]


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
