"""The environment of libpq: its variables and default files, which our connections ignore."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from typing import Any

#: A path at which there is no file. libpq looks for its default files unless it is given another path.
NO_FILE = "/dev/null/none"

#: libpq's variable for each keyword that the ``connection`` option can carry.
VARIABLES = {
    "host": "PGHOST",
    "port": "PGPORT",
    "dbname": "PGDATABASE",
    "user": "PGUSER",
    "password": "PGPASSWORD",
    "passfile": "PGPASSFILE",
    "sslmode": "PGSSLMODE",
    "sslrootcert": "PGSSLROOTCERT",
    "sslcert": "PGSSLCERT",
    "sslkey": "PGSSLKEY",
    "sslcrl": "PGSSLCRL",
    "channel_binding": "PGCHANNELBINDING",
    "gssencmode": "PGGSSENCMODE",
    "connect_timeout": "PGCONNECT_TIMEOUT",
}

#: Variables that each of our connections sets itself, whatever the environment contains.
_ALWAYS_GIVEN = {"PGAPPNAME", "PGCONNECT_TIMEOUT"}

#: Variables that determine only how a client tool prints or where it is installed.
_HARMLESS = {"PGDATA", "PG_COLOR", "PG_COLORS", "PGLOCALEDIR"}

#: libpq's default files, and the option of ``database_connection`` that names another one.
DEFAULT_FILES = {
    "passfile": "~/.pgpass",
    "sslrootcert": "~/.postgresql/root.crt",
    "sslcrl": "~/.postgresql/root.crl",
    "sslcert": "~/.postgresql/postgresql.crt",
    "sslkey": "~/.postgresql/postgresql.key",
}

_removed: dict[str, str] = {}
_lock = threading.Lock()


def clear() -> None:
    """Remove libpq's variables from this process, once: each is recognised by its first two letters.

    An inventory that looks one up has done so in Ansible's own process, before a module starts.
    """
    with _lock:
        for name in [name for name in os.environ if name.startswith("PG")]:
            _removed[name] = os.environ.pop(name)


def environment_of_tools() -> dict[str, str]:
    """Return the environment of a client tool without any connection."""
    clear()
    return {**os.environ, "LC_ALL": "C"}


def environment_of_commands() -> dict[str, str]:
    """Return the environment of the operator's own command, which includes the removed variables."""
    with _lock:
        return {**os.environ, **_removed}


def ignored_variables(given: Mapping[str, Any]) -> list[str]:
    """Return the names of the removed variables that libpq would have used.

    :param given: libpq's keywords, as the connection gives them.
    """
    clear()
    known = {variable for keyword, variable in VARIABLES.items() if keyword in given} | _ALWAYS_GIVEN | _HARMLESS
    with _lock:
        return sorted(_removed.keys() - known)


def ignored_files(given: Mapping[str, Any], *, encrypted: bool) -> list[str]:
    """Return libpq's default files that exist and that it would have used.

    :param given: libpq's keywords, as the inventory gives them.
    :param encrypted: whether the connection uses TLS.
    """
    wanted = ["passfile"] if not given.keys() & {"password", "passfile"} else []
    if encrypted:
        wanted += [keyword for keyword in DEFAULT_FILES if keyword.startswith("ssl") and keyword not in given]
    return [DEFAULT_FILES[keyword] for keyword in wanted if os.path.exists(os.path.expanduser(DEFAULT_FILES[keyword]))]


def without_defaults(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return libpq's keywords, with a nonexistent path for each default file that the inventory does not name."""
    return {"gssencmode": "disable", **dict.fromkeys(DEFAULT_FILES, NO_FILE), **given}


def variables(keywords: Mapping[str, Any], known: Sequence[str] = tuple(VARIABLES)) -> dict[str, str]:
    """Return libpq's keywords as the variables that a client tool reads."""
    return {VARIABLES[name]: str(value) for name, value in keywords.items() if name in known}
