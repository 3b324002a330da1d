"""Results cross to Ansible as JSON: one conversion, at the boundary."""

from __future__ import annotations

import datetime
import decimal
import pathlib
import uuid
from typing import Any


def to_plain(value: Any) -> Any:
    """Return ``value`` with only dict, list, str, int, float, bool and None inside.

    Whole decimals become int (counts from ``sum()``), others float; times become ISO 8601 strings,
    intervals seconds, bytes hexadecimal text. Tuples and sets become lists (sets sorted).
    """
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, dict):
        return {str(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, (set, frozenset)):
        return sorted(to_plain(item) for item in value)
    if isinstance(value, (list, tuple)):
        return [to_plain(item) for item in value]
    if isinstance(value, decimal.Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, (datetime.datetime, datetime.date, datetime.time)):
        return value.isoformat()
    if isinstance(value, datetime.timedelta):
        return value.total_seconds()
    if isinstance(value, (uuid.UUID, pathlib.PurePath)):
        return str(value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value).hex()
    return str(value)


def without_raw_bytes(value: Any) -> Any:
    """Return a plain value with each byte that is no UTF-8 as visible text, ``\\xe9``: Ansible refuses it otherwise.

    A database without an encoding holds such bytes, and its sessions read them as code points that stand for them.
    """
    if isinstance(value, str):
        return value.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    if isinstance(value, dict):
        return {without_raw_bytes(key): without_raw_bytes(item) for key, item in value.items()}
    return [without_raw_bytes(item) for item in value] if isinstance(value, list) else value
