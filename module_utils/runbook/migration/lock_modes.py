"""Names of table locks, and how a file or a plan writes one: ``schema.table MODE``."""

from __future__ import annotations

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
