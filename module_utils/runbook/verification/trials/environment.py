"""Set the parameters that the application's session has and ours has not, for one trial."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ...database.connection import Cursor, rows_as_dicts

#: Set in every trial: ordinary triggers must fire, and row-level security must apply.
ALWAYS = {"row_security": "on", "session_replication_role": "origin"}
#: They identify our own sessions; triggers must treat the trial as the application.
OURS = ("runbook.run_id", "runbook.batch_session", "runbook.restored_to")
#: The trial's own limits, and parameters that have no effect inside a transaction.
NEVER = {
    *("statement_timeout", "lock_timeout", "transaction_timeout"),
    *("idle_in_transaction_session_timeout", "idle_session_timeout"),
    *("application_name", "role", "session_authorization", "client_encoding"),
    *("default_transaction_isolation", "default_transaction_read_only", "default_transaction_deferrable"),
    *("transaction_isolation", "transaction_read_only", "transaction_deferrable", "seed"),
}

#: The later row wins: settings of all roles, of the database, of the role, of the role in the database.
SETTINGS = """
SELECT r.rolname AS role, s.setconfig AS config
  FROM pg_catalog.pg_db_role_setting s
  LEFT JOIN pg_catalog.pg_roles r ON r.oid = s.setrole
 WHERE s.setdatabase IN (0, (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()))
   AND (s.setrole = 0 OR r.rolname IN (%s, session_user))
 ORDER BY s.setrole <> 0, s.setdatabase <> 0
"""

#: Settings that PostgREST (11 and later) applies in each transaction for the role that it sets, because SET ROLE
#: applies none: those of roles that its login role is a member of, not those for one database, as far as the login
#: role may set them.
IMPERSONATED = """
SELECT e.name, pg_catalog.substr(c.entry, pg_catalog.length(e.name) + 2) AS value
  FROM pg_catalog.pg_auth_members m
  JOIN pg_catalog.pg_roles l ON l.oid = m.member AND l.rolname = %s
  JOIN pg_catalog.pg_roles r ON r.oid = m.roleid AND r.rolname = %s
  JOIN pg_catalog.pg_db_role_setting s ON s.setrole = r.oid AND s.setdatabase = 0
 CROSS JOIN LATERAL pg_catalog.unnest(s.setconfig) AS c (entry)
 CROSS JOIN LATERAL pg_catalog.split_part(c.entry, '=', 1) AS e (name)
  JOIN pg_catalog.pg_settings p ON p.name = e.name
   AND (p.context = 'user' OR pg_catalog.has_parameter_privilege(l.oid, p.name, 'SET'))
"""

#: These parameters, and those that our session has set.
PRESENT = """
SELECT n.name, s.reset_val, s.boot_val, s.source = 'client' AS is_of_client,
       pg_catalog.current_setting(n.name, true) AS present,
       s.name IS NULL OR s.context = 'user' OR (
           s.context = 'superuser' AND pg_catalog.has_parameter_privilege(n.name, 'SET')) AS may_be_set
  FROM (SELECT unnest(%s::text[]) AS name
        UNION SELECT name FROM pg_catalog.pg_settings
               WHERE source IN ('session', 'client') AND context IN ('user', 'superuser')) AS n
  LEFT JOIN pg_catalog.pg_settings s ON s.name = n.name
"""


def settings_of_application(
    cursor: Cursor, login_role: str, settings_of_plan: Iterable[str], role: str = ""
) -> tuple[dict[str, str], list[str]]:
    """Return the parameters to set for a trial, and those that this session may not set.

    :param login_role: role that the application connects as; empty for none.
    :param settings_of_plan: names of the plan's settings, which an application's session does not have.
    :param role: role that it sets; its settings apply as PostgREST applies them.
    """
    cursor.execute(SETTINGS, (login_role,))
    application: dict[str, str] = {}
    own: set[str] = set()
    user = cursor.connection.info.user
    for row in rows_as_dicts(cursor):
        pairs = dict(entry.split("=", 1) for entry in row["config"] or [])
        if row["role"] in (None, login_role):
            application |= pairs
        if row["role"] == user != login_role:
            own |= set(pairs)
    cursor.execute(IMPERSONATED, (login_role, role))
    application |= {row["name"]: row["value"] for row in rows_as_dicts(cursor)}
    wanted = dict.fromkeys((*OURS, *settings_of_plan), "") | ALWAYS
    cursor.execute(PRESENT, ([*own, *application, *wanted],))
    chosen: dict[str, str] = {}
    refused: list[str] = []
    for row in rows_as_dicts(cursor):
        name = row["name"]
        if name in NEVER:
            continue
        value = wanted.get(name, application.get(name))
        if value is None:
            # The application has the server's value. Where a setting of our role or connection hides that, assume the
            # built-in default.
            value = row["boot_val"] if name in own or row["is_of_client"] else row["reset_val"]
        if value is None or value == row["present"] or (value == "" and row["present"] is None):
            continue
        if row["may_be_set"]:
            chosen[name] = value
        else:
            refused.append(name)
    return chosen, refused


def set_locally(cursor: Cursor, settings: Mapping[str, str], role: str = "") -> None:
    """Set parameters until the transaction or savepoint ends. The role is last: it may not set the others."""
    given: dict[str, Any] = {**settings, **({"role": role} if role else {})}
    cursor.execute(
        "SELECT pg_catalog.set_config(s.name, s.value, true) FROM unnest(%s::text[], %s::text[]) AS s (name, value)",
        (list(given), list(given.values())),
    )
    cursor.fetchall()
