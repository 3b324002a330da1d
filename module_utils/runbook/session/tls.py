"""How well a connection is protected: judged by its option and by what the session really uses."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import psycopg2.extensions

from ..errors import RunbookError
from .options import CONNECTION_OPTIONS, is_socket

#: Weakest first.
MODES: tuple[str, ...] = tuple(CONNECTION_OPTIONS["sslmode"]["choices"])

#: What can happen under each mode, for whoever stands between.
HARMS = {
    "disable": "password, rows and commands cross the network unencrypted, and any server may answer",
    "allow": "the connection is encrypted only where the server insists, and any server may answer",
    "prefer": "the connection is not encrypted where the server cannot, and any server may answer",
    "require": "the connection is encrypted, but any server may answer",
    "verify-ca": "any server with a certificate of the same authority may answer; authorities of a provider sign many",
}


#: How to accept a weaker mode.
ACCEPT = (
    "or accept it in the inventory, with a reason that the report shows:\n"
    "environment_verification_accept_tls: {mode}\n"
    "environment_verification_accept_tls_reason: …"
)


@dataclasses.dataclass(frozen=True)
class Protection:
    """The verdict on a connection that is weaker than ``verify-full``.

    :param mode: as the inventory has it; ``encrypted``: what the session really uses.
    :param accepted: the weaker mode that the inventory accepts, with its ``reason``.
    :param fault: why that does not count; empty where it does.
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
        """What was seen."""
        used = "uses TLS" if self.encrypted else "is not encrypted"
        return f"sslmode is {self.mode}, the session {used}" + (f", and {self.fault}" if self.fault else "")

    @property
    def harm(self) -> str:
        """What can happen."""
        return HARMS["disable" if not self.encrypted else self.mode]

    @property
    def repair(self) -> str:
        """What to do."""
        return f"set sslmode: verify-full and sslrootcert in {self.option}, {ACCEPT.format(mode=self.mode)}"


def require_encryption(connection: psycopg2.extensions.connection, options: Mapping[str, Any]) -> None:
    """Refuse a session that is not what its sslmode promises (one under GSSAPI, which takes the place of TLS).

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
    """Return the verdict on a connection outside ``local``; None for a Unix socket and for ``verify-full``.

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
        return dataclasses.replace(found, fault=f"environment_verification_accept_tls names no mode: {accepted}")
    if MODES.index(mode) < MODES.index(accepted):
        return dataclasses.replace(found, fault=f"the inventory accepts {accepted} at least")
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

    :param accept: the ``tls`` option; nothing is refused where ``required`` is false.
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
