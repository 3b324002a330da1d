"""Apply or revert one version: run its steps, then its checks, then write the ledger's row."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

import psycopg2

from ..control import control as operator
from ..database.connection import Connection, SessionSettings, Stopwatch, read_only_snapshot, session, transaction
from ..database.readers import for_reading, readers
from ..database.standbys import UnconfirmedCommitError
from ..errors import RunbookError, driver_errors
from ..journal import lease, ledger
from ..journal import runs as journal
from ..journal import steps as journal_steps
from ..journal.migration_state import Decision, State, decide
from ..journal.unconfirmed import note
from ..locking.limits import Limits
from ..plan.migration_file import Step, file_statements
from ..verification.checks import refuse_failures, run_checks, would_be_checked
from .call import Call, Result, failure_of, read_call, require_known_schema, require_run, step_context, trying
from .move_rows import move_rows
from .operator_gate import wait_for_operator
from .publication_pause import put_back, require_removable, unpublished
from .result import before_and_after, summary, to_lines
from .rows_of_others import allow_both_directions
from .step_context import StepContext, step_result
from .step_runner import report_long_lived, run_concurrently, run_in_transaction, run_validation
from .step_trials import would_be_tried


def migrate(params: Mapping[str, Any], *, check_mode: bool) -> Result:
    """Bring one migration into the wanted state; pg_migration documents options and result.

    :raises RunbookError: with the result's keys as facts.
    """
    call = read_call(params)
    stopwatch = Stopwatch()
    try:
        result = _check(call) if check_mode else _act(call)
    except UnconfirmedCommitError as error:
        _note_unconfirmed(call, error)
        raise failure_of(call, error, stopwatch) from error
    except (RunbookError, psycopg2.Error) as error:
        raise failure_of(call, error, stopwatch) from error
    timed = call.timed(result, stopwatch.seconds())
    if check_mode or not result["changed"]:
        timed["judged"] = "unknown"  # nothing ran
    return {**timed, "summary": to_lines(timed)}


def _note_unconfirmed(call: Call, error: UnconfirmedCommitError) -> None:
    number, about = call.at
    step = (call.work.version, call.work.direction, number) if number else None
    about = about or f"migration {call.migration['version']}"
    note(call.params["connection"], error, call.run_id, about, call.resume_command, step=step)


def _check(call: Call) -> Result:
    """Check mode: return what would run, from a read-only session."""
    with session(
        call.params["connection"], call.session_settings(Limits.from_option(call.params["limits"]), read_only=True)
    ) as connection:
        # Earlier versions would be applied by then, so their order is not checked.
        decision = _decide(call, connection, in_order=False)
        require_removable(call, connection)
        require_known_schema(call, connection, decision)
    if not decision.needed:
        return _unchanged(call)
    call.result["steps"] = [
        step_result(step, "done_before" if step.number in decision.done else "would_run") for step in call.steps
    ]
    if call.direction == "applied":
        call.result["checks"] = would_be_checked(call.migration["checks"])
    call.result["trials"] = would_be_tried(call.plan, call.migration["version"], call.direction)
    _will_change(call, decision)
    call.result["queries"] = [text for step in _to_run(call, decision) for text in step.statements]
    call.result["msg"] = summary(call.result, "would be ")
    return call.result


def _act(call: Call) -> Result:
    limits = Limits.from_option(call.params["limits"])
    with ExitStack() as stack:
        connection = stack.enter_context(
            session(call.params["connection"], call.session_settings(limits, read_only=False))
        )
        run = require_run(connection, call.params, call.direction)
        call.resume_command = run.resume_command
        call.result["volume_class"] = run.volume_class
        decision = _decide(call, connection)
        if not decision.needed:
            return _unchanged(call)
        require_removable(call, connection)
        journal.ensure(connection)
        held = stack.enter_context(lease.held(connection, call.run_id))
        decision = _decide(call, connection)  # again: the previous holder of the lease may have done it
        if not decision.needed:
            return _unchanged(call)
        require_known_schema(call, connection, decision)
        observer = stack.enter_context(
            session(
                call.params["connection"],
                SessionSettings(application_name=f"runbook {call.run_id} observer", read_only=True),
            )
        )
        with connection.cursor() as cursor:
            operator.begin(cursor, call.run_id)
        context = step_context(call, connection, observer, held, limits, run.resume_command)
        context.begun = bool(decision.done)
        _will_change(call, decision)
        stack.enter_context(trying(call, context))
        put_back(context, connection)  # tables that a killed call left outside their publications
        stack.enter_context(allow_both_directions(call, context, run.forward_command))
        _run_steps(call, context, decision)
        _finish(call, context, run.snapshot_counts)
    call.result["msg"] = summary(call.result, "")
    return call.result


def _decide(call: Call, connection: Connection, *, in_order: bool = True) -> Decision:
    with read_only_snapshot(connection) as cursor:
        state = State(ledger.read(cursor), journal_steps.current_steps(cursor))
    return decide(call.plan, call.migration["version"], call.direction, state, call.steps, in_order=in_order)


def _to_run(call: Call, decision: Decision) -> list[Step]:
    return [step for step in call.steps if step.number not in decision.done]


def _run_steps(call: Call, context: StepContext, decision: Decision) -> None:
    remaining = _to_run(call, decision)
    call.result["steps"] += [step_result(step, "done_before") for step in call.steps if step.number in decision.done]
    if remaining:
        call.at = (remaining[0].number, context.describe(remaining[0]))
        with transaction(context.connection) as cursor:
            context.lease.check(cursor)
            journal_steps.begin(cursor, call.work, remaining[0], afresh=decision.afresh)
    contract = call.direction == "applied" and bool(call.migration.get("contract"))
    for step in remaining:
        call.at = (step.number, context.describe(step))
        wait_for_operator(context, step.name, contract=contract, postponed=bool(call.params.get("postpone_contract")))
        with context.connection.cursor() as cursor:
            context.lease.beat(cursor)
        report_long_lived(context, step)
        if context.trials and step.kind == "backfill":
            context.trials.passed.clear()
        if step.kind == "concurrently":
            run_concurrently(context, step)
        elif step.kind == "validate":
            run_validation(context, step)
        elif step.kind == "backfill":
            with unpublished(context, step):
                move_rows(context, step)
        else:
            run_in_transaction(context, step)


def _finish(call: Call, context: StepContext, snapshot_counts: Mapping[str, Any]) -> None:
    """Run the migration's checks, and only then write the ledger's row and close the migration in the journal."""
    with context.connection.cursor() as cursor:
        call.result["batches"], call.result["rows_moved"] = journal_steps.totals(cursor, call.work)
    call.result["rows_moved"] += context.offline_rows or 0
    if call.direction == "applied":
        settings = for_reading(call.session_settings(context.limits, read_only=True))
        with readers(call.params["connection"], settings) as side_by_side:
            call.result["checks"] = run_checks(side_by_side, call.migration["checks"], snapshot_counts)
        try:
            refuse_failures(call.result["checks"], {})
        except RunbookError as error:
            error.left_as = "resumable"
            error.next_command = f"{error.next_command}: {context.resume_command}"
            raise
        context.try_statements()
    version = call.migration["version"]
    call.at = (len(call.steps) + 1, f"the row of {version} in {ledger.TABLE}")
    with (
        driver_errors(f"writing {version} to {ledger.TABLE} failed", object_name=ledger.TABLE, left_as="resumable"),
        transaction(context.connection) as cursor,
    ):
        context.lease.check(cursor)
        ledger.ensure(cursor)
        if call.direction == "applied":
            ledger.insert(cursor, version, call.migration["name"], file_statements(call.steps))
        else:
            ledger.delete(cursor, version)
        journal_steps.close(cursor, call.work, len(call.steps) + 1)
    if call.direction == "reverted":
        context.try_statements()


def _unchanged(call: Call) -> Result:
    call.result["msg"] = f"migration {call.migration['version']} is already {call.direction}"
    return call.result


def _will_change(call: Call, decision: Decision) -> None:
    call.result["changed"] = True
    call.result["diff"] = before_and_after(call.path, _to_run(call, decision))
