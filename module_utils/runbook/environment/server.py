"""Check that this is the intended server and database, and that the runbook supports it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg2

from ..backup.tools import find_tool
from ..database.queries import savepoint
from ..errors import RunbookError
from ..verification.findings import Finding
from .view import View

IDENTITY = """
SELECT current_setting('server_version') AS version,
       current_setting('server_version_num')::integer / 10000 AS major,
       current_database() AS database,
       current_user AS "user",
       pg_is_in_recovery() AS is_replica,
       (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) AS is_superuser,
       (SELECT rolbypassrls FROM pg_roles WHERE rolname = current_user) AS bypasses_row_security,
       coalesce(host(inet_server_addr()), '') AS address,
       coalesce(inet_server_port(), current_setting('port')::integer) AS port,
       (SELECT reset_val::bigint FROM pg_settings WHERE name = 'statement_timeout') AS role_timeout_milliseconds,
       current_setting('wal_level') AS wal_level
"""

#: Client tools that a run needs, of the server's major version.
TOOLS = ("pg_dump", "pg_restore")

PIN_LINES = """set this in {where}:
database_expected: {{system_identifier: "{system_identifier}", database: {database}}}"""


def read_server(view: View) -> None:
    """Read server, database and role; ``system_identifier`` is empty if this role may not read it."""
    view.server.update(view.rows(IDENTITY)[0])
    view.server["is_local"] = str(view.options.get("host", "")).startswith("/")
    try:
        with savepoint(view.cursor):
            identifier = view.value("SELECT system_identifier FROM pg_control_system()")
    except psycopg2.errors.InsufficientPrivilege:
        identifier = ""
    view.server["system_identifier"] = str(identifier)


def place_of(view: View) -> str:
    """Return the server's name in the inventory and its own address.

    A physical copy has the same system identifier, so the identifier alone does not identify the server.
    """
    host, server = view.options.get("host", ""), view.server
    if not server["address"]:
        return f"the server of socket directory {host}, port {server['port']}"
    return f"the server {host} (address {server['address']}, port {server['port']})"


def examine_identity(view: View) -> Iterator[Finding]:
    """Require that the inventory pins the server and the database, and that both match."""
    server, expected = view.server, view.expected
    harm = "no check of the plan detects a migration of the wrong database"
    missing = [name for name in ("system_identifier", "database") if not expected.get(name)]
    where = expected.get("inventory_file") or "the environment's group_vars file in its inventory"
    lines = PIN_LINES.format(where=where, **server)
    if missing and expected.get("pins_required"):
        text = f"the inventory does not pin {' and '.join(missing)}; {place_of(view)} has "
        text += f"{server['system_identifier'] or 'no readable identifier'} and database {server['database']}"
        repair = f"make sure that this is the intended server, then {lines}"
        yield Finding("identity_not_pinned", "blocking", view.server["database"], text, harm, repair)
    for name in ("system_identifier", "database"):
        wanted = str(expected.get(name) or "")
        if wanted and wanted != server[name]:
            text = (
                f"{name} is {server[name] or 'not readable'}, the inventory expects {wanted}; this is {place_of(view)}"
            )
            repair = "correct database_connection in the inventory; if the server was replaced, " + lines
            yield Finding(f"wrong_{name}", "blocking", server["database"], text, harm, repair)


def examine_server(view: View) -> Iterator[Finding]:
    """Require a primary of a supported version."""
    server, versions = view.server, view.plan["requirements"]["server_versions"]
    if server["is_replica"]:
        text = "the server is in recovery: it is a replica"
        repair = "set host in database_connection to the primary"
        yield Finding("replica", "blocking", server["database"], text, "a replica cannot be written to", repair)
    if not versions["minimum"] <= server["major"] <= versions["maximum"]:
        text = f"the server is PostgreSQL {server['version']}, the plan supports {versions['minimum']} to "
        text += f"{versions['maximum']}"
        harm = "the plan was never tested on this version"
        repair = "upgrade the server, or test the plan on this version and widen requirements.server_versions"
        yield Finding("server_version", "blocking", server["version"], text, harm, repair)


def examine_tools(view: View) -> Iterator[Finding]:
    """Require pg_dump and pg_restore of the server's major version on this machine."""
    for name in TOOLS:
        try:
            found = find_tool(name, view.server["major"], view.tools_directory)
        except RunbookError as error:
            harm = "without it no backup can be taken or restored, and no migration starts without a backup"
            yield Finding("client_tools", "blocking", error.object_name, error.msg, harm, error.next_command)
        else:
            tools: dict[str, Any] = view.server.setdefault("tools", {})
            tools[name] = str(found)


def examine_timeouts(view: View) -> Iterator[Finding]:
    """Report a statement_timeout of this role; the runbook's sessions override it."""
    milliseconds = view.server["role_timeout_milliseconds"]
    if milliseconds:
        text = f"sessions of {view.server['user']} start with statement_timeout {milliseconds / 1000:g} s"
        harm = "none for the runbook, whose sessions set their own; the same SQL in psql would be cancelled"
        yield Finding("statement_timeout", "information", view.server["user"], text, harm)
