"""Run trials: each in the application's environment, within a time limit, under a savepoint that is rolled back."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from ...database.connection import Connection, Cursor, Stopwatch
from .environment import settings_of_application
from .one_trial import OneTrial
from .outcome import Result
from .reach import Danger, Reach
from .trial import Trial

#: Between two attempts, outside a step.
PAUSE_SECONDS = 0.02
#: Limit for all trials inside a step, whose locks the application waits for.
STEP_MILLISECONDS = 1500.0


@dataclasses.dataclass(frozen=True)
class Acceptance:
    """What the inventory accepts.

    :param objects: functions and tables, as ``schema.name``, that trials may set off.
    :param failures: names of trials that may fail.
    """

    objects: frozenset[str] = frozenset()
    failures: frozenset[str] = frozenset()

    @classmethod
    def from_option(cls, entries: Sequence[Mapping[str, Any]] | None) -> Acceptance:
        """Read the entries for ``trial_not_run`` and ``trial_failed`` from the ``accept`` option."""

        def objects_of(finding: str) -> frozenset[str]:
            return frozenset(entry["object"] for entry in entries or [] if entry["finding"] == finding)

        return cls(objects_of("trial_not_run"), objects_of("trial_failed"))


def run_trials(
    cursor: Cursor,
    trials: Sequence[Trial],
    accepted: Acceptance,
    settings_of_plan: Sequence[str] = (),
    *,
    in_step: bool = False,
) -> list[Result]:
    """Run trials in the cursor's open transaction and undo everything.

    :param settings_of_plan: parameters of our session that an application does not have.
    :param in_step: the transaction holds locks that the application waits for.
    """
    stopwatch = Stopwatch()
    reached = Reach(cursor).dangers_by_trial(trials) if trials else {}
    # Functions of earlier trials have cached plans in which `NEW.*` has the old columns; new sessions have none.
    cursor.execute("DISCARD PLANS")
    environments: dict[tuple[str, str], tuple[dict[str, str], list[str]]] = {}
    results = []
    for trial in trials:
        dangers = [danger for danger in reached[trial.name] if danger.object not in accepted.objects]
        if dangers:
            result = Result.of(trial, "not_examined", _not_run(dangers))
            result.reached = [danger.object for danger in dangers]
            results.append(result)
            continue
        if in_step and stopwatch.milliseconds() > STEP_MILLISECONDS:
            why = f"earlier trials took {STEP_MILLISECONDS / 1000:g} s, and the application waits for this step"
            results.append(Result.of(trial, "not_examined", why))
            continue
        place = trial.login_role, trial.role
        if place not in environments:
            environments[place] = settings_of_application(cursor, trial.login_role, settings_of_plan, trial.role)
        settings, refused = environments[place]
        result = OneTrial(cursor, trial, settings, pause=0.0 if in_step else PAUSE_SECONDS).run()
        if refused and result.outcome == "failed":
            result.why += f" (the application has set {', '.join(refused)}, which this session may not set)"
        if result.outcome == "failed" and trial.name in accepted.failures:
            result.tolerated = "the inventory accepts it"
        results.append(result)
    return results


def not_in_check_mode(trials: Sequence[Trial]) -> list[Result]:
    """Return a result for each trial that check mode does not run."""
    return [Result.of(trial, "not_examined", "check mode: no trial runs") for trial in trials]


@contextmanager
def rolled_back(connection: Connection) -> Iterator[Cursor]:
    """Open a READ COMMITTED transaction that is always rolled back."""
    with connection.cursor() as cursor:
        cursor.execute("BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE")
        try:
            yield cursor
        finally:
            if connection.closed == 0:
                cursor.execute("ROLLBACK")


def _not_run(dangers: Sequence[Danger]) -> str:
    named = ", ".join(f"{danger.object} ({danger.why})" for danger in dangers)
    return f"not run: its statements can reach {named}, which a rollback does not undo"
