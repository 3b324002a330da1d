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


@dataclasses.dataclass(frozen=True)
class Protection:
    """The verdict on a connection.

    :param mode: as the inventory has it; ``encrypted``: what the session really uses.
    :param accepted: the weaker mode that the inventory accepts, with its reason.
    """

    mode: str
    encrypted: bool
    accepted: str
    reason: str
    fault: str = ""

    @property
    def harm(self) -> str:
        """What can happen."""
        return HARMS.get(self.mode if self.encrypted or self.mode in ("disable", "allow", "prefer") else "disable", "")


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
    connection: psycopg2.extensions.connection, options: Mapping[str, Any], accepted: str, reason: str
) -> Protection | None:
    """Return the verdict on a connection outside ``local``; None for a Unix socket and for ``verify-full``.

    :param accepted: ``environment_verification_accept_tls``; empty accepts nothing weaker.
    :param reason: ``environment_verification_accept_tls_reason``.
    """
    if is_socket(connection.info.host):
        return None
    mode, encrypted = str(options.get("sslmode") or "prefer"), bool(connection.info.ssl_in_use)
    if mode == MODES[-1] and encrypted:
        return None
    found = Protection(mode, encrypted, accepted, reason.strip())
    if not accepted:
        return dataclasses.replace(found, fault="the inventory accepts no weaker one")
    if accepted not in MODES:
        return dataclasses.replace(found, fault=f"environment_verification_accept_tls names no mode: {accepted}")
    if MODES.index(mode) < MODES.index(accepted):
        return dataclasses.replace(found, fault=f"the inventory accepts {accepted}, which is stronger")
    if not found.reason:
        return dataclasses.replace(found, fault=f"the inventory accepts {accepted} without a reason")
    return found
