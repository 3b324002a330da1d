"""Find out why a connection failed: each fault has its own cause and remedy."""

from __future__ import annotations

import ctypes
import dataclasses
import re
import select
import socket
import ssl
import struct
import time
from collections.abc import Mapping
from typing import Any

import psycopg2
import psycopg2._psycopg as driver
import psycopg2.extensions

from .libpq_environment import NO_FILE, ignored_files, ignored_variables
from .network_faults import NETWORK_FAULTS
from .server_faults import SERVER_FAULTS, Fault

#: PQERRORS_SQLSTATE: an error's text is its code, in every language.
_SQLSTATE_ONLY = 3


def sqlstate_of_refusal(parameters: Mapping[str, Any], seconds: float = 5) -> str:
    """Connect once more and return the SQLSTATE of the refusal; empty if the server does not refuse.

    :param parameters: libpq's keywords.
    """
    try:
        connection = psycopg2.connect(**parameters, async_=True)
    except psycopg2.Error:
        return ""
    try:
        library = ctypes.CDLL(driver.__file__)  # libpq is one of its own libraries
        library.PQsetErrorVerbosity.argtypes = [ctypes.c_void_p, ctypes.c_int]
        library.PQsetErrorVerbosity(connection.pgconn_ptr, _SQLSTATE_ONLY)
        return _poll(connection, time.monotonic() + seconds)
    except (psycopg2.Error, OSError, AttributeError):
        return ""
    finally:
        connection.close()


def _poll(connection: psycopg2.extensions.connection, deadline: float) -> str:
    try:
        while (state := connection.poll()) != psycopg2.extensions.POLL_OK and time.monotonic() < deadline:
            handle = [connection.fileno()]
            reads = state == psycopg2.extensions.POLL_READ
            select.select(handle if reads else [], [] if reads else handle, [], 1)
    except psycopg2.OperationalError as error:
        found = re.search(r": +([0-9A-Z]{5})$", str(error).strip())
        return found[1] if found else ""
    return ""


_SSL_REQUEST = struct.pack("!ii", 8, 80877103)

#: OpenSSL's codes of a failed verification (x509_vfy.h), with cause and remedy.
_CAUSES = {
    9: ("the server's certificate is not valid yet", "compare the clocks of this machine and of the server"),
    10: (
        "the server's certificate has expired",
        "renew the certificate on the server, then run the same command again",
    ),
    23: ("the server's certificate was revoked", "renew the certificate on the server"),
    3: ("the revocation list has no entry of the certificate's authority", "correct sslcrl in database_connection"),
    12: ("the revocation list has expired", "fetch the revocation list again and save it at the path in sslcrl"),
}
_OTHER_AUTHORITY = (
    "the server's certificate was not signed by the authority in {sslrootcert}",
    "make sure that this is the server you mean, then put its authority's certificate into the file that sslrootcert "
    "names (inventories/certificates/README.md)",
)


def why_not_trusted(parameters: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return cause and remedy of a server certificate that libpq refuses; None if it cannot be determined.

    The certificate is fetched and verified once more; nothing else is sent.

    :param parameters: libpq's keywords.
    """
    host, seconds = str(parameters["host"]).split(",")[0], float(parameters.get("connect_timeout") or 10)
    try:
        context = _context(parameters)
        with socket.create_connection((host, int(parameters.get("port") or 5432)), seconds) as plain:
            plain.settimeout(seconds)
            plain.sendall(_SSL_REQUEST)
            if plain.recv(1) != b"S":
                return None
            with context.wrap_socket(plain, server_hostname=host):
                return None
    except ssl.SSLCertVerificationError as error:
        return _CAUSES.get(error.verify_code, _OTHER_AUTHORITY)
    except (OSError, ValueError):
        return None


def _context(parameters: Mapping[str, Any]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    authority, revoked = (str(parameters.get(name) or NO_FILE) for name in ("sslrootcert", "sslcrl"))
    if authority == "system":
        context.load_default_certs()
    else:
        context.load_verify_locations(authority)
    if revoked != NO_FILE:
        context.load_verify_locations(revoked)
        context.verify_flags |= ssl.VerifyFlags.VERIFY_CRL_CHECK_CHAIN
    return context


#: Hints that libpq appends; our own text replaces them.
_HINT = re.compile(r" (Is the server running|Either provide the file) [^?]*?(\?|verification\.)")

#: Earlier faults hide later ones: the server's answer comes before network errors.
FAULTS: tuple[Fault, ...] = (*SERVER_FAULTS, *NETWORK_FAULTS)


@dataclasses.dataclass(frozen=True)
class Explained:
    """A connection fault, for the operator.

    :param text: what libpq or the server said.
    """

    cause: str
    remedy: str
    text: str
    sqlstate: str = ""


def explain(error: psycopg2.Error, parameters: Mapping[str, Any]) -> Explained:
    """Name the cause of a failed connection and its remedy.

    The table is read in order: the server's answer comes before network errors, because a name may have several
    addresses, and an error of another address must not hide it. If the server uses another language, its SQLSTATE is
    requested.

    :param parameters: libpq's keywords of the connection.
    """
    text = _HINT.sub("", " ".join(str(error).split())).removesuffix(".")
    fault, found = _recognised(text)
    if fault is None and (code := error.pgcode or sqlstate_of_refusal(parameters)):
        fault = next((entry for entry in FAULTS if code in entry.sqlstates), None)
        if fault is None:
            return Explained(f"the server refused with SQLSTATE {code}", _REMEDY, text, code)
    if fault is None:
        return Explained("the cause is not known", _REMEDY, text)
    words = _placeholders(parameters, found)
    cause, remedy = fault.cause, fault.remedy
    if fault.name == "certificate_not_trusted":
        cause, remedy = why_not_trusted(parameters) or (cause, remedy)
    elif fault.name == "password_missing":
        remedy += _password_elsewhere(parameters)
    sqlstate = fault.sqlstates[0] if fault.sqlstates else ""
    return Explained(cause.format_map(words), remedy.format_map(words), text, sqlstate)


_REMEDY = "correct database_connection in the inventory as the text says, then run the same command again"


def _recognised(text: str) -> tuple[Fault | None, re.Match[str] | None]:
    for fault in FAULTS:
        found = re.search(fault.pattern, text)
        if found:
            return fault, found
    return None, None


def _placeholders(parameters: Mapping[str, Any], found: re.Match[str] | None) -> dict[str, Any]:
    named = {name: value or "" for name, value in (found.groupdict() if found else {}).items()}
    keys = ("host", "port", "dbname", "user", "sslmode", "sslrootcert", "sslcert", "sslkey", "sslcrl")
    seconds = {"seconds": parameters.get("connect_timeout", "")}
    nothing = dict.fromkeys(("name", "asked", "number"), "")
    return {**nothing, **{key: parameters.get(key, "") for key in keys}, **seconds, **named}


def _password_elsewhere(parameters: Mapping[str, Any]) -> str:
    given = {name: value for name, value in parameters.items() if value and not str(value).startswith("/dev/null/")}
    places = [name for name in ignored_variables(given) if name in ("PGPASSWORD", "PGPASSFILE")]
    places += [path for path in ignored_files(given, encrypted=False) if "pgpass" in path]
    if not places:
        return ""
    return f" ({' and '.join(places)} {'is' if len(places) == 1 else 'are'} there, but the inventory does not name it)"
