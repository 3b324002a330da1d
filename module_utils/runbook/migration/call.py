"""One pg_migration call: its options, its result so far, and the conditions for it to run."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import psycopg2

from ..database.connection import Connection, Cursor, SessionSettings, Stopwatch, open_session, read_only_snapshot
from ..database.queries import value
from ..environment.survey.survey import refuse_blocking, survey_again
from ..errors import LeftAs, RunbookError, from_driver
from ..evidence import snapshot
from ..journal import lease
from ..journal import runs as journal
from ..journal.migration_state import Decision, file_steps, find_migration
from ..journal.runs import new_run_id
from ..journal.steps import Work
from ..locking.limits import Limits
from ..plan.migration_file import Direction, Step
from ..plan.plan_settings import settings_of_plan
from ..progress_feed import Writer
from ..verification.trials.runner import Acceptance
from .result import expected_time, ran, to_lines
from .step_context import StepContext
from .step_trials import StepTrials

Result = dict[str, Any]


@dataclasses.dataclass
class Call:
    """The options of one call and its result so far.

    :param resume_command: the command that resumes after a failure; empty until the run is known.
    :param at: number and description of what runs now; the number after the last step stands for the ledger's row.
    """

    params: Mapping[str, Any]
    plan: Mapping[str, Any]
    migration: Mapping[str, Any]
    direction: Direction
    steps: list[Step]
    run_id: str
    result: Result
    resume_command: str = ""
    at: tuple[int, str] = (0, "")

    @property
    def path(self) -> str:
        """The file that runs."""
        return str(self.migration["file" if self.direction == "applied" else "revert_file"])

    @property
    def backfill(self) -> dict[str, Any] | None:
        """The plan's backfill in this direction."""
        return self.migration.get("backfill" if self.direction == "applied" else "revert_backfill")

    @property
    def work(self) -> Work:
        """Run, version and direction in the journal."""
        return Work(self.run_id, self.migration["version"], self.direction)

    def session_settings(self, limits: Limits, *, read_only: bool) -> SessionSettings:
        """Return the settings of the session that writes, or (in check mode) only reads."""
        return SessionSettings(
            application_name=f"runbook {self.run_id}",
            statement_timeout_seconds=limits.statement_timeout_seconds,
            lock_timeout_seconds=limits.lock_timeout_seconds,
            read_only=read_only,
            settings={**settings_of_plan(self.plan, self.params["plan_settings"]), "runbook.run_id": self.run_id},
        )

    def timed(self, result: Result, seconds: float) -> Result:
        """Return a result with its duration and the plan's expected minutes."""
        return {**result, **expected_time(self.migration, result["volume_class"], seconds, self.direction)}


def read_call(params: Mapping[str, Any]) -> Call:
    """Find the migration, parse its file, and start a result with every key."""
    plan = params["plan"]
    migration = find_migration(plan, params["version"])
    direction: Direction = params["state"]
    run_id = (params["run"] or {}).get("id") or new_run_id()
    result: Result = {
        "changed": False,
        "version": migration["version"],
        "name": migration["name"],
        "title": migration.get("title") or migration["name"],
        "state": direction,
        "run_id": run_id,
        "steps": [],
        "batches": 0,
        "rows_moved": 0,
        "findings": [],
        "checks": [],
        "trials": [],
        "publications": [],
        "queries": [],
        "diff": {},
        **expected_time(migration, params["volume_class"], 0.0, direction),
    }
    return Call(params, plan, migration, direction, file_steps(migration, direction), run_id, result)


def step_context(
    call: Call, connection: Connection, observer: Connection, held: lease.Lease, limits: Limits, resume_command: str
) -> StepContext:
    """Return the context of the steps; it fills the lists of the call's result."""
    settings = call.session_settings(limits, read_only=False)
    # A worker's session runs only batches, so the plan's function may leave a setting for the next batch.
    writing = dataclasses.replace(
        settings,
        application_name=lease.application_name(call.run_id),
        settings={**settings.settings, "runbook.batch_session": "on"},
    )
    return StepContext(
        connection=connection,
        observer=observer,
        lease=held,
        work=call.work,
        limits=limits,
        path=call.path,
        resume_command=resume_command,
        connect=lambda: open_session(call.params["connection"], writing),
        strategy=call.params.get("strategy") or "online",
        title=call.result["title"],
        helper_schema=str(call.plan.get("helper_schema") or ""),
        unpublish=bool(call.params.get("unpublish_during_backfill")),
        publications=call.result["publications"],
        progress_query=call.migration.get("progress") or "",
        health_levels=call.params.get("health_levels") or {},
        health_query_file=call.params.get("health_query_file") or "",
        in_run=bool(call.params["run"]),
        writer=Writer(call.params.get("progress_file")),
        backfill=call.backfill,
        trials=StepTrials(
            plan=call.plan,
            version=call.migration["version"],
            direction=call.direction,
            run_id=call.run_id,
            accepted=Acceptance.from_option(call.params.get("accept")),
            settings_of_plan=list(settings_of_plan(call.plan, call.params["plan_settings"])),
        ),
        queries=call.result["queries"],
        results=call.result["steps"],
        totals=call.result,
    )


@contextmanager
def trying(call: Call, context: StepContext) -> Iterator[None]:
    """Run the trials before the first step; at the end add each trial's newest result to the call's."""
    trials = context.trials
    if trials is None:
        yield
        return
    try:
        trials.begin(context.connection, begun=context.begun)
        yield
    finally:
        call.result["trials"] = [result.as_dict() for result in trials.results.values()]


def failure_of(call: Call, error: RunbookError | psycopg2.Error, stopwatch: Stopwatch) -> RunbookError:
    """Return the failure with the call's result so far as its facts."""
    if isinstance(error, psycopg2.Error):
        left_as: LeftAs = "resumable" if call.result["steps"] else "unchanged"
        # A lost connection has no SQLSTATE.
        doing = "the server refused a statement of the runbook itself" if error.pgcode else "the connection was lost"
        error = from_driver(error, doing, left_as=left_as, next_command=call.resume_command)
    timed = call.timed(call.result, stopwatch.seconds())
    timed |= {"judged": "unknown", "changed": error.left_as != "unchanged" or ran(timed)}
    error.facts = {**timed, "summary": to_lines(timed), **error.facts}
    return error


@dataclasses.dataclass(frozen=True)
class RunFacts:
    """Facts from the journal.

    :param resume_command: the command that resumes after a failure.
    :param forward_command: the command that applies the plan; empty without a run.
    """

    snapshot_counts: Mapping[str, Any]
    volume_class: str
    resume_command: str
    forward_command: str = ""


def require_run(connection: Connection, params: Mapping[str, Any], direction: str) -> RunFacts:
    """Require a run that is ready, where one is given, and read the facts in its events.

    :raises RunbookError: the run is not ready, or its data snapshot cannot be read.
    """
    counts, volume_class = dict(params["snapshot_counts"] or {}), str(params["volume_class"] or "")
    if not params["run"]:
        return RunFacts(counts, volume_class, "run the same task again")
    with connection.cursor() as cursor:
        # A reverse needs no backup, so no drill.
        drilled = None if direction == "applied" else False
        wanted = {**params["run"], "plan_hash": params["run"]["plan_hash"] or params["plan"].get("plan_hash", "")}
        details = journal.require_run_ready(cursor, wanted, drilled=drilled)
        run = journal.require_open(cursor, params["run"]["id"])
        volume_class = volume_class or _first_volume_class(cursor, params["run"]["id"])
    taken = details["snapshot_taken"]
    if not counts and taken.get("directory"):
        counts = {entry["name"]: entry["value"] for entry in snapshot.load(taken["directory"])["counts"]}
    forward = journal.playbook_command("migrate.yml", run)
    back = f"{journal.playbook_command('rollback.yml', run)} -e method=reverse"
    return RunFacts(counts, volume_class, forward if direction == "applied" else back, forward)


def _first_volume_class(cursor: Cursor, run_id: str) -> str:
    """Return the class of the run's first environment verification; later ones count only the remaining rows."""
    query = (
        "SELECT details #>> '{volume,class}' FROM migration_runbook.event WHERE run_id = %s"
        " AND phase = 'environment_verified' AND details #>> '{volume,class}' <> '' ORDER BY id LIMIT 1"
    )
    return str(value(cursor, query, (run_id,), default=""))


def require_known_schema(call: Call, connection: Connection, decision: Decision) -> None:
    """Survey the tables that the plan writes again: others may have deployed since environment verification.

    :raises RunbookError: a blocking finding that the inventory does not accept.
    """
    if not decision.needed:
        return
    with read_only_snapshot(connection) as cursor:
        findings = survey_again(
            cursor, call.plan, call.direction, call.params.get("accept") or [], call.params["plan_settings"]
        )
    call.result["findings"] = [finding.as_dict() for finding in findings]
    verb = "migration" if call.direction == "applied" else "the reverse of"
    refuse_blocking(
        findings,
        f"{verb} {call.result['version']}",
        "resumable" if decision.done else "unchanged",
        call.resume_command or "the same task again",
        call.result,
    )
