"""One trial: pick its rows, become the application, send its statements, see their effect, undo everything."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping
from typing import Any

import psycopg2

from ...database.connection import Cursor, Stopwatch, rows_as_dicts
from .environment import set_locally
from .outcome import RETRIED, Result, gives_no_answer, name_suppressors, name_triggers
from .trial import Statement, Trial, fill

#: A row of the application is locked no longer than this by one trial, whatever happens in it.
TRIAL_MILLISECONDS = 250.0
LOCK_MILLISECONDS = 50
ATTEMPTS = 3


class OneTrial:
    """One trial in the cursor's open transaction, tried again while another session is in its way.

    :param settings: of the application's sessions.
    :param pause: between two attempts, in seconds.
    """

    def __init__(self, cursor: Cursor, trial: Trial, settings: Mapping[str, str], *, pause: float) -> None:
        self._cursor, self._trial, self._settings, self._pause = cursor, trial, settings, pause
        self._stopwatch = Stopwatch()

    def run(self) -> Result:
        """Run the trial and undo it."""
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
        """Run the trial once. Returns whether another session was in its way."""
        self._cursor.execute("SAVEPOINT runbook_trial")
        try:
            self._perform(result)
        except psycopg2.Error as error:
            if self._cursor.connection.closed:
                raise
            # An error that no statement took: of the trial's surroundings.
            result.outcome = "not_examined"
            result.why = result.why or (error.diag.message_primary or str(error)).strip()
            return (error.pgcode or "") in RETRIED
        except (KeyError, ValueError) as error:
            # A parameter that no pick gives, or a picked value that Python cannot hold.
            result.outcome, result.why = "not_examined", f"{type(error).__name__}: {error}; see its picks"
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
        """Lock the rows to work on, as ourselves; None where there are none."""
        picked: dict[str, Any] = {}
        for statement in self._trial.file.of_kind("pick"):
            result.why = f"its rows could not be picked ({statement.what})"
            try:
                self._limit()
                self._cursor.execute(statement.for_driver(), picked)
            except psycopg2.Error as error:
                result.why += f": {self._message(error)}"
                raise
            row = next(iter(rows_as_dicts(self._cursor)), None)
            if row is None:
                result.outcome, result.why = "nothing_to_examine", f"no row to work on: {statement.what}"
                return None
            picked |= row
        result.why = ""
        return picked

    def _enter(self, settings: Mapping[str, str], result: Result) -> None:
        """Set what the application has set, and its role."""
        try:
            set_locally(self._cursor, settings, self._trial.role)
        except psycopg2.Error as error:
            result.why = f"the environment of {self._trial.role} could not be set: {self._message(error)}"
            raise

    def _send(self, statement: Statement, picked: Mapping[str, Any], result: Result) -> int | None:
        """Send one statement as the application. Returns the rows it affected, None where it failed."""
        try:
            self._limit()
            self._cursor.execute(statement.for_driver(), picked)
        except psycopg2.Error as error:
            if self._cursor.connection.closed:
                raise
            if gives_no_answer(error):
                result.why = f"{self._message(error)} (trial of {TRIAL_MILLISECONDS:g} ms, {statement.text.split()[0]})"
                raise
            result.take_error(self._trial, statement, error)
            return None
        return int(self._cursor.rowcount)

    def _is_there(self, statement: Statement, result: Result) -> bool:
        rows = rows_as_dicts(self._cursor)
        if len(rows) != 1:
            why = f"the effect ({statement.what}) is not there: the query returned {len(rows)} rows instead of 1"
            result.take_effect(self._trial, statement, why)
            return False
        wrong = [name for name, value in rows[0].items() if value is not True]
        if wrong:
            why = f"the effect ({statement.what}) is not there: {', '.join(wrong)} is not true"
            result.take_effect(self._trial, statement, why)
        return not wrong

    def _limit(self) -> None:
        """Bound the next statement by what is left of the trial's time."""
        left = max(1, round(self._left()))
        self._cursor.execute(
            "SET LOCAL statement_timeout = %s; SET LOCAL lock_timeout = %s", (left, min(left, LOCK_MILLISECONDS))
        )

    def _left(self) -> float:
        return TRIAL_MILLISECONDS - self._stopwatch.milliseconds()

    @staticmethod
    def _message(error: psycopg2.Error) -> str:
        return (error.diag.message_primary or str(error)).strip()
