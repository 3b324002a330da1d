"""Run the checks of a plan: read one row each, judge it, and show the offending rows of a failure."""

from __future__ import annotations

import dataclasses
import decimal
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import psycopg2

from ..database.connection import Cursor, Stopwatch
from ..database.queries import ROWS_SHOWN, first_rows, one_row, read_query, rows_shown, rows_to_text
from ..database.readers import Readers
from ..errors import RunbookError, from_driver
from ..visible import visible

#: The shortest text that can be a number too long for a JSON number.
SHORTEST_NUMBER = 17

Asked = TypeVar("Asked")

WORDS = {"equals": "=", "at_least": ">=", "at_most": "<=", "contains": "contains"}


def to_text(expect: Mapping[str, Any]) -> str:
    """Return the expectation as text, for example ``left = 0 and lines >= orders``."""
    return " and ".join(f"{column} {_relation_to_text(wanted)}" for column, wanted in expect.items())


def unmet(expect: Mapping[str, Any], row: Mapping[str, Any]) -> list[str]:
    """Return the columns of a row that are not as expected, in the order of the plan.

    Values are plain (see ``plain.to_plain``). NULL meets only an expected null.

    :raises ValueError: the query does not return a column, or values cannot be compared.
    """
    return [column for column, wanted in expect.items() if not _met(column, wanted, row)]


def _relation_to_text(wanted: Any) -> str:
    if not isinstance(wanted, Mapping):
        return f"= {_literal(wanted)}"
    ((relation, operand),) = wanted.items()
    shown = repr(operand) if relation == "contains" else str(operand)
    return f"{WORDS[relation]} {shown}"


def _literal(value: Any) -> str:
    names = {None: "NULL", True: "true", False: "false"}
    return names[value] if value is None or isinstance(value, bool) else str(value)


def _met(column: str, wanted: Any, row: Mapping[str, Any]) -> bool:
    found = _value(column, row)
    if not isinstance(wanted, Mapping):
        return _equal(found, wanted)
    ((relation, operand),) = wanted.items()
    if relation == "contains":
        return isinstance(found, str) and operand in found
    other = _value(operand, row) if isinstance(operand, str) else operand
    if relation == "equals":
        return _equal(found, other)
    if found is None or other is None:
        return False
    left, right = _as_numbers(found, other)
    try:
        return bool(left >= right) if relation == "at_least" else bool(left <= right)
    except decimal.InvalidOperation:
        return False  # NaN is neither
    except TypeError as error:
        raise ValueError(f"{column} = {found!r} cannot be compared with {other!r}") from error


def _value(column: str, row: Mapping[str, Any]) -> Any:
    if column not in row:
        raise ValueError(f"the query returns no column {column}; it returns {', '.join(row)}")
    return row[column]


def _equal(found: Any, wanted: Any) -> bool:
    """Compare as the server does: true does not equal 1."""
    left, right = _as_numbers(found, wanted)
    return isinstance(found, bool) == isinstance(wanted, bool) and bool(left == right)


def _as_numbers(one: Any, other: Any) -> tuple[Any, Any]:
    """Return both as exact numbers if one is a number and the other the text of a long number (``plain.to_plain``)."""
    texts = [value for value in (one, other) if isinstance(value, str)]
    if len(texts) != 1 or (len(texts[0]) < SHORTEST_NUMBER and texts[0] not in ("NaN", "Infinity", "-Infinity")):
        return one, other
    try:
        return decimal.Decimal(str(one)), decimal.Decimal(str(other))
    except decimal.InvalidOperation:
        return one, other


@dataclasses.dataclass(frozen=True)
class Answer:
    """The answer to one query.

    :param row: the row of a check; empty after an error.
    :param rows: the first offending rows; ``total`` is their number.
    :param error: the server's error, or what is wrong with the result; empty without one.
    """

    row: dict[str, Any] = dataclasses.field(default_factory=dict)
    rows: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    total: int = 0
    error: str = ""
    sqlstate: str = ""
    seconds: float = 0.0


@dataclasses.dataclass(frozen=True)
class Question:
    """What a check asks.

    :param text: its query; or the query for its offenders, which are counted.
    :param examined: of a check without a query, the query that counts the rows that were examined.
    """

    text: str
    examined: str = ""


def answers_of_checks(readers: Readers, questions: Iterable[Question]) -> dict[Question, Answer]:
    """Ask for the one row of each check, or count its offenders. Checks that ask the same share the answer."""

    def ask(cursor: Cursor, question: Question) -> Answer:
        if not question.examined:
            return Answer(row=one_row(cursor, question.text))
        rows, total = first_rows(cursor, question.text, ROWS_SHOWN)
        (examined,) = one_row(cursor, question.examined).values()
        return Answer({"offending_rows": total, "rows_examined": examined}, rows_shown(rows), total)

    return _ask_each(readers, ask, questions)


def offending_rows(readers: Readers, texts: Iterable[str]) -> dict[str, Answer]:
    """Run each query for offending rows and return its first rows."""

    def ask(cursor: Cursor, text: str) -> Answer:
        rows, total = first_rows(cursor, text, ROWS_SHOWN)
        return Answer(rows=rows_shown(rows), total=total)

    return _ask_each(readers, ask, texts)


def _ask_each(readers: Readers, ask: Callable[[Cursor, Asked], Answer], asked: Iterable[Asked]) -> dict[Asked, Answer]:
    def answer_or_error(cursor: Cursor, text: Asked) -> Answer:
        """Turn an error into an answer; a lost connection fails the whole call."""
        watch = Stopwatch()
        try:
            found = ask(cursor, text)
        except psycopg2.Error as error:
            if cursor.connection.closed:
                raise
            refused = from_driver(error, "the server refused the query")
            found = Answer(error=refused.msg, sqlstate=refused.sqlstate)
        except ValueError as error:
            found = Answer(error=str(error))
        return dataclasses.replace(found, seconds=watch.seconds())

    once = list(dict.fromkeys(asked))
    return dict(zip(once, readers.map(answer_or_error, once), strict=True))


Result = dict[str, Any]

#: Characters of the observed values in the line of a check.
LINE_WIDTH = 100


def would_be_checked(checks: Sequence[Mapping[str, Any]]) -> list[Result]:
    """Return a result for each check that cannot run yet, with the reason (``why_not``, or not applied)."""
    why = "its migration is not applied"
    return [{**_blank(check), "status": "would_be_checked", "why": check.get("why_not", why)} for check in checks]


def blank_result(name: str, title: str, expectation: str, query: str = "", query_file: str = "") -> Result:
    """Return the result of a check that has not run, with every key."""
    return {
        "name": name,
        "title": title,
        "query": query,
        "query_file": query_file,
        "expectation": expectation,
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


def run_checks(readers: Readers, checks: Sequence[Mapping[str, Any]], counts: Mapping[str, int | None]) -> list[Result]:
    """Run every check on one database snapshot; an error in one does not stop the others.

    :param checks: those with ``applied: false`` are only listed; those with ``asked_first`` start before the others.
    :param counts: the data snapshot's counts by name; they show whether a check without rows had any to examine.
    """
    results = [(check, _blank(check)) for check in checks if check.get("applied", True)]
    longest_first = sorted(results, key=lambda one: not one[0].get("asked_first", False))
    answers = answers_of_checks(readers, [_question(check, result) for check, result in longest_first])
    for check, result in results:
        answer = answers[_question(check, result)]
        _judge_answer(check, result, answer, counts)
        result["offenders"], result["offenders_total"] = answer.rows, answer.total
    unmet_checks = [
        (result, read_query(check["offenders"]))
        for check, result in results
        if check.get("query") and result["status"] == "failed" and not result["error"] and check.get("offenders")
    ]
    offenders = offending_rows(readers, [text for _, text in unmet_checks])
    for result, text in unmet_checks:
        _add_offenders(result, offenders[text])
    ran = iter(result for _, result in results)
    return [next(ran) if check.get("applied", True) else would_be_checked([check])[0] for check in checks]


def judge(check: Mapping[str, Any], row: Mapping[str, Any], counts: Mapping[str, int | None]) -> tuple[str, str]:
    """Return status and reason for the row that a check's query returned.

    :raises ValueError: a column is missing, or values cannot be compared.
    """
    examined = row.get("rows_examined")
    if not isinstance(examined, int) or isinstance(examined, bool):
        raise ValueError("the query must return rows_examined, the number of rows that it examined")
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
    before = "there is no snapshot" if counted is None else f"the snapshot counted 0 ({counted_by})"
    return "nothing_to_examine", f"there are no rows to examine; {before}"


def failed(results: Sequence[Result]) -> list[Result]:
    """Return the results that failed."""
    return [result for result in results if result["status"] == "failed"]


def to_lines(results: Sequence[Result]) -> list[str]:
    """Return a line per check: status, title, observed values, rows examined."""
    return [_line(result) for result in results]


def refuse_failures(results: Sequence[Result], facts: Mapping[str, Any]) -> None:
    """Raise one error with every failed check and its offending rows; do nothing when none failed.

    :raises RunbookError: with ``facts`` as result keys.
    """
    failures = failed(results)
    if not failures:
        return
    texts = [_failure_to_text(result) for result in failures]
    raise RunbookError(
        f"{len(failures)} of {len(results)} checks failed.\n" + "\n".join(texts) + "\n",
        object_name=", ".join(result["name"] for result in failures),
        next_command="repair these rows (the result has each check's query and offending rows), then run again",
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


def _question(check: Mapping[str, Any], result: Result) -> Question:
    return Question(result["query"], "" if check.get("query") else read_query(check["examined"]))


def _blank(check: Mapping[str, Any]) -> Result:
    file = check.get("query") or check["offenders"]
    expectation = to_text(check.get("expect") or {}) or "shown for information"
    return blank_result(check["name"], check.get("title") or check["name"], expectation, read_query(file), file)


def _failure_to_text(result: Result) -> str:
    examined = "" if result["rows_examined"] is None else f"; {result['rows_examined']} rows examined"
    text = (
        f"- {result['title']} ({result['name']}): {result['why'].rstrip('.')}. "
        f"Expected: {result['expectation']}{examined}."
    )
    if result["offenders"]:
        text += f" Offending rows, {result['offenders_total']} in all:\n"
        text += rows_to_text(result["offenders"], result["offenders_total"])
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
