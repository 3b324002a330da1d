"""Determine what a plan writes to existing tables: from its declarations, or from its files."""

from __future__ import annotations

import dataclasses
import functools
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ...database.queries import read_query

COMMENT = re.compile(r"--[^\n]*")
#: A statement that writes rows: verb and table.
STATEMENT = re.compile(
    r"\b(INSERT|MERGE|UPDATE|DELETE|TRUNCATE)\s+(?:INTO\s+|FROM\s+|TABLE\s+)?(?:ONLY\s+)?(\w+\.\w+)", re.IGNORECASE
)

#: Keywords before the name of an object that a file creates, drops or looks up.
KEYWORDS = r"(?:CONSTRAINT|INDEX|TRIGGER|FUNCTION|VIEW|POLICY|RULE|CONCURRENTLY|EXISTS)"
#: A keyword in lower case counts only after one of these; otherwise it is a word of a message.
VERBS = r"\b(?:CREATE|DROP|ADD|ALTER|VALIDATE)\b(?:\s+\w+){0,4}?"


@dataclasses.dataclass(frozen=True)
class Writes:
    """What the plan writes to one table.

    :param filled: columns that the plan fills in every new row; None if the plan does not declare them.
    :param whole_rows: rows that the plan deleted are inserted again with all their columns.
    :param changed: columns that the plan updates; None if the plan does not declare them.
    :param rewritten: those of them that a migration changes in existing rows.
    :param quiet: the updates fire no trigger of the table.
    :param created_by: declarations with a query for the new rows.
    :param updated_by: declarations with a query for the rows after the update.
    """

    table: str
    inserts: bool = False
    filled: frozenset[str] | None = None
    whole_rows: bool = False
    updates: bool = False
    changed: frozenset[str] | None = None
    rewritten: frozenset[str] = frozenset()
    quiet: bool = False
    deletes: bool = False
    created_by: tuple[Mapping[str, Any], ...] = ()
    updated_by: tuple[Mapping[str, Any], ...] = ()

    def concerns(self, columns: Iterable[str]) -> bool:
        """Return whether the plan's writes can violate a rule over these columns."""
        if self.inserts and (self.filled is None or self.filled or not self.whole_rows):
            return True
        return self.updates and (self.changed is None or bool(self.changed & set(columns)))

    @property
    def declared(self) -> bool:
        """Return whether the plan declares the columns that it writes."""
        return (not self.inserts or self.filled is not None) and (not self.updates or self.changed is not None)


def writes_of(plan: Mapping[str, Any], table: str, text: str, pending: Iterable[str]) -> Writes:
    """Return what the plan writes to a table.

    :param text: the plan's files without their comments.
    :param pending: pending versions; a declaration with a version counts only while it is pending.
    """
    left = set(pending)
    creates = [entry for entry in plan.get("creates", ()) if entry["table"] == table]
    updates = [entry for entry in plan.get("updates", ()) if entry["table"] == table]
    due = [entry for entry in updates if entry["version"] is None or entry["version"] in left]
    filled = frozenset(column for entry in creates for column in entry["columns"])
    changed = frozenset(column for entry in due for column in entry["columns"])
    return Writes(
        table=table,
        inserts=bool(creates) or _shown(text, ("INSERT", "MERGE"), table),
        filled=filled if creates else None,
        whole_rows=any(entry["whole_rows"] for entry in creates),
        updates=bool(due) if updates else _shown(text, ("UPDATE", "MERGE"), table),
        changed=changed if updates else None,
        rewritten=frozenset(column for entry in due if entry["version"] for column in entry["columns"]),
        quiet=bool(due) and all(entry["quiet"] for entry in due),
        deletes=_shown(text, ("DELETE", "TRUNCATE", "MERGE"), table),
        created_by=tuple(entry for entry in creates if entry["rows"]),
        updated_by=tuple(entry for entry in due if entry["rows"]),
    )


def all_text(plan: Mapping[str, Any]) -> str:
    """Return the text of every file of the plan that writes, without comments."""
    paths = [migration[key] for migration in plan["migrations"] for key in ("file", "revert_file")]
    paths += [(plan.get("retirement") or {}).get("file"), (plan.get("rollback") or {}).get("functions")]
    present = [path for path in paths if path and os.path.isfile(path)]
    return COMMENT.sub("", "\n".join(read_query(path) for path in present))


def is_named(name: str, text: str) -> bool:
    """Return whether the plan's files create, drop or look up an object of this name."""
    if name.lower() not in _lower(text):
        return False
    word = re.escape(name)
    quoted_or_not = rf"(?:\"{word}\"|(?i:{word})(?!\w))"
    made_or_dropped = rf"(?:\b{KEYWORDS}|(?i:{VERBS}\s+{KEYWORDS}))\s+(?:\w+\.)?{quoted_or_not}"
    # A quoted name with an underscore is a lookup; a quoted single word can be any value.
    looked_up = rf"'{word}'" if "_" in name else rf"(?i:name)\s*=\s*'{word}'"
    return re.search(f"{made_or_dropped}|{looked_up}", text) is not None


@functools.lru_cache(maxsize=2)
def _lower(text: str) -> str:
    return text.lower()


@functools.lru_cache(maxsize=2)
def _statements(text: str) -> frozenset[tuple[str, str]]:
    """Return verb and table of every statement in a text that writes rows."""
    return frozenset((found[1].upper(), found[2].lower()) for found in STATEMENT.finditer(text))


def _shown(text: str, verbs: Sequence[str], table: str) -> bool:
    return any((verb, table.lower()) in _statements(text) for verb in verbs)
