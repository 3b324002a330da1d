"""The context that all steps of a migration share: sessions, lease, limits, and the result so far."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import psycopg2

from ..database.connection import Connection, Cursor, Stopwatch
from ..database.lock_modes import Lock
from ..errors import LeftAs, RunbookError, from_driver
from ..journal.lease import Lease
from ..journal.steps import Work
from ..locking.blockers import set_local
from ..locking.limits import Limits
from ..locking.retry import Attempt, in_locked_transaction
from ..plan.migration_file import Step
from ..progress_feed import Writer
from .step_trials import StepTrials, TrialsFailedError

T = TypeVar("T")


@dataclasses.dataclass
class StepContext:
    """Shared by all steps.

    :param connection: the session that writes.
    :param observer: a second session, which looks for blockers while the first one waits.
    :param path: of the file, for messages.
    :param resume_command: the command that resumes the run.
    :param connect: opens another session that writes for this run.
    :param backfill: the plan's entry for this file: function, table, key, batch_rows.
    :param strategy: ``online``, or ``offline`` while the application is stopped.
    :param offline_rows: rows that an offline backfill has moved in this call.
    :param title: of the migration.
    :param helper_schema: of the plan.
    :param unpublish: remove the backfill's table from its publications meanwhile.
    :param publications: tables removed and added back: ``publication``, ``table``, ``outcome``.
    :param progress_query: file of the plan's query for done and total rows; empty without one.
    :param health_levels: by signal, ``pause`` and ``abort``.
    :param health_query_file: file of the operator's own query; empty without one.
    :param reports: by step number, what was reported before the step began.
    :param in_run: the journal has a run of this id.
    :param writer: writes lines of progress.
    :param totals: ``batches`` and ``rows_moved``, current after each batch.
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
        """The state that a failure would leave now."""
        return "resumable" if self.begun else "unchanged"

    def describe(self, step: Step) -> str:
        """Return a step's number, name and file for a message."""
        return f"step {step.number} ({step.name}) of {os.path.basename(self.path)}"

    def place(self, step_name: str) -> dict[str, str]:
        """Return the keys of every line of progress."""
        work = self.work
        return {"run_id": work.run_id, "version": work.version, "title": self.title, "step": step_name}

    def note(
        self, step: Step, status: str, stopwatch: Stopwatch | None = None, attempts: int = 0, *, changed: bool = True
    ) -> None:
        """Add a step to the result.

        :param changed: the step has changed tables outside the runbook's own schemas.
        """
        seconds = stopwatch.seconds() if stopwatch else 0.0
        self.results.append(
            {**step_result(step, status, seconds, attempts), "report": self.reports.get(step.number, "")}
        )
        self.begun = self.begun or changed

    def failure(
        self, step: Step, error: psycopg2.Error, why: str = "", *, left_as: LeftAs | None = None
    ) -> RunbookError:
        """Return the server's error about a step, with further explanation."""
        driver = from_driver(error, f"{self.describe(step)} failed")
        return RunbookError(
            f"{driver.msg} {why}".strip(),
            object_name=driver.object_name or f"{step.path}:{step.line}",
            sqlstate=driver.sqlstate,
            left_as=left_as or self.left_as,
            next_command=self.resume_command,
        )

    def in_locked_transaction(
        self,
        step: Step,
        work: Callable[[Cursor, Attempt], T],
        locks: Sequence[Lock],
        *,
        statement_timeout_seconds: float,
    ) -> T:
        """Run a step's work in one transaction that has locked its tables; see locking.retry.

        :raises RunbookError: the locks are refused, or the server refuses a statement; nothing was committed.
        """

        def begin(cursor: Cursor) -> None:
            self.lease.check(cursor)
            set_local(cursor, "statement_timeout", statement_timeout_seconds)

        return in_locked_transaction(
            self.connection,
            self.observer,
            self.limits,
            work,
            functools.partial(self.failure, step),
            writer=self.writer,
            place=self.place(step.name),
            locks=locks,
            begin=begin,
        )

    def try_statements(self) -> None:
        """Run the trials that are valid after this migration."""
        if self.trials:
            self.trials.after(self.connection, next_command=self.resume_command)

    def stopped_by_trials(self, step: Step, failed: TrialsFailedError) -> RunbookError:
        """Return the error for a step that was rolled back because trials failed."""
        assert self.trials is not None  # they have failed
        error = self.trials.stopped(self.connection, failed, self.describe(step), self.left_as)
        error.left_as = self.left_as
        error.next_command = f"{error.next_command}, then: {self.resume_command}"
        return error


def step_result(step: Step, status: str, seconds: float = 0.0, attempts: int = 0) -> dict[str, Any]:
    """Return one entry of the result's ``steps``."""
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
