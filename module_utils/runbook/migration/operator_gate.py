"""Obey the operator's commands before each step; the throttle does so before each batch."""

from __future__ import annotations

import time

from ..control import control as operator
from ..control.control import Control, Pauses
from ..errors import RunbookError
from .step_context import StepContext

POLL_SECONDS = 0.2
BEAT_SECONDS = 5.0


def wait_for_operator(context: StepContext, step_name: str, *, contract: bool, postponed: bool) -> None:
    """Return when a step may begin: the run is not paused, and the contract is not postponed.

    :param contract: the step belongs to a migration that breaks the old application.
    :param postponed: postpone the contract unless the operator decided otherwise.
    :raises RunbookError: the operator aborted the run, or a wait exceeded its limit.
    """
    pauses: Pauses | None = None
    seen, began, beat = -1, time.monotonic(), time.monotonic()
    try:
        while True:
            with context.connection.cursor() as cursor:
                current = operator.read(cursor, context.work.run_id)
                if current.revision != seen and current.revision and context.in_run:
                    operator.acknowledge(cursor, context.work.run_id, current)
                seen = current.revision
                if time.monotonic() - beat > BEAT_SECONDS:
                    context.lease.beat(cursor)
                    beat = time.monotonic()
            if current.command == "abort":
                raise _stopped(context, f"aborted by {current.changed_by or 'the operator'}")
            signal, reason, limit = _held_by(context, current, contract, postponed)
            if not signal:
                return
            pauses = pauses or Pauses(context.connection, context.work.run_id, context.work.version)
            if pauses.begin(signal, reason):
                _report(context, step_name, signal, reason)
            for other in {"operator", "postponed"} - {signal}:
                pauses.end(other)
            if time.monotonic() - began > limit:
                raise _stopped(context, f"stopped after more than {limit:g} s: {reason}")
            time.sleep(POLL_SECONDS)
    finally:
        if pauses and context.connection.closed == 0:
            pauses.end_all()
            _report(context, step_name, "", "")


def _held_by(context: StepContext, current: Control, contract: bool, postponed: bool) -> tuple[str, str, float]:
    limits = context.limits
    if current.command == "pause":
        return "operator", f"paused by {current.changed_by or 'the operator'}", limits.postpone_limit_seconds
    if contract and (postponed if current.postpone_contract is None else current.postpone_contract):
        reason = "waiting before the contract migration; continue with -e control=set -e postpone_contract=false"
        return "postponed", reason, limits.postpone_limit_seconds
    return "", "", 0.0


def _report(context: StepContext, step_name: str, signal: str, reason: str) -> None:
    state = {"operator": "paused", "postponed": "waiting"}.get(signal, "running")
    kind = "postponed" if signal == "postponed" else "lock"
    context.writer.write({**context.place(step_name), "kind": kind, "state": state, "reason": reason})


def _stopped(context: StepContext, why: str) -> RunbookError:
    return RunbookError(
        f"run {context.work.run_id} {why}.",
        object_name=context.work.run_id,
        left_as=context.left_as,
        next_command=context.resume_command,
    )
