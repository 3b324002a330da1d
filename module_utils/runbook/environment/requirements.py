"""Check the plan's requirements: settings in the inventory, extensions, tables and columns."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..verification.findings import Finding
from .view import View

TYPES: dict[str, type] = {"boolean": bool, "integer": int, "text": str}

EXTENSIONS = """
SELECT wanted.name,
       EXISTS (SELECT FROM pg_available_extensions AS a WHERE a.name = wanted.name) AS available
FROM unnest(%(names)s::text[]) AS wanted(name)
WHERE NOT EXISTS (SELECT FROM pg_extension AS e WHERE e.extname = wanted.name)
ORDER BY 1
"""

#: Missing columns; a null column means that the whole table is missing.
COLUMNS = """
SELECT wanted."table", CASE WHEN c.oid IS NULL THEN NULL ELSE wanted."column" END AS "column"
FROM unnest(%(tables)s::text[], %(columns)s::text[]) WITH ORDINALITY AS wanted("table", "column", place)
LEFT JOIN pg_class AS c ON c.oid = to_regclass(wanted."table") AND c.relkind IN ('r', 'p')
WHERE c.oid IS NULL
   OR (wanted."column" IS NOT NULL AND NOT EXISTS (
         SELECT FROM pg_attribute AS a
         WHERE a.attrelid = c.oid AND a.attname = wanted."column" AND a.attnum > 0 AND NOT a.attisdropped))
ORDER BY place
"""


def examine_settings(view: View) -> Iterator[Finding]:
    """Require every setting of the plan with a value of its type, and no other."""
    harm = "the operator must decide it; the plan has no default"
    for entry in view.plan["settings"]:
        name = entry["name"]
        repair = f"add to migration_plan_settings in the inventory: {name}: <{entry['type']}>  # {entry['meaning']}"
        if view.settings.get(name) is None:
            yield Finding("setting_missing", "blocking", name, f"the plan's setting {name} is not given", harm, repair)
        elif not _is_of(view.settings[name], entry["type"]):
            text = f"the plan's setting {name} is {view.settings[name]!r}, which is not {entry['type']}"
            yield Finding("setting_type", "blocking", name, text, harm, repair)
    known = {entry["name"] for entry in view.plan["settings"]}
    for name in sorted(set(view.settings) - known):
        text = f"migration_plan_settings has the unknown setting {name}"
        harm = "a misspelt setting would silently have no effect"
        repair = f"remove it; settings of the plan: {', '.join(sorted(known)) or 'none'}"
        yield Finding("setting_unknown", "blocking", name, text, harm, repair)


def examine_extensions(view: View) -> Iterator[Finding]:
    """Require the extensions that the plan uses."""
    for row in view.rows(EXTENSIONS, {"names": view.plan["requirements"]["extensions"]}):
        name = row["name"]
        text = f"the extension {name} is not installed"
        text += "; it is available on the server" if row["available"] else " and not available on the server"
        repair = f'CREATE EXTENSION "{name}"' if row["available"] else f"install {name} on the server first"
        yield Finding("extension", "blocking", name, text, "the plan's SQL uses it and would fail halfway", repair)


def examine_tables(view: View) -> Iterator[Finding]:
    """Require the tables and columns that the plan uses."""
    wanted: dict[str, list[str]] = {name: [] for name in view.tables()}
    for entry in view.required_tables():
        wanted[entry["table"]] = entry["columns"]
    pairs: list[tuple[str, str | None]] = [
        (table, column)
        for table, columns in wanted.items()
        for column in (columns or [None])  # type: ignore[list-item]
    ]
    parameters = {"tables": [table for table, _ in pairs], "columns": [column for _, column in pairs]}
    missing: dict[str, list[Any]] = {}
    for row in view.rows(COLUMNS, parameters):
        missing.setdefault(row["table"], []).append(row["column"])
    for table, columns in missing.items():
        whole = columns[0] is None
        yield Finding(
            "table_missing" if whole else "column_missing",
            "blocking",
            table,
            f"{table} does not exist" if whole else f"{table} has no column {', '.join(columns)}",
            "the plan was written for a different schema",
            "make sure that this is the right database; compare it with requirements.tables of the plan",
        )


def _is_of(value: Any, kind: str) -> bool:
    """Return whether a value has a plan's type; true and false are not integers."""
    return isinstance(value, TYPES[kind]) and (kind == "boolean" or not isinstance(value, bool))
