"""Escape the cells of a work list: a spreadsheet must neither execute nor hide a value, and it is read back unchanged.

A value that could be executed, contains an invisible character or begins with an apostrophe is written with an
apostrophe in front and ``\\`` escapes. Every other value is written unchanged. An empty cell is NULL or an empty text,
whichever the database has there; a single apostrophe is an empty text.
"""

from __future__ import annotations

import re

from ..visible import HIDDEN, visible

MARK = "'"

#: Tabs and spaces only: safe, and visibly blank.
_BLANK = re.compile("[ \t]*")

#: A formula begins with one of these, in any width. Some spreadsheets ignore white space and quotes before it.
_FORMULA = "=+\\-@\uff1d\uff0b\uff0d\uff20\ufe66\ufe62\ufe63\ufe6b\u2212"
_BEFORE = "[\\s\"'\u2018\u2019\uff07]*"
_BEGINS = re.compile(f"{_BEFORE}[{_FORMULA}]")
#: If the list is opened with another separator, a cell begins after that separator.
_BEGINS_LATER = re.compile(f"(?<=[;,])({_BEFORE})([{_FORMULA}])")
_ESCAPED = re.compile(r"\\(\\|n|r|t|x[0-9a-f]{2}|u[0-9a-f]{4}|U[0-9a-f]{8})")
_SHORT = {"\\": "\\", "n": "\n", "r": "\r", "t": "\t"}


def written(value: str | None) -> str:
    """Return the cell for a value."""
    if value is None or _BLANK.fullmatch(value):
        return value or ""
    later = _BEGINS_LATER.search(value)
    if not (value.startswith(MARK) or HIDDEN.search(value) or _BEGINS.match(value) or later):
        return value
    text = value.replace("\\", "\\\\")
    text = _BEGINS_LATER.sub(lambda found: found[1] + _code(found[2]), text)
    return MARK + visible(text)


def read(cell: str) -> str | None:
    """Return the value of a cell. Text that a person typed and that only resembles an escaped cell is not changed."""
    if not cell:
        return None
    if cell == MARK:
        return ""
    if cell.startswith(MARK):
        value = _ESCAPED.sub(lambda found: _character(found[1]), cell[len(MARK) :])
        if written(value) == cell:
            return value
    return cell


def _code(letter: str) -> str:
    return f"\\x{ord(letter):02x}" if ord(letter) < 0x100 else f"\\u{ord(letter):04x}"


def _character(code: str) -> str:
    return _SHORT.get(code) or chr(int(code[1:], 16))
