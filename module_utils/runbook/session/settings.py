"""What a session sets, and the proof that it holds: every setting is read back in a statement of its own."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping

import psycopg2.extensions

from .pooler import transaction_pooler


@dataclasses.dataclass(frozen=True)
class SessionSettings:
    """What a session sets and reads back. Zero means the server's "no limit".

    :param settings: further parameters of the server or of the plan (``prefix.name``) to their text value.
    """

    application_name: str = "runbook"
    statement_timeout_seconds: float = 0
    lock_timeout_seconds: float = 0.5
    idle_in_transaction_timeout_seconds: float = 300
    read_only: bool = False
    settings: Mapping[str, str] = dataclasses.field(default_factory=dict)


def apply_settings(connection: psycopg2.extensions.connection, wanted: SessionSettings) -> None:
    """Set every parameter, then read it back in another statement: a pooler may have changed sessions between."""
    values = {
        "statement_timeout": _milliseconds(wanted.statement_timeout_seconds),
        "lock_timeout": _milliseconds(wanted.lock_timeout_seconds),
        "idle_in_transaction_session_timeout": _milliseconds(wanted.idle_in_transaction_timeout_seconds),
        # A session that only waits (it holds the lease, or watches) must not be ended by a setting of its role.
        "idle_session_timeout": "0",
        "TimeZone": "UTC",
        "DateStyle": "ISO, MDY",
        "IntervalStyle": "iso_8601",
        "extra_float_digits": "1",
        "bytea_output": "hex",
        "search_path": "pg_catalog",
        "application_name": wanted.application_name[:63],
        "default_transaction_read_only": "on" if wanted.read_only else "off",
        **dict(wanted.settings),
    }
    if connection.server_version >= 170000:
        values["transaction_timeout"] = "0"
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT set_config(w.name, w.value, false) FROM unnest(%s::text[], %s::text[]) AS w (name, value)",
            (list(values), list(values.values())),
        )
        cursor.execute(
            "SELECT w.name, current_setting(w.name, true) FROM unnest(%s::text[]) AS w (name)", (list(values),)
        )
        held: dict[str, str | None] = dict(cursor.fetchall())
        for name, value in values.items():
            if not _same(found := held[name], value):
                raise transaction_pooler(f"the setting {name} was set to {value!r} and read back as {found!r}")


def _milliseconds(seconds: float) -> str:
    return f"{round(seconds * 1000)}ms"


def _same(found: str | None, value: str) -> bool:
    """Compare a setting as set and as shown: the server prints 300000ms as 5min, 65536kB as 64MB."""
    if found is None:
        return False
    units = {"ms": 1, "s": 1000, "min": 60000, "h": 3600000, "d": 86400000, "": 1}
    units |= {"kB": 1, "MB": 1024, "GB": 1024**2, "TB": 1024**3}

    def plain(text: str) -> str:
        match = re.fullmatch(r"(\d+)([a-zA-Z]*)", text.strip())
        return str(int(match[1]) * units[match[2]]) if match and match[2] in units else text.strip().replace('"', "")

    return plain(found) == plain(value)
