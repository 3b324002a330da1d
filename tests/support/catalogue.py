"""Read a schema twice: as pg_dump writes it, and from the catalog, which has states that a dump does not show."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from support.servers import query

CATALOGUE = {
    "publications": "SELECT pubname, schemaname, tablename FROM pg_publication_tables ORDER BY 1, 2, 3",
    "triggers": "SELECT tgrelid::regclass::text, tgname, tgenabled::text, pg_get_triggerdef(oid) FROM pg_trigger"
    " WHERE NOT tgisinternal ORDER BY 1, 2",
    "constraints": "SELECT conrelid::regclass::text, conname, convalidated, pg_get_constraintdef(oid)"
    " FROM pg_constraint WHERE connamespace = 'public'::regnamespace ORDER BY 1, 2",
    "indexes": "SELECT indexrelid::regclass::text, indisvalid, pg_get_indexdef(indexrelid) FROM pg_index"
    " JOIN pg_class ON pg_class.oid = indexrelid WHERE relnamespace = 'public'::regnamespace ORDER BY 1",
    "tables": "SELECT relname, relkind::text, relrowsecurity, relforcerowsecurity, reloptions, relacl::text"
    " FROM pg_class WHERE relnamespace = 'public'::regnamespace ORDER BY 1",
    "columns": "SELECT attrelid::regclass::text, attname, atttypid::regtype::text, attnotnull,"
    " col_description(attrelid, attnum) FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid"
    " WHERE relnamespace = 'public'::regnamespace AND attnum > 0 AND NOT attisdropped"
    " ORDER BY attrelid::regclass::text, attnum",
    "functions": "SELECT oid::regprocedure::text, prosecdef, proconfig, proacl::text FROM pg_proc"
    " WHERE pronamespace = 'public'::regnamespace ORDER BY 1",
    "policies": "SELECT schemaname, tablename, policyname, permissive, roles::text, cmd, qual, with_check"
    " FROM pg_policies ORDER BY 1, 2, 3",
    "schemas": "SELECT nspname FROM pg_namespace WHERE nspname NOT LIKE 'pg\\_%' AND nspname <> 'migration_runbook'"
    " ORDER BY 1",
}


def catalogue(options: Mapping[str, Any]) -> dict[str, list[tuple[Any, ...]]]:
    """Read what pg_dump does not show, or shows only for what it owns."""
    return {name: query({**options, "user": "supabase_admin"}, statement) for name, statement in CATALOGUE.items()}


def schema_text(options: Mapping[str, Any], bin_directory: str) -> str:
    """Return pg_dump's text of schema public, without the lines that hold a random key."""
    command = [
        str(Path(bin_directory) / "pg_dump"), "--schema-only", "--schema=public",
        "--host", str(options["host"]), "--port", str(options["port"]),
        "--username", "supabase_admin", "--dbname", str(options["dbname"]),
    ]  # fmt: skip
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return "\n".join(line for line in text.splitlines() if not line.startswith(("\\restrict", "\\unrestrict")))
