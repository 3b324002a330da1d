"""Run every examination of the survey, then apply what the inventory accepts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from ...database.connection import Cursor, Stopwatch
from ...errors import LeftAs, RunbookError
from ...verification.checks import blank_result
from ...verification.findings import Finding, in_order, to_text
from .. import history
from ..view import View, refusal_as_finding
from . import (
    columns,
    constraints,
    dependents,
    evaluate,
    event_triggers,
    references,
    sample_updates,
    samples,
    streams,
    tables,
    triggers,
)
from .accept import with_acceptance
from .subject import Direction, Subject

Examination = Callable[[Subject], Iterator[Finding]]

EXAMINATIONS: tuple[Examination, ...] = (
    columns.examine_required_columns,
    columns.examine_generated_columns,
    columns.examine_collations,
    triggers.examine_silenced_triggers,
    triggers.examine_row_triggers,
    triggers.examine_rules,
    event_triggers.examine_event_triggers,
    constraints.examine_deferrable,
    tables.examine_kinds,
    tables.examine_grants,
    dependents.examine_dependents,
    dependents.examine_functions,
    references.examine_keys_from_outside,
    references.examine_keys_of_changed_columns,
    streams.examine_subscriptions,
    streams.examine_replica_identity,
    streams.examine_publications,
    evaluate.examine_created_rows,
    samples.examine_samples,
    sample_updates.examine_sampled_updates,
)


def survey(view: View, direction: Direction = "applied") -> list[Finding]:
    """Return findings about what the plan does not know in the schema."""
    subject = Subject(view, direction)
    findings: list[Finding] = []
    for examination in EXAMINATIONS:
        name = examination.__name__.removeprefix("examine_")
        findings += refusal_as_finding(name, view.cursor, partial(examination, subject))
    return list(with_acceptance(findings, view.accepted))


def examine_survey(view: View) -> Iterator[Finding]:
    """Survey the schema before the migrations."""
    yield from survey(view)


def survey_again(
    cursor: Cursor,
    plan: Mapping[str, Any],
    direction: Direction,
    accepted: Sequence[Mapping[str, Any]],
    settings: Mapping[str, Any] | None = None,
) -> list[Finding]:
    """Survey again during a run, without samples: others may have deployed meanwhile.

    :param cursor: in a read-only snapshot.
    """
    view = View(
        cursor=cursor,
        plan=plan,
        settings=settings or {},
        expected={},
        thresholds={},
        options={},
        accepted=tuple(accepted),
    )
    history.read_history(view)
    return in_order(survey(view, direction))


def refuse_blocking(
    findings: Sequence[Finding], what: str, left_as: LeftAs, next_command: str, facts: Mapping[str, Any]
) -> None:
    """Raise one error for the blocking findings; do nothing without one.

    :param what: what does not start, for the message.
    :raises RunbookError: with ``facts`` as result keys.
    """
    blocking = [finding for finding in findings if finding.severity == "blocking"]
    if blocking:
        raise RunbookError(
            f"{what} does not start: the plan cannot work with this schema.\n{to_text(blocking)}\n",
            object_name=", ".join(dict.fromkeys(finding.object for finding in blocking)),
            left_as=left_as,
            next_command=f"correct what is marked as blocking above, then {next_command}",
            facts=dict(facts),
        )


NAME = "survey"


def survey_check(
    cursor: Cursor, plan: Mapping[str, Any], settings: Mapping[str, Any], accepted: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """Survey the schema and return it as the result of a check; blocking findings are its offending rows."""
    stopwatch = Stopwatch()
    findings = survey_again(cursor, plan, "applied", accepted, settings)
    offenders = [
        {"finding": finding.name, "object": finding.object, "found": finding.found, "repair": finding.repair}
        for finding in findings
        if finding.severity == "blocking"
    ]
    result = blank_result(NAME, "The plan can work with this schema", "blocking = 0")
    return {
        **result,
        "observed": {"blocking": len(offenders)},
        "rows_examined": len(plan["protected_tables"]),
        "seconds": stopwatch.seconds(),
        "status": "failed" if offenders else "passed",
        "why": f"found {', '.join(str(entry['finding']) for entry in offenders)}" if offenders else "",
        "offenders": offenders,
        "offenders_total": len(offenders),
    }
