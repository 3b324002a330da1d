"""What every kind of step needs: sessions, lease, place in the journal, limits; and what it leaves for the result."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping
from typing import Any

import psycopg2

from ..database.connection import Connection, Stopwatch
from ..errors import LeftAs, RunbookError, from_driver
from ..journal.lease import Lease
from ..journal.steps import Work
from ..locking.limits import Limits
from ..plan.migration_file import Step
from ..progress_feed import Writer
from .step_trials import StepTrials, TrialsFailedError


@dataclasses.dataclass
class StepContext:
    """Handed to each step in turn.

    :param connection: the session that writes.
    :param observer: a second session, which only looks at the server while the first one waits.
    :param path: of the file, for messages.
    :param resume_command: what an operator types to go on.
    :param connect: opens a further session that writes for this run.
    :param backfill: the plan's entry for this file: function, table, key, batch_rows.
    :param strategy: ``online``, or ``offline`` while the application is stopped.
    :param offline_rows: rows that an offline backfill has moved in this call.
    :param title: of the migration.
    :param helper_schema: of the plan.
    :param unpublish: take the backfill's table out of its publications meanwhile.
    :param publications: what was taken out and put back: ``publication``, ``table``, ``outcome``.
    :param progress_query: file of the plan's query for rows done and in all; empty where it has none.
    :param health_levels: by signal, ``pause`` and ``abort``.
    :param health_query_file: of the operator's own query; empty where there is none.
    :param reports: by step number, what was told of a step before it began.
    :param in_run: the journal has a run of this id.
    :param writer: takes lines of progress.
    :param totals: holds ``batches`` and ``rows_moved``, true after each batch.
    :param trials: of the application's statements; None runs none.
    :param begun: this migration has changed tables already, so a failure leaves it resumable.
    """

    connection: Connection
    observer: Connection
    lease: Lease
    work: Work
    limits: Limits
    path: str
    resume_command: str
    connect: Callable[[], Connection]
    backfill: dict[str, Any] | None = None
    strategy: str = "online"
    offline_rows: int | None = None
    title: str = ""
    helper_schema: str = ""
    unpublish: bool = False
    progress_query: str = ""
    health_levels: Mapping[str, Mapping[str, float | None]] = dataclasses.field(default_factory=dict)
    health_query_file: str = ""
    in_run: bool = False
    writer: Writer = dataclasses.field(default_factory=lambda: Writer(None))
    trials: StepTrials | None = None
    begun: bool = False
    queries: list[str] = dataclasses.field(default_factory=list)
    publications: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    reports: dict[int, str] = dataclasses.field(default_factory=dict)
    results: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    totals: dict[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def left_as(self) -> LeftAs:
        """The state a failure leaves now."""
        return "resumable" if self.begun else "unchanged"

    def describe(self, step: Step) -> str:
        """Name a step for a message."""
        return f"step {step.number} ({step.name}) of {os.path.basename(self.path)}"

    def place(self, step_name: str) -> dict[str, str]:
        """What every line of progress says."""
        work = self.work
        return {"run_id": work.run_id, "version": work.version, "title": self.title, "step": step_name}

    def note(
        self, step: Step, status: str, stopwatch: Stopwatch | None = None, attempts: int = 0, *, changed: bool = True
    ) -> None:
        """Add a step to the result.

        :param changed: it has changed tables outside the runbook's own schemas.
        """
        seconds = stopwatch.seconds() if stopwatch else 0.0
        self.results.append(
            {**step_result(step, status, seconds, attempts), "report": self.reports.get(step.number, "")}
        )
        self.begun = self.begun or changed

    def failure(
        self, step: Step, error: psycopg2.Error, why: str = "", *, left_as: LeftAs | None = None
    ) -> RunbookError:
        """Return what the server said about a step, with what is known beyond it."""
        driver = from_driver(error, f"{self.describe(step)} failed")
        return RunbookError(
            f"{driver.msg} {why}".strip(),
            object_name=driver.object_name or f"{step.path}:{step.line}",
            sqlstate=driver.sqlstate,
            left_as=left_as or self.left_as,
            next_command=self.resume_command,
        )

    def try_statements(self) -> None:
        """Run the trials that are valid once this migration is through."""
        if self.trials:
            self.trials.after(self.connection, next_command=self.resume_command)

    def stopped_by_trials(self, step: Step, failed: TrialsFailedError) -> RunbookError:
        """Return the error for a step that was rolled back because trials fail with it."""
        assert self.trials is not None  # they have failed
        error = self.trials.stopped(self.connection, failed, self.describe(step), self.left_as)
        error.left_as = self.left_as
        error.next_command = f"{error.next_command}, then: {self.resume_command}"
        return error


def step_result(step: Step, status: str, seconds: float = 0.0, attempts: int = 0) -> dict[str, Any]:
    """One entry of the result's ``steps``."""
    return {
        "number": step.number,
        "name": step.name,
        "kind": step.kind,
        "status": status,
        "seconds": seconds,
        "attempts": attempts,
        "line": step.line,
        "report": "",
    }
