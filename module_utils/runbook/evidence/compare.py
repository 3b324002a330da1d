"""Compare a snapshot with the database: expected and found values, and the rows that differ."""

from __future__ import annotations

import operator
from collections.abc import Callable, Collection, Mapping
from typing import Any, Literal

from ..database.connection import Cursor
from ..database.queries import savepoint
from ..database.readers import Readers
from ..errors import RunbookError, driver_errors
from .fingerprint import Fingerprint, as_column, columns_of, fingerprint, keyed_hashes, source_of
from .row_difference import RowDifference, checked, current_hashes, difference, together, unwritten
from .row_hashes import recorded_hashes
from .snapshot import count_now, fingerprint_of, sample_now
from .written_rows import ChangeLog, CountWrites, Writes

Expectation = Literal["migration", "restore"]

_HOLDS: dict[str, Callable[[Any, Any], Any]] = {"equal": operator.eq, "at_least": operator.ge, "at_most": operator.le}


def compare(
    cursor: Cursor,
    snapshot: Mapping[str, Any],
    directory: str,
    expectation: Expectation,
    change_log: ChangeLog | None = None,
    tables: Collection[str] | None = None,
    side_by_side: Readers | None = None,
) -> dict[str, Any]:
    """Compare inside the cursor's transaction. Nothing is written.

    :param expectation: ``migration``: each item's own relation; ``restore``: everything equal.
    :param change_log: what the application wrote since does not count as a difference: *before - old =
        after - new* must hold, or each row that it wrote must have been as the snapshot has it. Without a log every
        difference counts.
    :param tables: fingerprints of other tables are shown and not judged; None judges all.
    :param side_by_side: the cursor with others that read the same instant; None reads one item after the other.
    :returns: ``counts``, ``samples``, ``fingerprints`` (each with before, after, relation and status) and
        ``differences``: those with status ``failed``, with the rows that differ.
    """
    wanted: str | None = "equal" if expectation == "restore" else None
    counts = [_count(cursor, entry, wanted or entry["after_migration"], change_log) for entry in snapshot["counts"]]

    def compared(reader: Cursor, entry: Mapping[str, Any]) -> dict[str, Any]:
        relation = wanted or entry["after_migration"]
        if tables is not None and entry["table"] and entry["table"] not in tables:
            relation = "any"
        return _fingerprint(reader, entry, directory, relation, change_log.with_cursor(reader) if change_log else None)

    fingerprints = (side_by_side or Readers([cursor])).map(compared, snapshot["fingerprints"])
    return {
        "counts": counts,
        "samples": [
            {
                "name": entry["name"],
                "before": entry["rows"],
                "after": sample_now(cursor, entry["name"], entry["query"]),
            }
            for entry in snapshot["samples"]
        ],
        "fingerprints": fingerprints,
        "differences": [entry for entry in counts + fingerprints if entry["status"] == "failed"],
    }


def refuse_differences(found: Mapping[str, Any], what: str, next_command: str = "") -> None:
    """Raise when a comparison found differences, with all of them in the message and the result.

    :raises RunbookError: naming each item and its first rows.
    """
    differences = found["differences"]
    if differences:
        lines = "\n".join(f"- {entry['name']}: {entry['explanation']}" for entry in differences)
        items = len(found["counts"]) + len(found["fingerprints"])
        raise RunbookError(
            f"{what}: {len(differences)} of {items} items differ:\n{lines}\n",
            object_name=differences[0]["table"] or differences[0]["name"],
            next_command=next_command,
            facts=dict(found),
        )


def _count(cursor: Cursor, entry: Mapping[str, Any], relation: str, log: ChangeLog | None) -> dict[str, Any]:
    before, after = entry["value"], count_now(cursor, entry["name"], entry["query"])
    writes = log.of_count(entry) if log and relation != "any" else CountWrites()
    try:
        holds = relation == "any" or bool(_HOLDS[relation](after - writes.moved if writes.moved else after, before))
    except TypeError:
        holds = False  # NULL satisfies no bound
    words = {"equal": "", "at_least": "at least ", "at_most": "at most "}
    explanation = writes.unjudged
    if not holds and not explanation:
        moved = f", {writes.moved:+d} of them by the application" if writes.moved else ""
        explanation = f"{after} now{moved}, expected {words[relation]}{before}{_because(writes.unknown)}"
    judged = relation != "any" and not writes.unjudged
    return {
        "name": entry["name"],
        "kind": "count",
        "table": None,
        "relation": relation,
        "before": before,
        "after": after,
        "by_application": writes.moved,
        "status": "information" if not judged else "passed" if holds else "failed",
        "explanation": explanation,
    }


def _fingerprint(
    cursor: Cursor, entry: Mapping[str, Any], directory: str, relation: str, log: ChangeLog | None
) -> dict[str, Any]:
    before = fingerprint_of(entry)
    after: Fingerprint | None = None
    found: RowDifference | None = None
    writes = Writes()
    with driver_errors(f"comparing the fingerprint {entry['name']}", object_name=entry["table"] or entry["name"]):
        problem = _shape_problem(cursor, entry)
        if not problem:
            source = source_of(entry["table"], entry["query"])
            columns = [as_column(column) for column in entry["columns"]]
            after = fingerprint(cursor, source, columns)
            if log and relation != "any":
                writes = log.of_fingerprint(entry, source, columns)
            if relation != "any" and before - writes.old != after - writes.new:
                rows, path = recorded_hashes(entry, directory)
                behind = RowDifference()
                recorded = checked(rows, before, path)
                now = current_hashes(cursor, keyed_hashes(cursor, source, columns, entry["key"]))
                found = difference(
                    unwritten(recorded, writes.stream(cursor, "runbook_written_before"), behind),
                    unwritten(now, writes.stream(cursor, "runbook_written_now")),
                )
                found = together(found, behind)
    holds = relation == "any" or not (problem or (found and found.offending(relation)))
    return {
        "name": entry["name"],
        "kind": "fingerprint",
        "table": entry["table"],
        "relation": relation,
        "before": before.rows,
        "after": after.rows if after else None,
        "identical": after == before,
        "status": "information" if relation == "any" else "passed" if holds else "failed",
        "explanation": "" if holds else (problem or (found.to_text() if found else "")) + _because(writes.unknown),
        **(found or RowDifference()).facts(),
    }


def _because(unknown: str) -> str:
    return f" ({unknown})" if unknown else ""


def _shape_problem(cursor: Cursor, entry: Mapping[str, Any]) -> str:
    """Return why the recorded columns cannot be compared; empty if they can."""
    try:
        with savepoint(cursor), driver_errors("its rows cannot be read"):
            now = {column.name: column for column in columns_of(cursor, source_of(entry["table"], entry["query"]))}
    except RunbookError as error:
        return error.msg
    problems = []
    for column in map(as_column, entry["columns"]):
        if column.name not in now:
            problems.append(f"column {column.name} no longer exists")
        elif now[column.name].type_name != column.type_name:
            problems.append(f"column {column.name} was {column.type_name} and is {now[column.name].type_name}")
    return "; ".join(problems)
