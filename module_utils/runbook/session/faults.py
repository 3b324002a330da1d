"""Why a connection failed: each fault has its own cause and remedy."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

import psycopg2

from .certificates import why_not_trusted
from .libpq import sqlstate_of_refusal
from .network_faults import NETWORK_FAULTS
from .server_faults import SERVER_FAULTS, Fault
from .surroundings import ignored_files, ignored_variables

#: Hints that libpq appends; our own cause replaces them.
_HINT = re.compile(r" (Is the server running|Either provide the file) [^?]*?(\?|verification\.)")

#: The faults that are named first hide the later ones: what the server says counts before what the network says.
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

    The table is read in its order: what the server says counts before what the network says, since a name may have
    several addresses, and an error of another address hides nothing. A server may speak another language; its code of
    five characters is then asked for.

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
    words = _words(parameters, found)
    cause, remedy = fault.cause, fault.remedy
    if fault.name == "certificate_not_trusted":
        cause, remedy = why_not_trusted(parameters) or (cause, remedy)
    elif fault.name == "password_missing":
        remedy += _password_elsewhere(parameters)
    sqlstate = fault.sqlstates[0] if fault.sqlstates else ""
    return Explained(cause.format_map(words), remedy.format_map(words), text, sqlstate)


_REMEDY = "correct database_connection in the inventory as the text says, then type the same command again"


def _recognised(text: str) -> tuple[Fault | None, re.Match[str] | None]:
    for fault in FAULTS:
        found = re.search(fault.pattern, text)
        if found:
            return fault, found
    return None, None


def _words(parameters: Mapping[str, Any], found: re.Match[str] | None) -> dict[str, Any]:
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
