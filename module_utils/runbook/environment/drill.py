"""Find in the catalog what would prevent a restore drill, before a backup is taken."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from typing import Any

from ..backup.needs import ELSEWHERE, Need, needs_of
from ..database.connection import SessionSettings, session
from ..database.options import judge
from ..database.queries import read_query
from ..errors import RunbookError
from ..journal.schema import SCHEMA as JOURNAL
from ..verification.findings import Finding
from .view import View

CONNECTION = "database_backup_restore_drill_options.scratch_connection"
SETTING = "database_backup_restore_drill_options.prerequisites_file"
HARM = "the restore drill fails, and no migration starts without it"
OFF = "or skip the drill: database_backup_restore_drill: false"

# Hosted services allow listed extensions to ordinary roles, or any extension to members of an own admin role.
EXTENSIONS = """
SELECT e.name, a.default_version, v.version IS NOT NULL AS same_version,
       r.rolsuper OR NOT coalesce(v.superuser, d.superuser, true) OR coalesce(v.trusted, d.trusted, false)
       OR EXISTS (SELECT FROM pg_catalog.pg_roles h WHERE pg_catalog.pg_has_role(h.oid, 'USAGE') AND h.rolname IN
                  ('rds_superuser', 'cloudsqlsuperuser', 'azure_pg_admin', 'alloydbsuperuser', 'neon_superuser'))
       OR e.name = ANY (pg_catalog.regexp_split_to_array(
              coalesce(pg_catalog.current_setting('supautils.privileged_extensions', true), '') || ','
              || coalesce(pg_catalog.current_setting('rds.allowed_extensions', true), ''), '\\s*,\\s*')) AS may
  FROM ROWS FROM (pg_catalog.unnest(%(names)s::text[]), pg_catalog.unnest(%(versions)s::text[])) AS e (name, version)
  JOIN pg_catalog.pg_roles r ON r.rolname = current_user
  LEFT JOIN pg_catalog.pg_available_extensions a ON a.name = e.name
  LEFT JOIN pg_catalog.pg_available_extension_versions v ON v.name = e.name AND v.version = e.version
  LEFT JOIN pg_catalog.pg_available_extension_versions d ON d.name = e.name AND d.version = a.default_version
 ORDER BY 1
"""


def examine_drill(view: View) -> Iterator[Finding]:
    """Find what the backup's objects need in an empty database, where a drill is wanted."""
    if not view.drill.get("wanted"):
        return
    needs = needs_of(view.cursor, view.plan["schemas"], [JOURNAL])
    yield from _underivable(view, [need for need in needs if not need["statements"] and need["kind"] != "extension"])
    if view.drill.get("elsewhere"):
        yield from _other_server(view)
        return
    if not view.value("SELECT rolsuper OR rolcreatedb FROM pg_catalog.pg_roles WHERE rolname = current_user"):
        user = view.server.get("user", "")
        yield Finding(
            "drill_database", "blocking", user, f"{user} may not create the drill's scratch database", HARM,
            f'as a superuser: ALTER ROLE "{user}" CREATEDB; or {ELSEWHERE}; {OFF}',
        )  # fmt: skip
    yield from _extensions(view, {need["name"]: need for need in needs if need["kind"] == "extension"})


def _other_server(view: View) -> Iterator[Finding]:
    """Connect to the server of the drill, and judge its TLS as that of the database."""
    options = view.scratch
    if not options:
        return
    host, tls = str(options["host"]), view.expected.get("tls") or {}
    try:
        with session(options, SessionSettings(application_name="runbook preflight", read_only=True)) as connection:
            found = judge(connection, options, tls, CONNECTION) if tls.get("required") else None
    except RunbookError as error:
        yield Finding("drill_server", "blocking", host, f"{CONNECTION}: {error.msg}", HARM, error.next_command)
        return
    if found and found.fault:
        yield Finding("tls_weak", "blocking", host, f"{CONNECTION}: {found.found}", found.harm, found.repair)
    elif found:
        text = f"{CONNECTION}: {found.found}; the inventory accepts {found.accepted}: {found.reason}"
        yield Finding("tls_accepted", "warning", host, text, found.harm, "set sslmode: verify-full as soon as you can")


def _extensions(view: View, needs: dict[str, Need]) -> Iterator[Finding]:
    values = {"names": list(needs), "versions": [need["version"] for need in needs.values()]}
    for row in view.rows(EXTENSIONS, values):
        need: dict[str, Any] = needs[row["name"]]
        about = f"the extension {need['name']} {need['version']} ({need['needed_by']} depends on it)"
        if row["default_version"] is None:
            found = f"{about} is installed, but its files are missing on this server"
            repair = f"install the files of {need['name']} on the server; or {ELSEWHERE}; {OFF}"
            yield Finding("drill_extension", "blocking", need["name"], found, HARM, repair)
        elif not row["may"]:
            found = f"only a superuser can install {about}, and the drill must install it in an empty database"
            yield Finding("drill_extension", "blocking", need["name"], found, HARM, f"{ELSEWHERE}; {OFF}")
        elif not row["same_version"]:
            found = f"{about} is not available in that version: the drill installs {row['default_version']}"
            harm = "the drill restores into another version of the extension than the database has"
            repair = f"ALTER EXTENSION {need['name']} UPDATE, when the application allows it"
            yield Finding("drill_extension_version", "warning", need["name"], found, harm, repair)


def _underivable(view: View, needs: Sequence[Need]) -> Iterator[Finding]:
    """Report objects that the runbook cannot create as stubs, unless the prerequisites name them."""
    path = view.drill.get("prerequisites_file") or ""
    text = read_query(path) if path and os.path.isfile(path) else ""
    for need in needs:
        last = need["name"].split("(")[0].rsplit(".", 1)[-1].strip('" ')
        if re.search(rf"(?<!\w){re.escape(last)}(?!\w)", text):
            continue
        found = f"{need['needed_by']} depends on {need['kind']} {need['name']}, which is not in the backup"
        repair = f"create it in {path or 'a SQL file'} (set {SETTING} for another file); {OFF}"
        yield Finding("drill_object", "blocking", need["name"], found, HARM, repair)
