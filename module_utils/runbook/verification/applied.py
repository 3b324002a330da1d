"""Which of the things to verify are applied, as the migration history has it at the instant of the verification."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..journal import ledger
from ..session.connection import Cursor


def as_applied(
    cursor: Cursor, entries: Iterable[Mapping[str, Any]], versions: Iterable[str] = ()
) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the entries, those whose ``needs_versions`` are not all there as not applied, and what is lacking.

    :param versions: further ones to look for.
    """
    entries = list(entries)
    wanted = sorted({*versions, *(version for entry in entries for version in entry.get("needs_versions") or [])})
    pending = missing_versions(cursor, wanted)
    told = [
        {**entry, "applied": entry.get("applied", True) and not set(entry.get("needs_versions") or []) & set(pending)}
        for entry in entries
    ]
    return told, pending


def missing_versions(cursor: Cursor, versions: Iterable[str]) -> list[str]:
    """Return which of these versions the migration history lacks; without any to look for it is not read."""
    versions = list(versions)
    known = ledger.read(cursor) if versions else {}
    return [version for version in versions if version not in known]
