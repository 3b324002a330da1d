"""Run one trial: pick its rows, set the application's environment, send its statements, check, roll back."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping
from typing import Any

import psycopg2

from ...database.connection import Cursor, Stopwatch, rows_as_dicts
from ..findings import diag_message
from .environment import set_locally
from .outcome import RETRIED, Result, gives_no_answer, name_suppressors, name_triggers
from .trial import Statement, Trial, fill

#: No trial locks a row of the application for longer than this.
TRIAL_MILLISECONDS = 250.0
LOCK_MILLISECONDS = 50
ATTEMPTS = 3


class OneTrial:
    """One trial in the cursor's open transaction, retried while another session blocks it.

    :param settings: parameters of the application's sessions.
    :param pause: seconds between two attempts.
    """

    def __init__(self, cursor: Cursor, trial: Trial, settings: Mapping[str, str], *, pause: float) -> None:
        self._cursor, self._trial, self._settings, self._pause = cursor, trial, settings, pause
        self._stopwatch = Stopwatch()

    def run(self) -> Result:
        """Run the trial and roll it back."""
        for attempt in range(1, ATTEMPTS + 1):
            result = Result.of(self._trial)
            again = self._attempt(result)
            if not again or attempt == ATTEMPTS or self._left() <= 0:
                break
            time.sleep(self._pause)
        result.milliseconds = self._stopwatch.milliseconds()
        if result.outcome == "failed":
            name_triggers(self._cursor, result)
            name_suppressors(self._cursor, result)
        return result

    def _attempt(self, result: Result) -> bool:
        """Run the trial once. Return whether another session blocked it."""
        self._cursor.execute("SAVEPOINT runbook_trial")
        try:
            self._perform(result)
        except psycopg2.Error as error:
            if self._cursor.connection.closed:
                raise
            # Not an error of the application's statements: those do not reach this place.
            result.outcome = "not_examined"
            result.why = result.why or diag_message(error)
            return (error.pgcode or "") in RETRIED
        except (KeyError, ValueError) as error:
            # A parameter that no pick returns, or a picked value that Python cannot represent.
            result.outcome, result.why = "not_examined", f"{type(error).__name__}: {error}; check its picks"
        finally:
            if self._cursor.connection.closed == 0:
                self._cursor.execute("ROLLBACK TO SAVEPOINT runbook_trial; RELEASE SAVEPOINT runbook_trial")
        return False

    def _perform(self, result: Result) -> None:
        picked = self._pick(result)
        if picked is None:
            return
        settings = {name: fill(value, picked) for name, value in self._trial.settings.items()}
        self._enter({**self._settings, **settings}, result)
        statements = self._trial.file.of_kind("expect")
        for statement in statements:
            affected = self._send(statement, picked, result)
            if affected is None:
                return
            result.rows += affected
            result.statements += 1
            if affected < statement.least or (statement.most is not None and affected > statement.most):
                result.take_wrong_rows(self._trial, statement, affected)
                return
        for statement in self._trial.file.of_kind("effect"):
            if self._send(statement, picked, result) is None or not self._is_there(statement, result):
                return
        checks = dataclasses.replace(statements[-1], text="SET CONSTRAINTS ALL IMMEDIATE")
        self._send(checks, {}, result)

    def _pick(self, result: Result) -> dict[str, Any] | None:
        """Lock and return the rows to work on, as our own role; None without one."""
        picked: dict[str, Any] = {}
        for statement in self._trial.file.of_kind("pick"):
            result.why = f"its rows could not be picked ({statement.what})"
            try:
                self._limit()
                self._cursor.execute(statement.for_driver(), picked)
            except psycopg2.Error as error:
                result.why += f": {diag_message(error)}"
                raise
            row = next(iter(rows_as_dicts(self._cursor)), None)
            if row is None:
                result.outcome, result.why = "nothing_to_examine", f"no row to work on: {statement.what}"
                return None
            picked |= row
        result.why = ""
        return picked

    def _enter(self, settings: Mapping[str, str], result: Result) -> None:
        """Set the application's parameters and role."""
        try:
            set_locally(self._cursor, settings, self._trial.role)
        except psycopg2.Error as error:
            result.why = f"the environment of {self._trial.role} could not be set: {diag_message(error)}"
            raise

    def _send(self, statement: Statement, picked: Mapping[str, Any], result: Result) -> int | None:
        """Send one statement as the application. Return the number of rows affected, None if it failed."""
        try:
            self._limit()
            self._cursor.execute(statement.for_driver(), picked)
        except psycopg2.Error as error:
            if self._cursor.connection.closed:
                raise
            if gives_no_answer(error):
                verb = statement.text.split()[0]
                result.why = f"{diag_message(error)} ({verb}, limit of {TRIAL_MILLISECONDS:g} ms for a trial)"
                raise
            result.take_error(self._trial, statement, error)
            return None
        return int(self._cursor.rowcount)

    def _is_there(self, statement: Statement, result: Result) -> bool:
        rows = rows_as_dicts(self._cursor)
        wrong = [name for row in rows for name, value in row.items() if value is not True]
        if len(rows) == 1 and not wrong:
            return True
        found = f"{', '.join(wrong)} is not true" if len(rows) == 1 else f"the query returned {len(rows)} rows, not 1"
        result.take_effect(self._trial, statement, f"the effect is missing ({statement.what}): {found}")
        return False

    def _limit(self) -> None:
        """Limit the next statement to the time left for the trial."""
        left = max(1, round(self._left()))
        self._cursor.execute(
            "SET LOCAL statement_timeout = %s; SET LOCAL lock_timeout = %s", (left, min(left, LOCK_MILLISECONDS))
        )

    def _left(self) -> float:
        return TRIAL_MILLISECONDS - self._stopwatch.milliseconds()
