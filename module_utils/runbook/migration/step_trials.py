"""Run the trials of one migration: before it, inside its steps before they commit, and after it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from ..database.connection import Connection, Cursor, transaction
from ..errors import RunbookError
from ..journal import ledger
from ..journal import repairs as journal_repairs
from ..journal import steps as journal_steps
from ..journal import trials as journal_trials
from ..journal.changes import writes_rows
from ..journal.migration_state import State
from ..plan.migration_file import Direction
from ..verification.trials.catalog_state import State as CatalogState
from ..verification.trials.catalog_state import catalog_state, changes_what_is_met
from ..verification.trials.judge import (
    answered,
    counts_to_text,
    failures_to_text,
    refuse_failures,
    remedy,
    stopping,
    tolerate_known_failures,
)
from ..verification.trials.outcome import Result
from ..verification.trials.runner import Acceptance, not_in_check_mode, rolled_back, run_trials
from ..verification.trials.trial import Application, Trial, tables_of_plan, valid_trials


class TrialsFailedError(Exception):
    """Trials failed inside a step, whose transaction must be rolled back."""

    def __init__(self, results: Sequence[Result]) -> None:
        super().__init__(counts_to_text(results))
        self.results = list(results)


@dataclasses.dataclass
class StepTrials:
    """The trials of one call of pg_migration.

    :param settings_of_plan: parameters of our sessions that an application does not have.
    :param results: the newest result of each trial.
    :param passed: trials that passed inside a step, if no later step has written rows.
    """

    plan: Mapping[str, Any]
    version: str
    direction: Direction
    run_id: str
    accepted: Acceptance
    settings_of_plan: Sequence[str]
    results: dict[str, Result] = dataclasses.field(default_factory=dict)
    passed: set[str] = dataclasses.field(default_factory=set)
    _trials: list[Trial] = dataclasses.field(default_factory=list)
    _known: dict[str, str] = dataclasses.field(default_factory=dict)
    _state: CatalogState = dataclasses.field(default_factory=dict)
    _next_state: CatalogState = dataclasses.field(default_factory=dict)

    def begin(self, connection: Connection, *, begun: bool) -> None:
        """Run the trials before the first step, to know which fail without the migration.

        Once the plan has changed anything, the journal's results count instead. No trials run inside a revert: triggers
        that the next step drops can break them, and a fault of the migrated schema must not prevent a rollback.

        :param begun: steps of this migration have run, so a failure now may be caused by them.
        """
        if not self.plan.get("trials") or self.direction == "reverted":
            return
        with rolled_back(connection) as cursor:
            self._trials = self._valid(cursor)
            self._state = catalog_state(cursor, tables_of_plan(self.plan))
            self._known = journal_trials.known_outcomes(cursor)
            if not self._is_untouched(cursor) and (self._known or begun):
                return
            self._known = {}
            results = self._run(cursor, self._trials)
        self._keep(connection, answered(results))
        tolerate_known_failures(results, self._known)

    def in_step(self, cursor: Cursor) -> None:
        """Run the trials in a step's transaction, if the step changed objects that the application uses.

        :raises TrialsFailedError: a trial that passed before fails.
        """
        if not self._trials:
            return
        if self.passed and writes_rows(cursor):
            self.passed.clear()
        self._next_state = catalog_state(cursor, tables_of_plan(self.plan))
        if not changes_what_is_met(self._state, self._next_state):
            return
        results = self._run(cursor, self._trials, in_step=True)
        if stopping(results):
            raise TrialsFailedError(results)
        self.passed = {result.name for result in results if result.outcome == "passed"}

    def committed(self) -> None:
        """Keep the committed catalog state for the comparison in the next step."""
        self._state = self._next_state or self._state

    def stopped(self, connection: Connection, failed: TrialsFailedError, step: str, left_as: str) -> RunbookError:
        """Return the error for a step that was rolled back, and run the failed trials again without the step."""
        failures = stopping(failed.results)
        names = {failure.name for failure in failures}
        with rolled_back(connection) as cursor:
            again = [trial for trial in self._trials if trial.name in names]
            without = run_trials(cursor, again, self.accepted, self.settings_of_plan)
        without_step = _without_step(without)
        kept = "No step of this migration is applied." if left_as == "unchanged" else "The earlier steps are kept."
        return RunbookError(
            f"{step} was rolled back before its commit: {len(failures)} of {len(failed.results)} trials failed in it.\n"
            f"{failures_to_text(failures)}\n{without_step}The step changed nothing in the database. {kept}\n",
            object_name=failures[0].object or failures[0].name,
            sqlstate=failures[0].sqlstate,
            next_command=remedy(failures),
        )

    def after(self, connection: Connection, *, next_command: str) -> None:
        """Run the trials that are valid after this migration, except those that passed since its last change.

        :raises RunbookError: a trial that passed before fails (not after a revert, which only reports it).
        """
        if not self.plan.get("trials"):
            return
        with rolled_back(connection) as cursor:
            self._trials = self._valid(cursor, after=True)
            self._known = journal_trials.known_outcomes(cursor)
            results = self._passed_since_the_last_change(cursor)
            proven = {result.name for result in results}
            results += self._run(cursor, [trial for trial in self._trials if trial.name not in proven])
        # Not the failures: the next migration must not tolerate them.
        self._keep(connection, [one for one in answered(results) if one[1] == "passed"])
        if self.direction == "applied":
            state = f"Every step of migration {self.version} is done, but it is not recorded as applied."
            refuse_failures(results, state=state, next_command=next_command, left_as="resumable")

    def _passed_since_the_last_change(self, cursor: Cursor) -> list[Result]:
        if not self.passed or changes_what_is_met(self._state, catalog_state(cursor, tables_of_plan(self.plan))):
            return []
        return [self.results[trial.name] for trial in self._trials if trial.name in self.passed]

    def _valid(self, cursor: Cursor, *, after: bool = False) -> list[Trial]:
        applied = set(ledger.read(cursor))
        if after:
            applied = applied | {self.version} if self.direction == "applied" else applied - {self.version}
        by: Application | None = "old" if self.direction == "reverted" else None
        return valid_trials(self.plan, applied, retired=journal_repairs.is_retired(cursor), by=by)

    def _run(self, cursor: Cursor, trials: Sequence[Trial], *, in_step: bool = False) -> list[Result]:
        results = run_trials(cursor, trials, self.accepted, self.settings_of_plan, in_step=in_step)
        tolerate_known_failures(results, self._known)
        self.results |= {result.name: result for result in results}
        return results

    def _is_untouched(self, cursor: Cursor) -> bool:
        state = State(ledger.read(cursor), journal_steps.current_steps(cursor))
        versions = [migration["version"] for migration in self.plan["migrations"]]
        ways: tuple[Direction, Direction] = ("applied", "reverted")
        return not any(
            version in state.ledger or any(state.half_done(version, way) for way in ways) for version in versions
        )

    def _keep(self, connection: Connection, outcomes: Sequence[tuple[str, str, str]]) -> None:
        self._known |= {name: outcome for name, outcome, _ in outcomes}
        if outcomes and self.direction == "applied":
            with transaction(connection) as cursor:
                journal_trials.note_outcomes(cursor, self.run_id, outcomes)


def _without_step(results: Sequence[Result]) -> str:
    """Return which of the failed trials pass without the step, and which fail for another reason."""
    broken = [result.name for result in results if result.outcome == "passed"]
    others = [result.name for result in results if result.outcome != "passed"]
    text = f"These succeed without the step: {', '.join(broken)}. " if broken else ""
    if others:
        text += (
            f"These also fail without the step: {', '.join(others)}; the cause is an earlier step, a row that it moved,"
            " or an outside change since they last passed. "
        )
    return text


def would_be_tried(plan: Mapping[str, Any], version: str, direction: Direction) -> list[dict[str, Any]]:
    """List the trials that would be valid after the migration; check mode runs none."""
    versions = [migration["version"] for migration in plan["migrations"]]
    applied = versions.index(version) + (1 if direction == "applied" else 0)
    by: Application | None = "old" if direction == "reverted" else None
    trials = valid_trials(plan, versions[:applied], retired=False, by=by)
    return [result.as_dict() for result in not_in_check_mode(trials)]
