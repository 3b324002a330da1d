"""The ``connection`` option: its keys, their libpq parameters, and what is refused before connecting."""

from __future__ import annotations

import dataclasses
import os
import re
import stat
from collections.abc import Mapping
from typing import Any

import psycopg2.extensions

from ..errors import RunbookError
from ..masking import without
from .libpq_environment import DEFAULT_FILES, without_defaults

#: Keys of the ``connection`` option. The names are libpq's, units added where libpq leaves them out.
CONNECTION_OPTIONS: dict[str, dict[str, Any]] = {
    "host": {"type": "str", "required": True},
    "port": {"type": "int", "default": 5432},
    "dbname": {"type": "str", "default": "postgres"},
    "user": {"type": "str", "default": "postgres"},
    "password": {"type": "str", "no_log": True},
    "passfile": {"type": "path", "no_log": False},
    "role": {"type": "str"},
    "sslmode": {
        "type": "str",
        "default": "verify-full",
        "choices": ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"],
    },
    "sslrootcert": {"type": "path"},
    "sslcrl": {"type": "path"},
    "sslcert": {"type": "path"},
    "sslkey": {"type": "path"},
    "channel_binding": {"type": "str", "choices": ["disable", "prefer", "require"]},
    "gssencmode": {"type": "str", "default": "disable", "choices": ["disable", "prefer", "require"]},
    "connect_timeout_seconds": {"type": "int", "default": 10},
}

#: Options that are no keyword of libpq under this name.
_OTHER_NAMES = {"connect_timeout_seconds": "connect_timeout", "role": ""}

#: Options that name no server when they are empty.
_NEEDED = ("host", "port", "dbname", "user")

#: Rights of anyone but the owner: libpq ignores such a password file and refuses such a key.
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def libpq_parameters(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the ``connection`` option as libpq keywords, without empty values."""
    named = {_OTHER_NAMES.get(key, key): value for key, value in options.items() if value not in (None, "")}
    return {key: value for key, value in named.items() if key}


def connect_parameters(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return every libpq keyword of a connection, so that no default file is read.

    :raises RunbookError: the options name no server, or a file that does not exist.
    """
    _require_named(options)
    _require_names_alone(options)
    _require_files(options)
    return without_defaults(libpq_parameters(options))


def is_socket(host: object) -> bool:
    """Return whether every host is a directory of a Unix socket, or an abstract socket."""
    return all(name.strip().startswith(("/", "@")) for name in str(host or "").split(","))


def describe(options: Mapping[str, Any]) -> str:
    """Name a server for a message: ``user@host:port/dbname``, never the password."""
    return "{user}@{host}:{port}/{dbname}".format(
        **{"user": "postgres", "port": 5432, "dbname": "postgres", "host": "", **options}
    )


def scrub(text: str, options: Mapping[str, Any]) -> str:
    """Remove the password from a text of libpq or a client tool."""
    return without(text, [options.get("password")])


def dbname_argument(dbname: object) -> str:
    """Return a database's name for a client tool, which would read a name with ``=`` as a list of keywords."""
    return "dbname='{}'".format(re.sub(r"(['\\])", r"\\\1", str(dbname)))


def role_arguments(options: Mapping[str, Any]) -> list[str]:
    """Return what makes a client tool act as the ``role`` of the connection."""
    return [f"--role={options['role']}"] if options.get("role") else []


def _require_named(options: Mapping[str, Any]) -> None:
    empty = [name for name in _NEEDED if name in options and not str(options[name] or "").strip()]
    if "host" not in options:
        empty.insert(0, "host")
    if empty:
        raise RunbookError(
            f"{' and '.join(f'database_connection.{name}' for name in empty)} "
            f"{'is' if len(empty) == 1 else 'are'} empty, so no server is named. Where the inventory takes the value "
            "from an environment variable, that variable is not set.",
            object_name=f"database_connection.{empty[0]}",
            next_command="set the environment variable that the inventory's database_connection names, "
            "then run the same command again",
        )


def _require_names_alone(options: Mapping[str, Any]) -> None:
    """Refuse a value that was copied with surrounding text. It is not printed, because a URL can contain a password.

    :raises RunbookError: with the option and what it contains.
    """
    for option in ("host", "dbname", "user"):
        text = str(options.get(option) or "")
        hosts = text.split(",") if option == "host" and not is_socket(text) else []
        fault = ""
        if "://" in text:
            fault = "holds a URL"
        elif "\0" in text:
            fault = "contains a NUL character"
        elif any(re.search(r"\s", host.strip(" ")) for host in hosts):
            fault = "contains a blank or a line break"
        elif any(re.fullmatch(r"[^:]+:[0-9]+", host.strip()) for host in hosts):
            fault = "contains a port, which has its own option"
        if fault:
            raise RunbookError(
                f"database_connection.{option} {fault}; it takes {_TAKES[option]} alone.",
                object_name=f"database_connection.{option}",
                next_command=f"correct {option} in database_connection, or the environment variable that it names, "
                "then run the same command again",
            )


_TAKES = {"host": "the name of the server", "dbname": "the name of the database", "user": "the name of the role"}


def _require_files(options: Mapping[str, Any]) -> None:
    """Refuse files that libpq would ignore silently, or report without the name of the option.

    :raises RunbookError: naming the option, the file and what is wrong with it.
    """
    uses_tls = options.get("sslmode", "verify-full") != "disable" and not is_socket(options.get("host"))
    for option in DEFAULT_FILES:
        path = str(options.get(option) or "")
        if not path or (option.startswith("ssl") and not uses_tls) or (option, path) == ("sslrootcert", "system"):
            continue
        fault = _fault_of_file(path, option)
        if fault:
            raise RunbookError(
                f"database_connection.{option} names {path}, which {fault}.",
                object_name=path,
                next_command=f"chmod 0600 {path}" if fault == _READABLE else _REPAIRS[option].format(path=path),
            )
    if uses_tls and str(options.get("sslmode", "")).startswith("verify") and not options.get("sslrootcert"):
        raise RunbookError(
            f"sslmode {options['sslmode']} needs the certificate of the authority that signed the server's, but "
            "database_connection.sslrootcert names none (libpq's default file is ignored).",
            object_name="database_connection.sslrootcert",
            next_command="set database_connection.sslrootcert to the file with the authority's certificate, "
            "or to system for the authorities that this machine trusts",
        )
    if uses_tls and bool(options.get("sslcert")) != bool(options.get("sslkey")):
        missing = "sslkey" if options.get("sslcert") else "sslcert"
        raise RunbookError(
            f"database_connection.{missing} is missing: a client certificate needs its private key.",
            object_name=f"database_connection.{missing}",
            next_command="set both sslcert and sslkey in database_connection, or neither",
        )


_READABLE = "other users can read"
_REPAIRS = {
    "passfile": "write host:port:database:user:password into {path} (mode 0600), or correct passfile",
    "sslrootcert": "put the authority's certificate there (inventories/certificates/README.md), or correct sslrootcert",
    "sslcrl": "put the revocation list there, or remove sslcrl from database_connection",
    "sslcert": "put the client's certificate there, or correct sslcert",
    "sslkey": "put the client's private key there, or correct sslkey",
}


def _fault_of_file(path: str, option: str) -> str:
    try:
        with open(path, "rb") as file:
            found = os.fstat(file.fileno())
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    if not stat.S_ISREG(found.st_mode):
        return "is not a file"
    # A key that belongs to root may be readable by a group: distribution packages install it so.
    refused = _OTHERS & ~stat.S_IRGRP if option == "sslkey" and found.st_uid == 0 else _OTHERS
    return _READABLE if option in ("passfile", "sslkey") and found.st_mode & refused else ""


#: Weakest first.
MODES: tuple[str, ...] = tuple(CONNECTION_OPTIONS["sslmode"]["choices"])

#: What an attacker on the network can do under each mode.
HARMS = {
    "disable": "password, rows and commands cross the network unencrypted, and any server may answer",
    "allow": "the connection is encrypted only if the server requires it, and any server may answer",
    "prefer": "the connection is not encrypted if the server does not support it, and any server may answer",
    "require": "the connection is encrypted, but any server may answer",
    "verify-ca": "any server with a certificate of the same authority may answer; authorities of a provider sign many",
}


#: How to accept a weaker mode.
ACCEPT = (
    "or accept it in the inventory, with a reason that the report shows:\ndatabase_tls: {{accept: {mode}, reason: …}}"
)


@dataclasses.dataclass(frozen=True)
class Protection:
    """The assessment of a connection that is weaker than ``verify-full``.

    :param mode: as the inventory has it; ``encrypted``: what the session really uses.
    :param accepted: the weaker mode that the inventory accepts, with its ``reason``.
    :param fault: why that does not count; empty if it does.
    :param option: the variable of the inventory that holds the connection.
    """

    mode: str
    encrypted: bool
    accepted: str
    reason: str
    fault: str = ""
    option: str = "database_connection"

    @property
    def found(self) -> str:
        """Return what was found."""
        used = "uses TLS" if self.encrypted else "is not encrypted"
        return f"sslmode is {self.mode}, the session {used}" + (f", and {self.fault}" if self.fault else "")

    @property
    def harm(self) -> str:
        """Return the harm."""
        return HARMS["disable" if not self.encrypted else self.mode]

    @property
    def repair(self) -> str:
        """Return the remedy."""
        return f"set sslmode: verify-full and sslrootcert in {self.option}, {ACCEPT.format(mode=self.mode)}"


def require_encryption(connection: psycopg2.extensions.connection, options: Mapping[str, Any]) -> None:
    """Refuse a session that does not have what its sslmode promises (GSSAPI replaces TLS).

    :raises RunbookError: it is not encrypted by TLS.
    """
    mode = str(options.get("sslmode") or "")
    promised = mode in MODES and MODES.index(mode) >= MODES.index("require")
    if promised and not connection.info.ssl_in_use and not is_socket(connection.info.host):
        raise RunbookError(
            f"sslmode is {mode}, and the connection does not use TLS: GSSAPI encryption takes its place.",
            object_name="database_connection.gssencmode",
            next_command="set gssencmode: disable in database_connection",
        )


def judge(
    connection: psycopg2.extensions.connection,
    options: Mapping[str, Any],
    accept: Mapping[str, Any],
    option: str = "database_connection",
) -> Protection | None:
    """Return the assessment of a connection outside ``local``; None for a Unix socket and for ``verify-full``.

    :param accept: the ``tls`` option: ``accept``, the weakest mode that the inventory accepts, and its ``reason``.
    :param option: the variable of the inventory that holds the connection.
    """
    if is_socket(connection.info.host):
        return None
    mode, encrypted = str(options.get("sslmode") or "prefer"), bool(connection.info.ssl_in_use)
    if mode == MODES[-1] and encrypted:
        return None
    accepted, reason = (str(accept.get(key) or "").strip() for key in ("accept", "reason"))
    found = Protection(mode, encrypted, accepted, reason, option=option)
    if not accepted:
        return dataclasses.replace(found, fault="the inventory accepts nothing weaker than verify-full")
    if accepted not in MODES:
        return dataclasses.replace(found, fault=f"database_tls.accept names no mode: {accepted}")
    if MODES.index(mode) < MODES.index(accepted):
        return dataclasses.replace(found, fault=f"the inventory accepts nothing weaker than {accepted}")
    if not reason:
        return dataclasses.replace(found, fault=f"the inventory accepts {accepted} without a reason")
    return found


def require_protection(
    connection: psycopg2.extensions.connection,
    options: Mapping[str, Any],
    accept: Mapping[str, Any],
    option: str = "database_connection",
) -> None:
    """Refuse a connection that is weaker than ``verify-full``, unless the inventory accepts it with a reason.

    :param accept: the ``tls`` option; nothing is refused if ``required`` is false.
    :param option: the variable of the inventory that holds the connection.
    :raises RunbookError: it is weaker.
    """
    found = judge(connection, options, accept, option) if accept.get("required") else None
    if found and found.fault:
        raise RunbookError(
            f"{found.found}: {found.harm}.",
            object_name=f"{option}.sslmode",
            next_command=found.repair,
        )
