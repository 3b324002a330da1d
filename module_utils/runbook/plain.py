"""Convert results to plain JSON values, at the boundary to Ansible."""

from __future__ import annotations

import datetime
import decimal
import math
import pathlib
import uuid
from typing import Any

#: A number with more digits stays text, because other JSON readers would lose digits.
MOST_DIGITS = 18


def to_plain(value: Any) -> Any:
    """Return ``value`` with only dict, list, str, int, float, bool and None inside.

    Whole decimals of up to 18 digits become int (counts from ``sum()``), those that a float holds exactly float, all
    others text, as do numbers that JSON lacks (NaN, infinity); times become ISO 8601 strings, intervals seconds, bytes
    hexadecimal text. Tuples and sets become lists (sets sorted).
    """
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, dict):
        return {str(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, (set, frozenset)):
        return sorted(to_plain(item) for item in value)
    if isinstance(value, (list, tuple)):
        return [to_plain(item) for item in value]
    if isinstance(value, (float, decimal.Decimal)):
        return _number(value)
    if isinstance(value, (datetime.datetime, datetime.date, datetime.time)):
        return value.isoformat()
    if isinstance(value, datetime.timedelta):
        return value.total_seconds()
    if isinstance(value, (uuid.UUID, pathlib.PurePath)):
        return str(value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value).hex()
    return str(value)


def _number(value: float | decimal.Decimal) -> int | float | str:
    if value != value or value in (math.inf, -math.inf):
        return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, float):
        return value
    if value.adjusted() < MOST_DIGITS and value.as_tuple().exponent >= -MOST_DIGITS:  # type: ignore[operator]
        if value == value.to_integral_value():
            return int(value)
        if decimal.Decimal(repr(float(value))) == value:
            return float(value)
    return format(value, "f") if abs(value.adjusted()) < 1000 else str(value)
