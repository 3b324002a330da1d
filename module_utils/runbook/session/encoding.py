"""The encoding of a session: UTF-8, or bytes as they are where the database does not say what its bytes mean."""

from __future__ import annotations

import codecs

import psycopg2.extensions

#: The server converts nothing for a client of this encoding.
BYTES = "SQL_ASCII"

#: Text that is UTF-8 reads as such; any other byte becomes a code point that stands for it, and goes back as that byte.
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
    """Read text of a database in SQL_ASCII as bytes: they may be of any encoding, or of several."""
    if connection.info.parameter_status("server_encoding") == BYTES:
        connection.set_client_encoding(BYTES)


def client_encoding(connection: psycopg2.extensions.connection) -> str:
    """Return the encoding that a client tool must use to write the bytes that this session reads."""
    return BYTES if connection.info.parameter_status("client_encoding") == BYTES else "UTF8"
