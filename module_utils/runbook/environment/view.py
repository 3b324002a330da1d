"""What every examination looks at: one read-only transaction, the plan, and what the operator expects."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import psycopg2
import psycopg2.errorcodes

from ..database.connection import Cursor, rows_as_dicts
from ..database.queries import savepoint
from ..database.readers import Readers
from ..errors import from_driver
from ..plain import to_plain
from ..verification.findings import Finding


@dataclasses.dataclass
class View:
    """The database as one transaction sees it, and what it is compared with.

    :param expected: ``system_identifier``, ``database``, ``pins_required``, ``host``, and the option ``tls``.
    :param thresholds: the ``thresholds`` option of the module.
    :param facts: what examinations learn for those after them: ``server``, ``applied``, ``pending``, ``volume``.
    :param accepted: findings of the survey that the inventory accepts: ``finding``, ``object``, ``reason``.
    :param sampling: rows may be inserted on trial, in a session of their own that rolls back.
    :param drill: ``wanted``, ``elsewhere`` (not on this server) and ``prerequisites_file`` of the restore drill.
    :param unpublish: tables are taken out of their publications for the backfill.
    :param side_by_side: the cursor with others that read the same instant, for what reads whole tables.
    """

    cursor: Cursor
    plan: Mapping[str, Any]
    settings: Mapping[str, Any]
    expected: Mapping[str, Any]
    thresholds: Mapping[str, Any]
    options: Mapping[str, Any]
    disk: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    tools_directory: str | None = None
    accepted_versions: tuple[str, ...] = ()
    unpublish: bool = False
    accepted: tuple[Mapping[str, Any], ...] = ()
    sampling: bool = False
    drill: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    scratch: Mapping[str, Any] | None = None
    facts: dict[str, Any] = dataclasses.field(default_factory=dict)
    side_by_side: Readers = dataclasses.field(default_factory=lambda: Readers([]))

    def rows(self, statement: str, parameters: Any = None) -> list[dict[str, Any]]:
        """Run a query and return its rows as plain values."""
        self.cursor.execute(statement, parameters)
        rows: list[dict[str, Any]] = to_plain(rows_as_dicts(self.cursor))
        return rows

    def value(self, statement: str, parameters: Any = None) -> Any:
        """Run a query and return the first column of its first row, None without a row."""
        self.cursor.execute(statement, parameters)
        row = self.cursor.fetchone()
        return to_plain(row[0]) if row else None

    def tables(self) -> list[str]:
        """Return the names of all tables that the plan reads or changes."""
        return list(dict.fromkeys([entry["table"] for entry in self.required_tables()] + self.changed_tables()))

    def required_tables(self) -> list[dict[str, Any]]:
        """Return the tables and columns that the plan needs to find."""
        entries: list[dict[str, Any]] = self.plan["requirements"]["tables"]
        return entries

    def changed_tables(self) -> list[str]:
        """Return the names of the tables that the plan changes: those it protects, and those it moves rows in."""
        return list(dict.fromkeys(self.protected_tables() + [entry["table"] for entry in self.backfills()]))

    def backfills(self) -> list[dict[str, Any]]:
        """Return the backfills that walk a table which is there already, not one that a migration makes for itself."""
        made_by_the_plan = f"{self.plan['helper_schema']}."
        found = [migration["backfill"] for migration in self.plan["migrations"] if migration["backfill"]]
        return [backfill for backfill in found if not backfill["table"].startswith(made_by_the_plan)]

    def protected_tables(self) -> list[str]:
        """Return the names of the tables whose rows the plan protects."""
        return [entry["table"] for entry in self.plan["protected_tables"]]

    @property
    def server(self) -> dict[str, Any]:
        """What is known about the server."""
        known: dict[str, Any] = self.facts.setdefault("server", {})
        return known

    @property
    def pending(self) -> list[str]:
        """Versions of the plan that are not applied."""
        versions: list[str] = self.facts.setdefault("pending", [entry["version"] for entry in self.plan["migrations"]])
        return versions


#: Lock timeout, deadlock.
_IN_THE_WAY = (psycopg2.errorcodes.LOCK_NOT_AVAILABLE, psycopg2.errorcodes.DEADLOCK_DETECTED)


def refusal_as_finding(name: str, cursor: Cursor, examination: Callable[[], Iterator[Finding]]) -> list[Finding]:
    """Run one examination in a savepoint.

    :param name: what is examined, for the finding when the server refuses.
    """
    try:
        with savepoint(cursor):
            return list(examination())
    except psycopg2.Error as error:
        if cursor.connection.closed:
            raise
        found = from_driver(error, f"{name} could not be examined").msg
        harm = "what it looks for can be there unseen"
        return [Finding("not_examined", "blocking", name, found, harm, _remedy(error.pgcode or ""))]


def _remedy(sqlstate: str) -> str:
    if sqlstate in _IN_THE_WAY:
        return "wait until the session that holds the lock is through, then try again"
    if sqlstate == psycopg2.errorcodes.INSUFFICIENT_PRIVILEGE:
        return "give the role the right it lacks, then try again"
    return "put right what the server says, then try again"
