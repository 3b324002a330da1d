"""The helm: what the server's health and the operator demand is put on the board and into the journal."""

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
from .shared_state import Board

OPERATOR = "operator"
SLOW_SECONDS = 5.0


class Helm:
    """For one thread, the steward's; only ``call`` may come from others."""

    def __init__(self, connection: Connection, board: Board, health: Health, context: StepContext) -> None:
        self._connection = connection
        self._board = board
        self._health = health
        self._context = context
        self._run_id = context.lease.run_id
        self._workers = board.workers
        self._pauses = Pauses(connection, self._run_id, context.work.version)
        self._called = threading.Event()
        self._obeyed: int | None = None
        self._slow_until = 0.0
        board.on_revision = lambda _: self._called.set()

    @property
    def is_called(self) -> bool:
        """Whether a batch has read that the operator said something new."""
        return self._called.is_set()

    def let_go(self) -> None:
        """Close the pauses that are open in the journal."""
        self._pauses.end_all()
        if self._board.gives_way:
            self._note_pace("full speed", "the backfill ended")

    def look(self) -> bool:
        """Read the signals. Returns whether a pause began or ended."""
        before = set(self._board.held)
        with self._connection.cursor() as cursor:
            cursor.execute(BEGIN_READ_ONLY)
            try:
                verdict = self._health.read(cursor, self._board.transactions)
            finally:
                if self._connection.closed == 0:
                    cursor.execute("ROLLBACK")
                    self._board.count_transaction()
        holds = verdict.signal if verdict.action == "pause" else ""
        for signal in [held for held in self._board.held if held not in (holds, OPERATOR)]:
            self._release(signal)
        if holds:
            self._hold(verdict.signal, verdict.reason)
        elif verdict.action == "abort":
            self._board.fail(self._stopped(f"stopped by the health signal {verdict.signal}: {verdict.reason}"))
        changed = self._set_pace(verdict)
        self._refuse_endless_pause()
        return changed or set(self._board.held) != before

    def _set_pace(self, verdict: Verdict) -> bool:
        """Let the workers give way, or work as fast as they can. Returns whether that is new.

        They give way for some seconds at least: a signal about its level would fill the journal.
        """
        now, before = time.monotonic(), bool(self._board.gives_way)
        if verdict.action == "slow":
            self._slow_until = now + SLOW_SECONDS
            self._board.gives_way = f"gives way: {verdict.reason}"
        elif now >= self._slow_until:
            self._board.gives_way = ""
        changed = bool(self._board.gives_way) != before
        if changed:
            self._note_pace("gives way" if self._board.gives_way else "full speed", verdict.reason)
        return changed

    def _note_pace(self, pace: str, reason: str) -> None:
        if self._context.in_run:
            with self._connection.cursor() as cursor:
                details = {"version": self._context.work.version, "reason": reason}
                record(cursor, self._run_id, PACE, pace, details)

    def _refuse_endless_pause(self) -> None:
        limits = self._context.limits
        for signal, reason in self._board.held.items():
            limit = limits.postpone_limit_seconds if signal == OPERATOR else limits.pause_limit_seconds
            if self._pauses.seconds(signal) > limit:
                self._board.fail(self._stopped(f"was paused for longer than {limit:g} s: {reason}"))

    def _hold(self, signal: str, reason: str) -> None:
        self._board.hold(signal, reason)
        self._pauses.begin(signal, reason)

    def _release(self, signal: str) -> None:
        self._pauses.end(signal)
        self._board.release(signal)

    def obey(self) -> bool:
        """Read what the operator said and put it in force. Returns whether it was new."""
        self._called.clear()
        with self._connection.cursor() as cursor:
            said = operator.read(cursor, self._run_id)
        self._board.revision = said.revision
        if said.revision == self._obeyed:
            return False
        self._obeyed = said.revision
        self._health.set_levels(said.levels)
        size, limits = self._board.size, self._context.limits
        size.fixed_rows = said.batch_rows
        size.budget_milliseconds = said.batch_budget_milliseconds or limits.batch_budget_milliseconds
        self._board.resize(said.workers or self._workers)
        if said.command == "pause":
            self._hold(OPERATOR, f"paused by {said.changed_by or 'the operator'}")
        elif OPERATOR in self._board.held:
            self._release(OPERATOR)
        if self._context.in_run and said.revision:
            with self._connection.cursor() as cursor:
                operator.acknowledge(cursor, self._run_id, said)
        if said.command == "abort":
            self._board.fail(self._stopped(f"aborted by {said.changed_by or 'the operator'}"))
        return True

    def _stopped(self, why: str) -> RunbookError:
        return RunbookError(
            f"run {self._run_id} {why}.",
            object_name=self._run_id,
            left_as="resumable",
            next_command=self._context.resume_command,
        )
