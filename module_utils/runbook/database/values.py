"""Convert values from the driver: every stored value must be readable and unchanged.

Every session: a date or time that Python cannot represent (BC, infinity, 24:00, the year 10000) and every interval
comes as the server's text; so does a JSON document that Python refuses. Cursors for rows of a user or of a plan
(``as_text``) get the server's text of everything but whole numbers and booleans.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Callable
from typing import Any

import psycopg2
import psycopg2.extensions
from psycopg2 import extensions

from ..visible import remember, remember_all

#: The server converts nothing for a client of this encoding.
BYTES = "SQL_ASCII"

#: Valid UTF-8 is decoded; any other byte becomes a surrogate code point and is written back as that byte.
_CODEC = "runbook_bytes"


def _find(name: str) -> codecs.CodecInfo | None:
    if name != _CODEC:
        return None
    return codecs.CodecInfo(
        lambda text, _errors="strict": codecs.utf_8_encode(text, "surrogateescape"),
        lambda data, _errors="strict": codecs.utf_8_decode(data, "surrogateescape", True),
        name=_CODEC,
    )


codecs.register(_find)
psycopg2.extensions.encodings.update({BYTES: _CODEC, BYTES.replace("_", ""): _CODEC})


def use_encoding(connection: psycopg2.extensions.connection) -> None:
    """Read text of a database in SQL_ASCII as bytes: it may have any encoding, or several."""
    if connection.info.parameter_status("server_encoding") == BYTES:
        connection.set_client_encoding(BYTES)


def client_encoding(connection: psycopg2.extensions.connection) -> str:
    """Return the encoding that a client tool must use to write the bytes that this session reads."""
    return BYTES if connection.info.parameter_status("client_encoding") == BYTES else "UTF8"


_Cast = Callable[[Any, Any], Any]

#: Types by object id in pg_type.
_DATES = {1082: extensions.PYDATE, 1083: extensions.PYTIME, 1266: extensions.PYTIME}
_DATES |= {1114: extensions.PYDATETIME, 1184: extensions.PYDATETIMETZ}
_DATE_ARRAYS = {1082: 1182, 1083: 1183, 1266: 1270, 1114: 1115, 1184: 1185}
_INTERVAL, _INTERVAL_ARRAY = 1186, 1187
_JSON, _JSON_ARRAYS = (114, 3802), (199, 3807)
#: bpchar, varchar, text, name, unknown, "char"; and their arrays.
_TEXTS, _TEXT_ARRAYS = (1042, 1043, 25, 19, 705, 18), (1014, 1015, 1009, 1003, 1002)

#: What ``as_text`` leaves typed: bool, the integers, oid.
_LOSSLESS = (16, 20, 21, 23, 26)
#: Also left typed where numbers of a row are compared: numeric, and the floating point types.
NUMBERS = (1700, 700, 701)


def register_casts(connection: extensions.connection) -> None:
    """Register the casts of a session. Call once, after connecting."""
    for number, cast in _DATES.items():
        _register(connection, (number,), (_DATE_ARRAYS[number],), _date_or_text(cast), f"RUNBOOK_{number}")
    _register(connection, (_INTERVAL,), (_INTERVAL_ARRAY,), _text, "RUNBOOK_INTERVAL")
    _register(connection, _JSON, _JSON_ARRAYS, _document, "RUNBOOK_JSON")
    _register(connection, _TEXTS, _TEXT_ARRAYS, _text, "RUNBOOK_TEXT")


def as_text(connection: extensions.connection, typed: tuple[int, ...] = ()) -> extensions.cursor:
    """Open a cursor that returns the server's text of every value; whole numbers and booleans keep their types.

    :param typed: further types to leave to Python.
    """
    cursor = connection.cursor()
    # A type that the driver has no cast for comes as text anyway.
    others = tuple({*extensions.string_types} - {*_LOSSLESS, *typed})
    extensions.register_type(extensions.new_type(others, "RUNBOOK_ANY", _text), cursor)
    return cursor


def _register(
    connection: extensions.connection, types: tuple[int, ...], arrays: tuple[int, ...], cast: _Cast, name: str
) -> None:
    one = extensions.new_type(types, name, cast)
    extensions.register_type(one, connection)
    extensions.register_type(extensions.new_array_type(arrays, f"{name}_ARRAY", one), connection)


def _text(value: Any, _cursor: Any) -> str | None:
    """Return the server's text, which the driver has decoded by the session's encoding already."""
    return None if value is None else remember(value)


def _date_or_text(cast: _Cast) -> _Cast:
    def date_or_text(value: str | None, cursor: Any) -> Any:
        # The driver would turn infinity into the last moment that Python knows, and 24:00 into midnight.
        if value is None or "infinity" in value or value.startswith("24:"):
            return value
        try:
            return cast(value, cursor)
        except (ValueError, OverflowError, psycopg2.Error):
            return value

    return date_or_text


def _document(text: Any, _cursor: Any) -> Any:
    if text is None:
        return None
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):  # a number with too many digits, or nesting too deep, for Python
        return remember(text)
    # Only an escape, or the character itself, can represent something hidden.
    return remember_all(document) if "\\" in text or not text.isprintable() else document
