"""Table locks: their names, one of them, and how a file or a plan writes it: ``schema.table MODE``."""

from __future__ import annotations

import dataclasses

LOCK_MODES = (
    "ACCESS SHARE",
    "ROW SHARE",
    "ROW EXCLUSIVE",
    "SHARE UPDATE EXCLUSIVE",
    "SHARE",
    "SHARE ROW EXCLUSIVE",
    "EXCLUSIVE",
    "ACCESS EXCLUSIVE",
)

LOCK_FORM = rf"([a-z_][\w$]*\.[a-z_][\w$]*)\s+({'|'.join(LOCK_MODES)})"


@dataclasses.dataclass(frozen=True)
class Lock:
    """A table the runner locks before a step, as ``-- lock:`` says."""

    table: str
    mode: str
