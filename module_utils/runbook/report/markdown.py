"""Escape values for a Markdown page."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ..visible import printable, visible

#: Characters that start a link, image, tag, entity, code, emphasis, table cell or escape. An underscore inside a word
#: does not. Lines begin with our own words, so no value can start one.
_INLINE = re.compile(r"[`<\[\]|*]|~~|&(?=#?\w+;)|\\(?=[!-/:-@\[-`{-~]|$)|(?<![^\W_])_|_(?![^\W_])")


class Ready(str):
    """Text that is Markdown already."""

    __slots__ = ()


def text(value: Any) -> Ready:
    """Return a value for running text or a table cell; line breaks of a message are kept."""
    if isinstance(value, Ready):
        return value
    lines = str(printable(value)).split("\n")
    return Ready("\n".join(_INLINE.sub(_escaped, line) for line in lines))


def code(value: Any) -> Ready:
    """Return a value as code inside a line."""
    shown = visible(value).replace("|", "\\|")
    marks = _fence(shown, 1)
    space = " " if shown.startswith("`") or shown.endswith("`") or not shown.strip() else ""
    return Ready(f"{marks}{space}{shown}{space}{marks}")


def block(value: Any) -> Ready:
    """Return a value as a block of code on lines of its own."""
    shown = str(printable(value))
    marks = _fence(shown, 3)
    return Ready(f"{marks}\n{shown}\n{marks}")


def pairs(values: Any) -> Ready:
    """Return a dict as ``name = value``, anything else as text."""
    if isinstance(values, Mapping):
        return text(", ".join(f"{visible(name)} = {visible(value)}" for name, value in values.items()))
    return text(values)


def cell(value: Any) -> Ready:
    """Return a value for a table's cell, which is one line."""
    return text(visible(value))


def _escaped(match: re.Match[str]) -> str:
    return "".join(f"\\{letter}" for letter in match[0])


def _fence(shown: str, least: int) -> str:
    longest = max((len(run) for run in re.findall("`+", shown)), default=0)
    return "`" * max(least, longest + 1)


#: Filters of the pages. What a template prints without one passes through ``text``.
FILTERS = {"code": code, "block": block, "pairs": pairs, "cell": cell}
