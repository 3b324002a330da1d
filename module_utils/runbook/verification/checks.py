"""Checks of a plan: each reads one row, judges it, and on failure shows the rows that offend."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import RunbookError
from ..session.queries import read_query, rows_in_words
from ..session.readers import Readers
from ..visible import visible
from .answers import Answer, offending_rows, rows_of_checks
from .expectations import in_words, unmet

Result = dict[str, Any]

#: Longest text of observed values in the line of a check.
LINE_WIDTH = 100


def would_be_checked(checks: Sequence[Mapping[str, Any]]) -> list[Result]:
    """List checks that cannot run yet: what they look at is not applied, or for another reason (``why_not``)."""
    why = "its migration is not applied"
    return [{**_blank(check), "status": "would_be_checked", "why": check.get("why_not", why)} for check in checks]


def run_checks(readers: Readers, checks: Sequence[Mapping[str, Any]], counts: Mapping[str, int | None]) -> list[Result]:
    """Run every check on one instant; one that the server refuses does not stop the others.

    Checks with the same query are judged each for itself, by the one row that it gave.

    :param checks: a check with ``applied: false`` is listed only; those with ``asked_first`` are begun before the
        others, whatever their place in the list.
    :param counts: the snapshot's counts by name: whether a check that examined nothing had anything to examine.
    """
    results = [(check, _blank(check)) for check in checks if check.get("applied", True)]
    in_turn = sorted(results, key=lambda one: not one[0].get("asked_first", False))
    answers = rows_of_checks(readers, [result["query"] for _, result in in_turn])
    for check, result in results:
        _judge_answer(check, result, answers[result["query"]], counts)
    to_look_at = [
        (result, read_query(check["offenders"]))
        for check, result in results
        if result["status"] == "failed" and not result["error"] and check.get("offenders")
    ]
    offenders = offending_rows(readers, [text for _, text in to_look_at])
    for result, text in to_look_at:
        _add_offenders(result, offenders[text])
    ran = iter(result for _, result in results)
    return [next(ran) if check.get("applied", True) else would_be_checked([check])[0] for check in checks]


def judge(check: Mapping[str, Any], row: Mapping[str, Any], counts: Mapping[str, int | None]) -> tuple[str, str]:
    """Return status and reason for the row that a check's query returned.

    :raises ValueError: the row cannot be judged (a missing column, values that cannot be compared).
    """
    examined = row.get("rows_examined")
    if not isinstance(examined, int) or isinstance(examined, bool):
        raise ValueError("the query must return rows_examined, the number of rows it looked at")
    columns = unmet(check.get("expect") or {}, row)
    if check.get("informational"):
        return "information", ""
    nothing_there = examined == 0 and all(row[column] is None for column in columns)
    found = "found " + ", ".join(f"{column} = {_shown(row[column])}" for column in columns) if columns else ""
    if found and not nothing_there:
        return "failed", found
    if not nothing_there:
        return "passed", ""
    counted_by = check.get("counted_by")
    if counted_by is None:
        return "failed", found or "it examined no rows, so it proves nothing"
    counted = counts.get(counted_by)
    if counted:
        return "failed", f"it examined no rows, but the snapshot counted {counted} ({counted_by})"
    before = "no snapshot is known" if counted is None else f"the snapshot counted 0 ({counted_by})"
    return "nothing_to_examine", f"there are no rows to examine; {before}"


def failed(results: Sequence[Result]) -> list[Result]:
    """Return the results that failed."""
    return [result for result in results if result["status"] == "failed"]


def in_lines(results: Sequence[Result]) -> list[str]:
    """Return a line per check: status, title, what was found and how much was looked at."""
    return [_line(result) for result in results]


def refuse_failures(results: Sequence[Result], facts: Mapping[str, Any]) -> None:
    """Raise one error that reports every failed check with its offending rows; do nothing when none failed.

    :raises RunbookError: with ``facts`` as result keys.
    """
    failures = failed(results)
    if not failures:
        return
    texts = [_failure_in_words(result) for result in failures]
    raise RunbookError(
        f"{len(failures)} of {len(results)} checks failed.\n" + "\n".join(texts) + "\n",
        object_name=", ".join(result["name"] for result in failures),
        next_command="repair the rows shown (each check's query and offending rows are in the result), then run again",
        facts=dict(facts),
    )


def _judge_answer(check: Mapping[str, Any], result: Result, answer: Answer, counts: Mapping[str, int | None]) -> None:
    result["seconds"] = answer.seconds
    if answer.error:
        _note_error(result, answer)
    else:
        result["rows_examined"] = answer.row.get("rows_examined")
        result["observed"] = {name: value for name, value in answer.row.items() if name != "rows_examined"}
        try:
            result["status"], result["why"] = judge(check, answer.row, counts)
        except ValueError as error:
            _note_error(result, Answer(error=str(error)))
    if result["error"] and check.get("informational"):
        result["status"] = "information"


def _add_offenders(result: Result, answer: Answer) -> None:
    if answer.error:
        why = result["why"]
        _note_error(result, answer)
        result["why"] = f"{why}; its offending rows could not be read: {result['error']}"
    else:
        result["offenders"], result["offenders_total"] = answer.rows, answer.total


def _note_error(result: Result, answer: Answer) -> None:
    result["error"], result["sqlstate"] = answer.error, answer.sqlstate
    result["status"], result["why"] = "failed", answer.error


def _blank(check: Mapping[str, Any]) -> Result:
    """Every key of a result, before the query has run."""
    return {
        "name": check["name"],
        "title": check.get("title") or check["name"],
        "query": read_query(check["query"]),
        "query_file": check["query"],
        "expectation": in_words(check.get("expect") or {}) or "shown for information",
        "observed": {},
        "rows_examined": None,
        "seconds": 0.0,
        "status": "failed",
        "why": "",
        "error": "",
        "sqlstate": "",
        "offenders": [],
        "offenders_total": 0,
    }


def _failure_in_words(result: Result) -> str:
    examined = "" if result["rows_examined"] is None else f"; {result['rows_examined']} rows examined"
    text = (
        f"- {result['title']} ({result['name']}): {result['why'].rstrip('.')}. "
        f"Expected: {result['expectation']}{examined}."
    )
    if result["offenders"]:
        text += f" Offending rows, {result['offenders_total']} in all:\n"
        text += rows_in_words(result["offenders"], result["offenders_total"])
    return text


def _line(result: Result) -> str:
    seen = ", ".join(f"{name} = {_shown(value)}" for name, value in result["observed"].items())
    if len(seen) > LINE_WIDTH:
        seen = f"{seen[:LINE_WIDTH]}…"
    examined = "" if result["rows_examined"] is None else f" ({result['rows_examined']} rows examined)"
    why = f" [{result['why']}]" if result["why"] else ""
    return f"{result['status'].replace('_', ' ')}: {result['title']}: {seen or result['expectation']}{examined}{why}"


def _shown(value: Any) -> str:
    return "NULL" if value is None else visible(value)
