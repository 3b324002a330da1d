"""Run all trials that are valid now, in their own session."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...database.connection import Cursor, SessionSettings, read_only_snapshot, session
from ...journal import ledger
from ...journal.repairs import is_retired
from ...journal.trials import known_outcomes
from .judge import tolerate_known_failures
from .outcome import Result
from .runner import Acceptance, not_in_check_mode, rolled_back, run_trials
from .trial import Application, Trial, valid_trials

#: For reading the catalog; trials have limits of their own.
STATEMENT_TIMEOUT_SECONDS = 30.0


def run_valid_trials(
    options: Mapping[str, Any],
    plan: Mapping[str, Any],
    accept: Sequence[Mapping[str, Any]] | None,
    *,
    check_mode: bool,
    by: Application | None = None,
) -> list[Result]:
    """Run the trials that are valid in the current state of the database; in check mode list them.

    :param options: the ``connection`` option.
    :param accept: the ``accept`` option.
    :raises RunbookError: the connection failed, or a trial's file cannot be read.
    """
    if not plan.get("trials"):
        return []
    wanted = SessionSettings(
        application_name="runbook trials", statement_timeout_seconds=STATEMENT_TIMEOUT_SECONDS, read_only=check_mode
    )
    with session(options, wanted) as connection:
        if check_mode:
            with read_only_snapshot(connection) as cursor:
                return not_in_check_mode(_valid(cursor, plan, by))
        with rolled_back(connection) as cursor:
            results = run_trials(cursor, _valid(cursor, plan, by), Acceptance.from_option(accept))
            tolerate_known_failures(results, known_outcomes(cursor))
            return results


def _valid(cursor: Cursor, plan: Mapping[str, Any], by: Application | None) -> list[Trial]:
    return valid_trials(plan, set(ledger.read(cursor)), retired=is_retired(cursor), by=by)
