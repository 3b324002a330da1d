"""Identify the server and database of a session, as manifests and snapshots record them."""

from __future__ import annotations

from typing import Any

from .connection import Cursor, rows_as_dicts

IDENTITY = """
SELECT pg_catalog.current_setting('server_version') AS version,
       pg_catalog.current_setting('server_version_num')::int / 10000 AS major,
       pg_catalog.current_database() AS database,
       current_user AS "user",
       pg_catalog.pg_encoding_to_char(d.encoding) AS encoding,
       pg_catalog.pg_is_in_recovery() AS is_replica,
       CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_last_wal_replay_lsn()
            ELSE pg_catalog.pg_current_wal_lsn() END::text AS lsn,
       pg_catalog.transaction_timestamp() AS time
  FROM pg_catalog.pg_database d
 WHERE d.datname = pg_catalog.current_database()
"""


def identity(cursor: Cursor) -> dict[str, Any]:
    """Return version, major, system_identifier, database, user, encoding, is_replica, lsn and time.

    ``system_identifier`` is text (it does not fit JSON's numbers), and empty if the role may not read it.
    """
    cursor.execute(IDENTITY)
    (facts,) = rows_as_dicts(cursor)
    return {**facts, "system_identifier": system_identifier(cursor)}


def system_identifier(cursor: Cursor) -> str:
    """Return the cluster's system identifier, or empty text: some providers revoke the right to read it."""
    cursor.execute(
        "SELECT pg_catalog.has_function_privilege('pg_catalog.pg_control_system()', 'EXECUTE')",
    )
    if cursor.fetchone() != (True,):
        return ""
    cursor.execute("SELECT system_identifier::text FROM pg_catalog.pg_control_system()")
    row = cursor.fetchone()
    return str(row[0]) if row else ""
