"""What a check expects of its row, as plan.yml writes it: judged, and said in words."""

from __future__ import annotations

import decimal
from collections.abc import Mapping
from typing import Any

#: Length of the text of a number that came as text for its digits.
SHORTEST_NUMBER = 17

WORDS = {"equals": "=", "at_least": ">=", "at_most": "<=", "contains": "contains"}


def in_words(expect: Mapping[str, Any]) -> str:
    """Return the expectation as a sentence part, for example ``left = 0 and lines >= orders``."""
    return " and ".join(f"{column} {_relation_in_words(wanted)}" for column, wanted in expect.items())


def unmet(expect: Mapping[str, Any], row: Mapping[str, Any]) -> list[str]:
    """Return the columns of a row that are not as expected, in the order of the plan.

    Values are plain (see ``plain.to_plain``). NULL meets nothing but an expected null.

    :raises ValueError: a column that the query does not return, or values that cannot be compared.
    """
    return [column for column, wanted in expect.items() if not _met(column, wanted, row)]


def _relation_in_words(wanted: Any) -> str:
    if not isinstance(wanted, Mapping):
        return f"= {_literal(wanted)}"
    ((relation, operand),) = wanted.items()
    shown = repr(operand) if relation == "contains" else str(operand)
    return f"{WORDS[relation]} {shown}"


def _literal(value: Any) -> str:
    names = {None: "NULL", True: "true", False: "false"}
    return names[value] if value is None or isinstance(value, bool) else str(value)


def _met(column: str, wanted: Any, row: Mapping[str, Any]) -> bool:
    found = _value(column, row)
    if not isinstance(wanted, Mapping):
        return _equal(found, wanted)
    ((relation, operand),) = wanted.items()
    if relation == "contains":
        return isinstance(found, str) and operand in found
    other = _value(operand, row) if isinstance(operand, str) else operand
    if relation == "equals":
        return _equal(found, other)
    if found is None or other is None:
        return False
    left, right = _as_numbers(found, other)
    try:
        return bool(left >= right) if relation == "at_least" else bool(left <= right)
    except decimal.InvalidOperation:
        return False  # NaN is neither
    except TypeError as error:
        raise ValueError(f"{column} = {found!r} cannot be compared with {other!r}") from error


def _value(column: str, row: Mapping[str, Any]) -> Any:
    if column not in row:
        raise ValueError(f"the query returns no column {column}; it returns {', '.join(row)}")
    return row[column]


def _equal(found: Any, wanted: Any) -> bool:
    """Equality in which true is not 1: the server tells booleans from numbers, so does the plan."""
    left, right = _as_numbers(found, wanted)
    return isinstance(found, bool) == isinstance(wanted, bool) and bool(left == right)


def _as_numbers(one: Any, other: Any) -> tuple[Any, Any]:
    """Return both as exact numbers where one of them is a number and the other the text of one that is too long.

    See ``plain.to_plain``: a shorter text is a text to the server too.
    """
    texts = [value for value in (one, other) if isinstance(value, str)]
    if len(texts) != 1 or (len(texts[0]) < SHORTEST_NUMBER and texts[0] not in ("NaN", "Infinity", "-Infinity")):
        return one, other
    try:
        return decimal.Decimal(str(one)), decimal.Decimal(str(other))
    except decimal.InvalidOperation:
        return one, other
