"""Parameters that server, database and role set for a session: the values, their origin, and how to reset them."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Literal

import psycopg2.extensions
from psycopg2 import sql

#: Any role may set these.
PINS: dict[str, str] = {
    # How a statement is read.
    "standard_conforming_strings": "on",
    "backslash_quote": "safe_encoding",
    "transform_null_equals": "off",
    "array_nulls": "on",
    "search_path": "pg_catalog",
    "xmloption": "content",
    "timezone_abbreviations": "Default",
    # How a value is written as text.
    "TimeZone": "UTC",
    "DateStyle": "ISO, MDY",
    "IntervalStyle": "iso_8601",
    "extra_float_digits": "1",
    "bytea_output": "hex",
    "xmlbinary": "base64",
    "lc_numeric": "C",
    "lc_time": "C",
    "quote_all_identifiers": "off",
    # Which rows a statement sees. A table whose policies would hide rows is an error, not a smaller answer.
    "row_security": "off",
    "gin_fuzzy_search_limit": "0",
    "restrict_nonsystem_relation_kind": "",
    # Transaction properties that BEGIN does not specify.
    "default_transaction_isolation": "read committed",
    "default_transaction_deferrable": "off",
    # What a CREATE statement creates, and where.
    "check_function_bodies": "on",
    "default_tablespace": "",
    "temp_tablespaces": "",
    "default_table_access_method": "heap",
    "createrole_self_grant": "",
    # How plpgsql compiles a function, if something else has set these.
    "plpgsql.extra_errors": "none",
    "plpgsql.check_asserts": "on",
    # An error would end the session, and with it the locks that it holds.
    "exit_on_error": "off",
    # A session that only waits (it holds the lease, or watches) must not be ended by a setting of its role.
    "idle_session_timeout": "0",
    "transaction_timeout": "0",
}

#: Only a superuser, or a role with SET on the parameter, may set these: set where they differ, refused where they
#: cannot be. What happens under another value.
RESTRICTED_PINS: dict[str, tuple[str, str]] = {
    "session_replication_role": ("origin", "no foreign key is checked and no trigger of the application fires"),
    "event_triggers": ("on", "the deployment's event triggers do not see what is created"),
    "zero_damaged_pages": ("off", "damaged pages are emptied, and their rows are missing from the backup"),
    "ignore_checksum_failure": ("off", "damaged rows are read as if they were whole"),
    "plpgsql.variable_conflict": ("error", "an ambiguous name in a function resolves differently"),
}

#: A client tool does not need these: it sets them itself, writes them into what it restores, or prints no values.
NOT_FOR_TOOLS = {
    "search_path",
    "TimeZone",
    "DateStyle",
    "IntervalStyle",
    "extra_float_digits",
    "bytea_output",
    "timezone_abbreviations",
    "lc_numeric",
    "lc_time",
    "row_security",
    "idle_session_timeout",
    "transaction_timeout",
    "createrole_self_grant",
    "plpgsql.variable_conflict",
    "plpgsql.extra_errors",
    "plpgsql.check_asserts",
}


Connection = psycopg2.extensions.connection
Cursor = psycopg2.extensions.cursor

#: By parameter: its value, and the one that a session begins with.
Found = Mapping[str, tuple[str | None, str | None]]

# The search path first, so that no operator or function of another schema replaces one of the catalog. The values that
# RESET would bring back are those that the database, the role or the server give; what an earlier session of a pooler
# left behind does not count.
_FOUND = """
SELECT pg_catalog.set_config('search_path', 'pg_catalog', false);
SELECT p.name, pg_catalog.current_setting(p.name, true), s.reset_val
  FROM pg_catalog.unnest(%s::text[]) AS p (name)
  LEFT JOIN pg_catalog.pg_settings s ON s.name = p.name
"""

# In the order of precedence: role in database, role, database, every role.
_SETTINGS = """
SELECT s.setrole <> 0, s.setdatabase <> 0, session_user::text, pg_catalog.current_database()::text,
       pg_catalog.substr(c.entry, pg_catalog.strpos(c.entry, '=') + 1) AS value
  FROM pg_catalog.pg_db_role_setting s
 CROSS JOIN LATERAL pg_catalog.unnest(s.setconfig) AS c (entry)
 WHERE s.setdatabase IN (0, (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()))
   AND s.setrole IN (0, (SELECT oid FROM pg_catalog.pg_roles WHERE rolname = session_user))
   AND pg_catalog.lower(pg_catalog.split_part(c.entry, '=', 1)) = pg_catalog.lower(%s)
 ORDER BY s.setrole <> 0 DESC, s.setdatabase <> 0 DESC
 LIMIT 1
"""


@dataclasses.dataclass(frozen=True)
class Origin:
    """The origin of a parameter's value.

    :param where: for a sentence, for example ``set for the database shop``.
    :param repair: the statement that removes it.
    :param value: as it is set there; empty if the server gives it.
    """

    kind: Literal["role", "database", "server"]
    where: str
    repair: str
    value: str = ""


def origin_of(cursor: Cursor, name: str) -> Origin:
    """Return where a new session of this role in this database gets the parameter from."""
    cursor.execute(_SETTINGS, (name,))
    row = cursor.fetchone()
    if row is None:
        reset = sql.SQL("ALTER SYSTEM RESET {name}; SELECT pg_reload_conf()").format(name=_name(name))
        repair = f"{reset.as_string(cursor)}; or in postgresql.conf"
        return Origin("server", "set for the whole server (postgresql.conf, ALTER SYSTEM)", repair)
    of_role, of_database, role, database, value = row
    parts = {"name": _name(name), "role": sql.Identifier(role), "database": sql.Identifier(database)}
    if of_role and of_database:
        text, where = "ALTER ROLE {role} IN DATABASE {database} RESET {name}", f"for {role} in the database {database}"
    elif of_role:
        text, where = "ALTER ROLE {role} RESET {name}", f"for the role {role}"
    elif of_database:
        text, where = "ALTER DATABASE {database} RESET {name}", f"for the database {database}"
    else:
        text, where = "ALTER ROLE ALL RESET {name}", "for every role"
    statement = sql.SQL(text).format(**parts).as_string(cursor)
    if name == "default_transaction_read_only":  # the session that removes the setting runs under it
        statement = f"BEGIN READ WRITE; {statement}; COMMIT"
    return Origin("role" if of_role or not of_database else "database", f"set {where}", statement, str(value))


def _name(name: str) -> sql.Composable:
    return sql.SQL(".").join(map(sql.Identifier, name.split(".")))


def found_values(cursor: Cursor, names: Sequence[str]) -> Found:
    """Return the existing parameters, each with its value and its initial value in a session."""
    cursor.execute(_FOUND, (list(names),))
    found = _values(cursor)
    if any(name.startswith("plpgsql.") and begins is None for name, (_, begins) in found.items()):
        # Given from outside, and not read yet: the language takes it over when it is used for the first time.
        cursor.execute("DO LANGUAGE plpgsql 'BEGIN END'")
        cursor.execute(_FOUND, (list(names),))
        found = _values(cursor)
    return found


def _values(cursor: Cursor) -> Found:
    return {name: (value, reset) for name, value, reset in cursor.fetchall() if value is not None}


def overridden_parameters(cursor: Cursor) -> dict[str, tuple[str, str, Origin]]:
    """Return the pinned parameters to which server, database or role give another value.

    :returns: by name the value given, the value that our sessions have, and where it was given.
    """
    pinned = {**PINS, **{name: value for name, (value, _) in RESTRICTED_PINS.items()}}
    found = found_values(cursor, [*pinned, "role"])
    name = "standard_conforming_strings"
    if name in str(cursor.connection.info.dsn_parameters.get("options")):
        # Given by our connection, which does so only where it is off otherwise.
        found = {**found, name: (found[name][0], "off")}
    differing = {
        name: (given, value)
        for name, value in pinned.items()
        if (given := found.get(name, (None, None))[1]) is not None and not same_value(given, value)
    }
    origins = {name: origin_of(cursor, name) for name in [*differing, "role"]}
    roles = origins.pop("role")
    outside = {name: (*both, origins[name]) for name, both in differing.items()}
    return outside | ({"role": (roles.value, "none", roles)} if roles.kind != "server" else {})


def options_of_tools(connection: Connection) -> str:
    """Return the ``PGOPTIONS`` that give a client tool the values of our sessions.

    Only parameters that would differ: a pooler may refuse the others.
    """
    with connection.cursor() as cursor:
        outside = overridden_parameters(cursor)
    wanted = {name: pinned for name, (_, pinned, _) in outside.items() if name not in NOT_FOR_TOOLS}
    return " ".join(f"-c {name}={_escaped(value)}" for name, value in wanted.items())


def same_value(found: str | None, value: str) -> bool:
    """Compare a setting as set and as shown: the server prints 300000ms as 5min, 65536kB as 64MB."""
    if found is None:
        return False
    units = {"ms": 1, "s": 1000, "min": 60000, "h": 3600000, "d": 86400000, "": 1}
    units |= {"kB": 1, "MB": 1024, "GB": 1024**2, "TB": 1024**3}

    def plain(text: str) -> str:
        match = re.fullmatch(r"(\d+)([a-zA-Z]*)", text.strip())
        return str(int(match[1]) * units[match[2]]) if match and match[2] in units else text.strip().replace('"', "")

    return plain(found) == plain(value)


def _escaped(value: str) -> str:
    return re.sub(r"([\\\s])", r"\\\1", value)
