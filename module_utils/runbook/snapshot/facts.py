"""A snapshot as result keys and in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .row_difference import RowDifference


def facts_of(snapshot: Mapping[str, Any], directory: str) -> dict[str, Any]:
    """Return a snapshot as result keys, before and after being the same."""
    counts = [{**_as_compared(entry, "count", entry["value"]), "by_application": 0} for entry in snapshot["counts"]]
    fingerprints = [
        {
            **_as_compared(entry, "fingerprint", entry["rows"]),
            "table": entry["table"],
            "identical": True,
            **RowDifference().facts(),
        }
        for entry in snapshot["fingerprints"]
    ]
    return {
        "directory": directory,
        "taken_at": snapshot["server"]["time"],
        "counts": counts,
        "counts_by_name": {entry["name"]: entry["value"] for entry in snapshot["counts"]},
        "samples": [
            {"name": entry["name"], "before": entry["rows"], "after": entry["rows"]} for entry in snapshot["samples"]
        ],
        "fingerprints": fingerprints,
        "change_log": False,
        "differences": [],
    }


def in_words(snapshot: Mapping[str, Any]) -> str:
    """Return how much a snapshot holds."""
    rows = sum(entry["rows"] for entry in snapshot["fingerprints"])
    return (
        f"{len(snapshot['counts'])} counts, {len(snapshot['samples'])} samples, "
        f"{len(snapshot['fingerprints'])} fingerprints over {rows} rows"
    )


def _as_compared(entry: Mapping[str, Any], kind: str, value: Any) -> dict[str, Any]:
    return {
        "name": entry["name"],
        "kind": kind,
        "table": None,
        "relation": entry["after_migration"],
        "before": value,
        "after": value,
        "status": "information",
        "explanation": "",
    }
