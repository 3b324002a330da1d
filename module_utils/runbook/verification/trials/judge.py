"""Decide which failed trials stop a run, and report them."""

from __future__ import annotations

import collections
import re
from collections.abc import Iterable, Mapping, Sequence

from ...errors import LeftAs, RunbookError
from .outcome import Result

#: Characters of a statement, and entries of an error's context, in a message.
STATEMENT_WIDTH = 120
CONTEXT_ENTRIES = 4
#: Start of an entry in an error's context; an entry may have several lines.
_ENTRY = re.compile(r"^(?=PL/|SQL |COPY |while )", re.MULTILINE)

FAILED_BEFORE = "it failed before the plan changed anything"


def tolerate_known_failures(results: Iterable[Result], known: Mapping[str, str]) -> None:
    """Mark failures of trials that failed before, according to the journal."""
    for result in results:
        if result.outcome == "failed" and known.get(result.name) == "failed" and not result.tolerated:
            result.tolerated = FAILED_BEFORE


def stopping(results: Iterable[Result]) -> list[Result]:
    """Return the failures that stop a run."""
    return [result for result in results if result.outcome == "failed" and not result.tolerated]


def answered(results: Iterable[Result]) -> list[tuple[str, str, str]]:
    """Return name, outcome and reason of those that passed or failed, for the journal."""
    return [(one.name, one.outcome, one.why) for one in results if one.outcome in ("passed", "failed")]


def to_lines(results: Sequence[Result]) -> list[str]:
    """Return a line per trial: outcome, title, statements and rows, why it did not pass."""
    return [_line(result) for result in results]


def to_few_lines(results: Sequence[Result]) -> list[str]:
    """Return a line with the number of trials that passed, then a line per trial that did not."""
    passed = sum(result.outcome == "passed" for result in results)
    return ([f"trials: {passed} of {len(results)} passed"] if passed else []) + to_lines(
        [result for result in results if result.outcome != "passed"]
    )


def failures_to_text(failures: Sequence[Result]) -> str:
    """Return each failure with its statement, the server's error, its context and the object that raised it.

    Failures with the same cause are shown once, with the names of the other trials.
    """
    by_cause: dict[tuple[str, str], list[Result]] = {}
    for failure in failures:
        cause = (failure.sqlstate, failure.object) if failure.object else (failure.name, "")
        by_cause.setdefault(cause, []).append(failure)
    lines = []
    for first, *others in by_cause.values():
        lines.append(_failure(first))
        lines += [f"- the same error: {_named(other)}" for other in others]
    return "\n".join(lines)


def failure_in_a_line(result: Result) -> str:
    """Return a failure without the context of its error."""
    state = f" (SQLSTATE {result.sqlstate})" if result.sqlstate else ""
    raised = f"; raised by {result.object}" if result.object else ""
    return f"{_named(result)} fails: {result.why}{state}{raised}; statement: {_short(result.statement)}"


def counts_to_text(results: Sequence[Result]) -> str:
    """Return how many trials have each outcome, with the number of their statements and rows."""
    outcomes = collections.Counter(result.outcome for result in results)
    counts = ", ".join(f"{number} {outcome.replace('_', ' ')}" for outcome, number in outcomes.items())
    statements, rows = sum(one.statements for one in results), sum(one.rows for one in results)
    return f"{len(results)} trials: {counts}; {statements} statements, {rows} rows" if results else "no trials"


def refuse_failures(results: Sequence[Result], *, state: str, next_command: str, left_as: LeftAs = "unchanged") -> None:
    """Raise one error with every failure that stops a run; do nothing without one.

    :param state: the state of the migration, as a sentence.
    :param next_command: what to run once the object is corrected.
    :raises RunbookError: with the first failure's object and SQLSTATE.
    """
    failures = stopping(results)
    if failures:
        raise RunbookError(
            f"{len(failures)} of {len(results)} trials failed: statements of the application do not work.\n"
            f"{failures_to_text(failures)}\n{state}\n",
            object_name=failures[0].object or failures[0].name,
            sqlstate=failures[0].sqlstate,
            left_as=left_as,
            next_command=f"{remedy(failures)}, then: {next_command}",
        )


def remedy(failures: Sequence[Result]) -> str:
    """Return what to change."""
    objects = [failure.object for failure in failures if failure.object]
    return (
        f"correct what raises the error ({objects[0]})"
        if objects
        else f"make the statement of trial {failures[0].name} succeed"
    )


def _line(result: Result) -> str:
    size = f" ({result.statements} statements, {result.rows} rows, {result.milliseconds:.0f} ms)"
    why = f" [{'; '.join(filter(None, (result.why, result.tolerated)))}]" if result.why else ""
    title = f"{result.by} application: {result.title}"
    return f"trial: {result.outcome.replace('_', ' ')}: {title}{size if result.statements else ''}{why}"


def _failure(result: Result) -> str:
    statement = _short(result.statement)
    state = f" (SQLSTATE {result.sqlstate})" if result.sqlstate else ""
    lines = [
        f"- {_named(result)}, as role {result.role}: {result.why}{state}",
        f"  statement: {statement} ({result.place})",
    ]
    entries = [_short(entry) for entry in _ENTRY.split(result.context) if entry.strip()]
    lines += [f"  context: {entry}" for entry in entries[:CONTEXT_ENTRIES]]
    if result.object:
        lines.append(f"  raised by: {result.object}")
    return "\n".join(lines)


def _named(result: Result) -> str:
    return f"{result.by} application: {result.title} (trial {result.name})"


def _short(text: str) -> str:
    line = " ".join(text.split())
    return f"{line[:STATEMENT_WIDTH]}…" if len(line) > STATEMENT_WIDTH else line
