"""The data snapshot: counts, samples and fingerprints of one instant, kept as snapshot.json and row-hash files."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from typing import Any

from ..database import queries
from ..database.connection import Cursor
from ..database.identity import identity
from ..database.queries import first_rows, one_row, read_query
from ..database.readers import Readers
from ..errors import RunbookError, driver_errors
from ..plain import to_plain
from ..private_files import read_json, write_json
from ..visible import printable
from .fingerprint import METHOD, Fingerprint
from .row_difference import RowDifference
from .row_hashes import RowHashes

RELATIONS = ["equal", "at_least", "at_most", "any"]


def snapshot_options() -> dict[str, Any]:
    """Return ``counts``, ``samples`` and ``fingerprints`` of an argument_spec."""
    name = {"type": "str", "required": True}
    query = {"type": "path", "required": True}
    fingerprint = {
        "name": name,
        "table": {"type": "str"},
        "query": {"type": "path"},
        "key": {"type": "str", "required": True},
        "by_application": {"type": "path"},
        "after_migration": {"type": "str", "choices": RELATIONS, "default": "equal"},
    }
    count = {
        "name": name,
        "query": query,
        "after_migration": {"type": "str", "choices": RELATIONS, "default": "any"},
        "by_application": {"type": "path"},
    }
    return {
        "counts": _listing(count),
        "samples": _listing({"name": name, "query": query}),
        "fingerprints": {
            **_listing(fingerprint),
            "mutually_exclusive": [["table", "query"]],
            "required_one_of": [["table", "query"]],
        },
    }


def _listing(options: dict[str, Any]) -> dict[str, Any]:
    return {"type": "list", "elements": "dict", "default": [], "options": options}


SNAPSHOT_FILE = "snapshot.json"

#: Rows kept of each sample.
SAMPLE_ROWS = 100

Definition = Mapping[str, Any]


def take(
    side_by_side: Readers,
    directory: str,
    counts: Sequence[Definition],
    samples: Sequence[Definition],
    fingerprints: Sequence[Definition],
) -> dict[str, Any]:
    """Take a snapshot of the readers' instant and write it into an existing, empty directory.

    :param counts: of ``name``, ``query`` (a file), ``after_migration``; likewise samples.
    :param fingerprints: of ``name``, ``table`` or ``query``, ``key``, ``after_migration``.
    :returns: what snapshot.json holds.
    :raises RunbookError: a query failed or does not have the shape it needs.
    """
    cursor = side_by_side.first
    snapshot: dict[str, Any] = {
        "snapshot_version": 1,
        "method": METHOD,
        # What this transaction sees: the change log leaves out what was written before.
        "server": {
            **identity(cursor),
            "visible": queries.value(cursor, "SELECT pg_catalog.pg_current_snapshot()::text"),
        },
        "counts": [_count(cursor, definition) for definition in counts],
        "samples": [_sample(cursor, definition) for definition in samples],
        "fingerprints": _fingerprints(side_by_side, fingerprints, directory),
    }
    snapshot = to_plain(snapshot)
    write_json(os.path.join(directory, SNAPSHOT_FILE), snapshot)
    return snapshot


def load(directory: str) -> dict[str, Any]:
    """Read a snapshot.

    :raises RunbookError: it is missing, damaged, or made by another method.
    """
    path = os.path.join(directory, SNAPSHOT_FILE)
    snapshot = read_json(path, "the data snapshot", f"ls -l {directory}")
    if snapshot.get("snapshot_version") != 1 or snapshot.get("method") != METHOD:
        raise RunbookError(
            f"{path} was made by another version of the runbook (method {snapshot.get('method')!r}, "
            f"not {METHOD!r}): its fingerprints cannot be compared.",
            object_name=path,
        )
    return snapshot


def identity_of(directory: str, final_directory: str) -> dict[str, str]:
    """Return what a backup's manifest records of a snapshot: its place and the SHA-256 of snapshot.json."""
    with open(os.path.join(directory, SNAPSHOT_FILE), "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"directory": os.path.abspath(final_directory), "sha256": digest}


def count_now(cursor: Cursor, name: str, text: str) -> Any:
    """Return the single value of a count's query.

    :raises RunbookError: it fails, or does not return exactly one row with one column.
    """
    with driver_errors(f"the snapshot's count {name}", object_name=name):
        try:
            row = one_row(cursor, text)
        except ValueError as error:
            raise RunbookError(f"the snapshot's count {name}: {error}.", object_name=name) from error
    if len(row) != 1:
        raise RunbookError(
            f"the snapshot's count {name}: the query must return one column; it returned {', '.join(row)}.",
            object_name=name,
        )
    return next(iter(row.values()))


def sample_now(cursor: Cursor, name: str, text: str) -> list[dict[str, Any]]:
    """Return a sample's first rows."""
    with driver_errors(f"the snapshot's sample {name}", object_name=name):
        rows: list[dict[str, Any]] = printable(first_rows(cursor, text, SAMPLE_ROWS)[0])
        return rows


def fingerprint_of(entry: Mapping[str, Any]) -> Fingerprint:
    """Return the fingerprint that an entry of ``fingerprints`` records."""
    return Fingerprint(entry["rows"], int(entry["total"]))


def _count(cursor: Cursor, definition: Definition) -> dict[str, Any]:
    text = read_query(definition["query"])
    value = count_now(cursor, definition["name"], text)
    return {
        "name": definition["name"],
        "query": text,
        "after_migration": definition.get("after_migration") or "any",
        "by_application": _text(definition, "by_application"),
        "value": value,
    }


def _sample(cursor: Cursor, definition: Definition) -> dict[str, Any]:
    text = read_query(definition["query"])
    return {"name": definition["name"], "query": text, "rows": sample_now(cursor, definition["name"], text)}


def _fingerprints(side_by_side: Readers, definitions: Sequence[Definition], directory: str) -> list[dict[str, Any]]:
    """Take the fingerprints; the sessions share the parts of large tables."""
    taken = [RowHashes(side_by_side.first, definition, directory) for definition in definitions]
    parts = [(hashes, part) for hashes in taken for part in hashes.parts]
    parts.sort(key=lambda one: one[1] is not None)  # first, because it cannot be divided among sessions
    side_by_side.map(lambda cursor, one: one[0].read(cursor, one[1]), parts)
    return [hashes.entry() for hashes in taken]


def _text(definition: Definition, key: str) -> str | None:
    return read_query(definition[key]) if definition.get(key) else None


def facts_of(snapshot: Mapping[str, Any], directory: str) -> dict[str, Any]:
    """Return a snapshot as result keys, with equal values before and after."""
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


def to_text(snapshot: Mapping[str, Any]) -> str:
    """Return the contents of a snapshot in numbers."""
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
