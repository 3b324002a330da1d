"""What psycopg2 does not hand on: the server's code of a refused connection."""

from __future__ import annotations

import ctypes
import re
import select
import time
from collections.abc import Mapping
from typing import Any

import psycopg2
import psycopg2._psycopg as driver
import psycopg2.extensions

#: PQERRORS_SQLSTATE: an error's text is its code, in every language.
_SQLSTATE_ONLY = 3


def sqlstate_of_refusal(parameters: Mapping[str, Any], seconds: float = 5) -> str:
    """Connect once more and return the code with which the server refuses; empty where it does not come to that.

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
