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
