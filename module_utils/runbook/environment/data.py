"""Count the rows to move, and find those that the plan cannot move."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import psycopg2

from ..database.connection import Cursor
from ..database.queries import first_rows, one_row, read_query, savepoint
from ..errors import from_driver
from ..verification.findings import Finding, count_to_text
from .view import UNDETECTED, View


def volume_class(rows: int, classes: Sequence[Mapping[str, Any]]) -> str:
    """Return the name of the volume class for a number of rows."""
    for entry in classes:
        if entry.get("below_rows") is None or rows < entry["below_rows"]:
            return str(entry["name"])
    return ""


def examine_volume(view: View) -> Iterator[Finding]:
    """Count the rows to move; the volume class decides the expected minutes."""
    volume = view.plan["volume"]
    view.facts["volume"] = {"rows": None, "class": ""}
    try:
        with savepoint(view.cursor):
            row = one_row(view.cursor, read_query(volume["query"]))
        rows = int(next(iter(row.values())))
        view.facts["volume"] = {"rows": rows, "class": volume_class(rows, volume["classes"])}
    except (psycopg2.Error, ValueError, TypeError) as error:
        yield _unreadable("volume", volume["query"], error)


def examine_data(view: View) -> Iterator[Finding]:
    """Run each precondition that still applies; the rows that it returns prevent the migration."""
    entries = [
        entry
        for entry in view.plan["requirements"]["preconditions"]
        if entry["until"] is None or entry["until"] in view.pending
    ]
    for entry, found in zip(entries, view.side_by_side.map(_offenders, entries), strict=True):
        if isinstance(found, psycopg2.Error):
            yield _unreadable(entry["name"], entry["query"], found)
            continue
        rows, total = found
        if total:
            harm, repair = entry["meaning"], entry["repair"]
            about, number = os.path.relpath(entry["query"], view.plan.get("directory")), count_to_text(total)
            yield Finding(entry["name"], entry["severity"], about, f"{number} found", harm, repair, rows, total)


def _offenders(cursor: Cursor, entry: Mapping[str, Any]) -> tuple[list[dict[str, Any]], int] | psycopg2.Error:
    """Return a precondition's first rows and their number, or the server's error."""
    try:
        return first_rows(cursor, read_query(entry["query"]))
    except psycopg2.Error as error:
        if cursor.connection.closed:
            raise
        return error


def _unreadable(name: str, path: str, error: Exception) -> Finding:
    refused = isinstance(error, psycopg2.Error)
    text = from_driver(error, "the server refused the query").msg if refused else str(error)  # type: ignore[arg-type]
    return Finding(name, "blocking", path, f"{name} could not be read: {text}", UNDETECTED, f"correct {path}")
