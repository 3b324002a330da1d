"""Find event triggers, and try whether they refuse DDL, in a scratch schema that is rolled back."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg2
from psycopg2 import sql

from ...errors import RunbookError, from_driver
from ...verification.findings import Finding, diag_message
from .sample_transaction import BUSY, first_of_context, reaching_outside, sample_transaction
from .subject import Subject

EVENT_TRIGGERS = """
SELECT e.evtname::text AS "trigger", e.evtevent::text AS event, array_to_string(e.evttags, ', ') AS commands,
       e.evtfoid::regproc::text AS function, pg_catalog.pg_get_userbyid(e.evtowner)::text AS owner,
       e.evtenabled::text AS enabled
  FROM pg_catalog.pg_event_trigger AS e
 WHERE e.evtenabled IN ('O', 'A') AND e.evtevent <> 'login'
 ORDER BY 1
"""

#: The kinds of DDL that plans and the runbook use. ``{s}`` is the scratch schema.
TRIED = (
    "CREATE SCHEMA {s}",
    "CREATE TABLE {s}.parent (id bigint PRIMARY KEY)",
    "CREATE TABLE {s}.child (id bigint PRIMARY KEY, note text)",
    "ALTER TABLE {s}.child ADD COLUMN parent_id bigint",
    "CREATE INDEX child_parent ON {s}.child (parent_id)",
    "ALTER TABLE {s}.child ADD CONSTRAINT to_parent FOREIGN KEY (parent_id) REFERENCES {s}.parent (id) NOT VALID",
    "ALTER TABLE {s}.child VALIDATE CONSTRAINT to_parent",
    "ALTER TABLE {s}.child ADD CONSTRAINT child_note CHECK (note <> '') NOT VALID",
    "CREATE FUNCTION {s}.nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'",
    "CREATE TRIGGER on_child BEFORE INSERT ON {s}.child FOR EACH ROW EXECUTE FUNCTION {s}.nothing()",
    "COMMENT ON COLUMN {s}.child.note IS 'deprecated'",
    "REVOKE ALL ON ALL FUNCTIONS IN SCHEMA {s} FROM PUBLIC",
    "DROP TRIGGER on_child ON {s}.child",
    "DROP INDEX {s}.child_parent",
    "DROP SCHEMA {s} CASCADE",
)

SCHEMA = "runbook_event_trigger_trial"


def examine_event_triggers(subject: Subject) -> Iterator[Finding]:
    """List event triggers, and try whether one refuses DDL; those of hosted projects usually do not."""
    if subject.is_over:
        return
    rows = subject.view.rows(EVENT_TRIGGERS)
    if not rows:
        return
    names = ", ".join(row["trigger"] for row in rows)
    severity, outcome, repair = "information", "", ""
    if subject.view.sampling and subject.view.pending:
        refused, outcome = _tried(subject, rows)
        if refused:
            severity, repair = "blocking", "disable it while the plan runs: ALTER EVENT TRIGGER <name> DISABLE"
    yield Finding(
        "event_trigger",
        severity,  # type: ignore[arg-type]
        subject.view.server.get("database", ""),
        f"event triggers run for DDL in this database: {names}{outcome}",
        "each runs for CREATE, ALTER and DROP statements of the plan and the runbook; one that raises an error stops "
        "the step, which then changes nothing",
        repair,
        rows,
    )


def _tried(subject: Subject, rows: list[dict[str, Any]]) -> tuple[bool, str]:
    """Return whether DDL was refused, and the outcome as text."""
    unsafe = reaching_outside(subject, rows)
    if unsafe:
        return False, f"; no DDL was tried: {unsafe[0]} may act outside the database"
    statement = ""
    try:
        with sample_transaction(subject) as cursor:
            for text in TRIED:
                statement = text.format(s=SCHEMA).split(" (")[0]
                cursor.execute(sql.SQL(text).format(s=sql.Identifier(SCHEMA)))
    except psycopg2.Error as error:
        if error.pgcode in BUSY or error.pgcode == "42501":
            return False, f"; no DDL was tried: {diag_message(error)}"
        return True, f"; {from_driver(error, f'the test statement {statement} failed').msg} {first_of_context(error)}"
    except RunbookError as error:
        return False, f"; no DDL was tried: {error.msg}"
    return False, "; test DDL was accepted and rolled back"
