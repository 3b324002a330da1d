"""The throttle: apply health verdicts and operator commands to the shared state, and journal them."""

from __future__ import annotations

import threading
import time

from ...control import control as operator
from ...control.control import PACE, Pauses
from ...database.connection import BEGIN_READ_ONLY, Connection
from ...errors import RunbookError
from ...journal.runs import record
from ..step_context import StepContext
from .health import Health, Verdict
from .shared_state import SharedState

OPERATOR = "operator"
SLOW_SECONDS = 5.0


class Throttle:
    """Used by the supervisor's thread only."""

    def __init__(self, connection: Connection, shared_state: SharedState, health: Health, context: StepContext) -> None:
        self._connection = connection
        self._shared_state = shared_state
        self._health = health
        self._context = context
        self._run_id = context.lease.run_id
        self._workers = shared_state.workers
        self._pauses = Pauses(connection, self._run_id, context.work.version)
        self._new_command = threading.Event()
        self._applied_revision: int | None = None
        self._slow_until = 0.0
        shared_state.on_revision = lambda _: self._new_command.set()

    @property
    def has_new_command(self) -> bool:
        """Return whether a batch has read a new command of the operator."""
        return self._new_command.is_set()

    def close_pauses(self) -> None:
        """Close the pauses that are open in the journal."""
        self._pauses.end_all()
        if self._shared_state.gives_way:
            self._note_pace("full speed", "the backfill ended")

    def read_health(self) -> bool:
        """Read the signals. Return whether a pause began or ended, or the pace changed."""
        before = set(self._shared_state.held)
        with self._connection.cursor() as cursor:
            cursor.execute(BEGIN_READ_ONLY)
            try:
                verdict = self._health.read(cursor, self._shared_state.transactions)
            finally:
                if self._connection.closed == 0:
                    cursor.execute("ROLLBACK")
                    self._shared_state.count_transaction()
        holds = verdict.signal if verdict.action == "pause" else ""
        for signal in [held for held in self._shared_state.held if held not in (holds, OPERATOR)]:
            self._release(signal)
        if holds:
            self._hold(verdict.signal, verdict.reason)
        elif verdict.action == "abort":
            self._shared_state.fail(self._stopped(f"stopped by the health signal {verdict.signal}: {verdict.reason}"))
        changed = self._set_pace(verdict)
        self._limit_pauses()
        return changed or set(self._shared_state.held) != before

    def _set_pace(self, verdict: Verdict) -> bool:
        """Slow the workers down, or let them run at full speed. Return whether that changed.

        They stay slow for SLOW_SECONDS at least: a signal near its level would fill the journal.
        """
        now, before = time.monotonic(), bool(self._shared_state.gives_way)
        if verdict.action == "slow":
            self._slow_until = now + SLOW_SECONDS
            self._shared_state.gives_way = f"gives way: {verdict.reason}"
        elif now >= self._slow_until:
            self._shared_state.gives_way = ""
        changed = bool(self._shared_state.gives_way) != before
        if changed:
            self._note_pace("gives way" if self._shared_state.gives_way else "full speed", verdict.reason)
        return changed

    def _note_pace(self, pace: str, reason: str) -> None:
        if self._context.in_run:
            with self._connection.cursor() as cursor:
                details = {"version": self._context.work.version, "reason": reason}
                record(cursor, self._run_id, PACE, pace, details)

    def _limit_pauses(self) -> None:
        limits = self._context.limits
        for signal, reason in self._shared_state.held.items():
            limit = limits.postpone_limit_seconds if signal == OPERATOR else limits.pause_limit_seconds
            if self._pauses.seconds(signal) > limit:
                self._shared_state.fail(self._stopped(f"was paused for longer than {limit:g} s: {reason}"))

    def _hold(self, signal: str, reason: str) -> None:
        self._shared_state.hold(signal, reason)
        self._pauses.begin(signal, reason)

    def _release(self, signal: str) -> None:
        self._pauses.end(signal)
        self._shared_state.release(signal)

    def apply_control(self) -> bool:
        """Read the operator's command and apply it. Return whether it was new."""
        self._new_command.clear()
        with self._connection.cursor() as cursor:
            current = operator.read(cursor, self._run_id)
        self._shared_state.revision = current.revision
        if current.revision == self._applied_revision:
            return False
        self._applied_revision = current.revision
        self._health.set_levels(current.levels)
        size, limits = self._shared_state.size, self._context.limits
        size.fixed_rows = current.batch_rows
        size.budget_milliseconds = current.batch_budget_milliseconds or limits.batch_budget_milliseconds
        self._shared_state.resize(current.workers or self._workers)
        if current.command == "pause":
            self._hold(OPERATOR, f"paused by {current.changed_by or 'the operator'}")
        elif OPERATOR in self._shared_state.held:
            self._release(OPERATOR)
        if self._context.in_run and current.revision:
            with self._connection.cursor() as cursor:
                operator.acknowledge(cursor, self._run_id, current)
        if current.command == "abort":
            self._shared_state.fail(self._stopped(f"aborted by {current.changed_by or 'the operator'}"))
        return True

    def _stopped(self, why: str) -> RunbookError:
        return RunbookError(
            f"run {self._run_id} {why}.",
            object_name=self._run_id,
            left_as="resumable",
            next_command=self._context.resume_command,
        )
