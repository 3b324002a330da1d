"""The input of every examination: one read-only transaction, the plan, and the expectations of the inventory."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import psycopg2
import psycopg2.errorcodes

from ..database.connection import Cursor, rows_as_dicts
from ..database.queries import savepoint, value
from ..database.readers import Readers
from ..errors import from_driver
from ..plain import to_plain
from ..verification.findings import Finding

#: Harm of a finding that could not be examined.
UNDETECTED = "the problem that it looks for may exist undetected"


@dataclasses.dataclass
class View:
    """The database in one transaction, and what it is compared with.

    :param expected: ``system_identifier``, ``database``, ``pins_required``, ``host``, and the option ``tls``.
    :param thresholds: the ``thresholds`` option of the module.
    :param facts: results of earlier examinations: ``server``, ``applied``, ``pending``, ``volume``.
    :param accepted: findings of the survey that the inventory accepts: ``finding``, ``object``, ``reason``.
    :param sampling: sample rows may be written, in a session that rolls back.
    :param drill: ``wanted``, ``elsewhere`` (not on this server) and ``prerequisites_file`` of the restore drill.
    :param unpublish: the backfill's tables are removed from their publications meanwhile.
    :param side_by_side: the cursor and others with the same snapshot, for queries that read whole tables.
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
        return to_plain(value(self.cursor, statement, parameters))

    def tables(self) -> list[str]:
        """Return the names of all tables that the plan reads or changes."""
        return list(dict.fromkeys([entry["table"] for entry in self.required_tables()] + self.changed_tables()))

    def required_tables(self) -> list[dict[str, Any]]:
        """Return the tables and columns that the plan requires."""
        entries: list[dict[str, Any]] = self.plan["requirements"]["tables"]
        return entries

    def changed_tables(self) -> list[str]:
        """Return the names of the tables that the plan changes: protected ones and those of backfills."""
        return list(dict.fromkeys(self.protected_tables() + [entry["table"] for entry in self.backfills()]))

    def backfills(self) -> list[dict[str, Any]]:
        """Return the backfills of existing tables, not of those that a migration creates in the helper schema."""
        made_by_the_plan = f"{self.plan['helper_schema']}."
        found = [migration["backfill"] for migration in self.plan["migrations"] if migration["backfill"]]
        return [backfill for backfill in found if not backfill["table"].startswith(made_by_the_plan)]

    def protected_tables(self) -> list[str]:
        """Return the names of the tables whose rows the plan protects."""
        return [entry["table"] for entry in self.plan["protected_tables"]]

    @property
    def server(self) -> dict[str, Any]:
        """Facts about the server."""
        known: dict[str, Any] = self.facts.setdefault("server", {})
        return known

    @property
    def pending(self) -> list[str]:
        """Versions of the plan that are not applied."""
        versions: list[str] = self.facts.setdefault("pending", [entry["version"] for entry in self.plan["migrations"]])
        return versions


_LOCKED = (psycopg2.errorcodes.LOCK_NOT_AVAILABLE, psycopg2.errorcodes.DEADLOCK_DETECTED)


def refusal_as_finding(name: str, cursor: Cursor, examination: Callable[[], Iterator[Finding]]) -> list[Finding]:
    """Run one examination in a savepoint; an error of the server becomes a finding.

    :param name: of the examination.
    """
    try:
        with savepoint(cursor):
            return list(examination())
    except psycopg2.Error as error:
        if cursor.connection.closed:
            raise
        found = from_driver(error, f"{name} could not be examined").msg
        return [Finding("not_examined", "blocking", name, found, UNDETECTED, _remedy(error.pgcode or ""))]


def _remedy(sqlstate: str) -> str:
    if sqlstate in _LOCKED:
        return "wait until the session that holds the lock has finished, then try again"
    if sqlstate == psycopg2.errorcodes.INSUFFICIENT_PRIVILEGE:
        return "grant the missing privilege to the role, then try again"
    return "correct what the server reports, then try again"
