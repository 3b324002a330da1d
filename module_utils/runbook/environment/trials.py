"""Run the trials before a migration: a failure now is not caused by it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import psycopg2

from ..errors import RunbookError, from_driver
from ..verification.findings import Finding
from ..verification.trials.judge import failure_in_a_line, remedy
from ..verification.trials.outcome import Result
from ..verification.trials.session_trials import run_valid_trials
from ..verification.trials.trial import read_trial

UNPROVEN = "nothing proves that this statement keeps working, and the run continues without that proof"


def examine_trials(
    params: Mapping[str, Any], applied: Sequence[str], *, check_mode: bool
) -> tuple[list[Finding], list[Result]]:
    """Run the plan's trials; those that do not pass are findings, never blocking ones.

    :param params: the options of the module.
    :param applied: applied versions, whose objects may be the cause of a failure.
    """
    try:
        for entry in params["plan"].get("trials") or []:
            read_trial(entry["file"])
    except RunbookError as error:
        harm = "its statements cannot be tried, neither now nor during the migration"
        return [Finding("trial_file", "blocking", error.object_name, error.msg, harm, error.next_command)], []
    try:
        results = run_valid_trials(params["connection"], params["plan"], params["accept"], check_mode=check_mode)
    except psycopg2.Error as refused:
        found, repair = from_driver(refused, "no trial could be run").msg, "correct what the server reports"
        return [Finding("trial_not_examined", "warning", "trials", found, UNPROVEN, repair)], []
    return ([] if check_mode else list(_findings(results, applied))), results


def _findings(results: Sequence[Result], applied: Sequence[str]) -> Iterator[Finding]:
    harm = (
        "it fails before anything is changed: the application has this fault already, and it would hide one that the"
        " migration adds"
    )
    then = "a run continues regardless"
    if applied:
        harm = (
            f"the application gets this error now, with {', '.join(applied)} applied: an object of the plan, or one"
            " deployed since, raises it"
        )
        then = "or roll the migrations back: rollback.yml shows the methods"
    not_run: dict[str, list[Result]] = {}
    for result in results:
        if result.outcome == "failed":
            yield Finding(
                "trial_failed",
                "information" if result.tolerated else "warning",
                result.name,
                failure_in_a_line(result) + (f" ({result.tolerated})" if result.tolerated else ""),
                harm,
                f"{remedy([result])}, then run this again; {then}",
            )
        elif result.outcome == "not_examined" and result.reached:
            for reached in result.reached:
                not_run.setdefault(reached, []).append(result)
        elif result.outcome != "passed":
            yield _without_answer(result)
    for reached, withheld in not_run.items():
        entry = f"{{finding: trial_not_run, object: '{reached}', reason: <why>}}"
        yield Finding(
            "trial_not_run",
            "warning",
            reached,
            f"trials were not run ({', '.join(result.name for result in withheld)}): {withheld[0].why}",
            UNPROVEN,
            "if running it without the related write is harmless, accept it,"
            f" database_accepted_findings in the inventory: [{entry}]",
        )


def _without_answer(result: Result) -> Finding:
    nothing = result.outcome == "nothing_to_examine"
    role = f"if it may not set the role: GRANT {result.role} TO <the role of database_connection>"
    return Finding(
        f"trial_{result.outcome}",
        "information" if nothing else "warning",
        result.name,
        f"{result.title}, {result.by} application: {result.why}",
        UNPROVEN,
        "" if nothing else f"{role}; if another session blocked it, run this again",
    )
