"""Marks: the comment lines that cut a migration file into steps and say what the runner locks first."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator

import pglast

from ..errors import RunbookError
from .lock_modes import LOCK_FORM, LOCK_MODES, Lock

_MARKS = ("step", "lock", "data")
MARK_FORMS = {
    "step": "-- step: what it does",
    "lock": "-- lock: schema.table ACCESS EXCLUSIVE",
    "data": "-- data",
}
_MARK_LIKE = re.compile(r"--\s*(?:(?P<word>[A-Za-z_]+)\s*:|(?P<alone>step|lock|data)\s*$)", re.IGNORECASE)
_LOCK = re.compile(LOCK_FORM)


def find_marks(text: str, path: str) -> Iterator[tuple[int, str, str]]:
    """Each mark: its offset, its word and what follows the colon. Comments inside function bodies are not seen."""
    for token in pglast.scan(text):
        if token.name != "SQL_COMMENT" or (token.start > 0 and text[token.start - 1] != "\n"):
            continue
        comment = text[token.start : token.end + 1].rstrip()
        found = _MARK_LIKE.match(comment)
        if not found:
            continue
        word = (found["word"] or found["alone"]).lower()
        close = difflib.get_close_matches(word, _MARKS, n=1, cutoff=0.75)
        if not close:
            continue  # an ordinary comment: "-- why: …"
        value = comment.partition(":")[2].strip()
        exact = comment == "-- data" if close[0] == "data" else comment.startswith(f"-- {close[0]}: ") and value != ""
        if not exact:
            what = f"unknown mark {comment!r} (a comment that is none must not begin like one)"
            raise file_error(path, line_of(text, token.start), what, MARK_FORMS[close[0]])
        yield token.start, close[0], value


def read_lock(path: str, line: int, value: str) -> Lock:
    found = _LOCK.fullmatch(value)
    if not found:
        raise file_error(
            path, line, f"cannot read the lock {value!r} (modes: {', '.join(LOCK_MODES)})", MARK_FORMS["lock"]
        )
    return Lock(table=found[1], mode=found[2])


def line_of(text: str, offset: int) -> int:
    return text.count("\n", 0, offset) + 1


def file_error(path: str, line: int, what: str, form: str = "") -> RunbookError:
    return RunbookError(
        f"{path}:{line}: {what}{f': write `{form}`' if form else ''}.",
        object_name=f"{path}:{line}",
        next_command=f"edit {path}",
    )


def error_at(text: str, path: str, offset: int, what: str, form: str = "") -> RunbookError:
    """As file_error, for a place in the text."""
    return file_error(path, line_of(text, offset), what, form)
