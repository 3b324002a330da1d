"""Create the journal's tables at a run's first write, inaccessible to application roles."""

from __future__ import annotations

import psycopg2
from psycopg2 import sql

from ..database import queries
from ..database.connection import Connection, Cursor, transaction
from .removals import REMOVAL_TABLE
from .repairs import REPAIR_TABLE
from .trials import TRIAL_TABLE

SCHEMA = "migration_runbook"

#: Roles of an application that must not reach the journal, where they exist. PUBLIC is always revoked.
APPLICATION_ROLES = ["anon", "authenticated", "service_role"]

FIRST_TABLES = """
CREATE SCHEMA migration_runbook;
COMMENT ON SCHEMA migration_runbook IS 'How far each migration run got: written together with what it describes.';

CREATE TABLE migration_runbook.run (
    run_id text PRIMARY KEY,
    plan text NOT NULL,
    plan_hash text NOT NULL,
    environment text NOT NULL DEFAULT '',
    host text NOT NULL DEFAULT '',
    state text NOT NULL DEFAULT 'open'
        CHECK (state IN ('open', 'complete', 'complete_with_warnings', 'rolled_back', 'abandoned')),
    directory text NOT NULL DEFAULT '',
    started_at timestamptz NOT NULL DEFAULT now(),
    finished_at timestamptz
);
-- Two runs opened at the same moment: the second one's insert fails.
CREATE UNIQUE INDEX run_one_open ON migration_runbook.run (state) WHERE state = 'open';

CREATE TABLE migration_runbook.event (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    run_id text NOT NULL REFERENCES migration_runbook.run,
    at timestamptz NOT NULL DEFAULT now(),
    phase text NOT NULL,
    status text NOT NULL,
    details jsonb NOT NULL DEFAULT '{}'
);
CREATE INDEX event_by_run ON migration_runbook.event (run_id, phase, id);

-- run_id is not a key: the module can also run a migration without a run.
CREATE TABLE migration_runbook.step (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    run_id text NOT NULL,
    version text NOT NULL,
    direction text NOT NULL CHECK (direction IN ('applied', 'reverted')),
    step_number integer NOT NULL,
    name text NOT NULL,
    kind text NOT NULL,
    sha256 text NOT NULL,
    state text NOT NULL CHECK (state IN ('intent', 'done')),
    rows_moved bigint,
    attempts integer NOT NULL DEFAULT 1,
    changed_tables boolean NOT NULL DEFAULT true,
    started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    finished_at timestamptz,
    superseded_at timestamptz,
    unconfirmed_at timestamptz
);
COMMENT ON COLUMN migration_runbook.step.superseded_at IS
    'Set when the other direction began or the file was edited: the row is history and the step must run again.';
COMMENT ON COLUMN migration_runbook.step.unconfirmed_at IS
    'Set when a commit of the step was ended while it waited for a synchronous standby: committed on this server only.';
CREATE UNIQUE INDEX step_current ON migration_runbook.step (version, direction, step_number)
    WHERE superseded_at IS NULL;

CREATE TABLE migration_runbook.batch (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    step_id bigint NOT NULL REFERENCES migration_runbook.step,
    run_id text NOT NULL,
    version text NOT NULL,
    direction text NOT NULL,
    step_number integer NOT NULL,
    pass integer NOT NULL DEFAULT 1,
    after_key text,
    upto_key text,
    rows_moved bigint NOT NULL,
    attempts integer NOT NULL DEFAULT 1,
    milliseconds double precision NOT NULL,
    at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX batch_by_step ON migration_runbook.batch (step_id, id);

CREATE TABLE migration_runbook.lease (
    name text PRIMARY KEY,
    run_id text NOT NULL,
    fence bigint NOT NULL,
    holder text NOT NULL,
    acquired_at timestamptz NOT NULL,
    heartbeat_at timestamptz NOT NULL,
    released_at timestamptz
);
"""

#: Tables of the backfill: ranges of keys, pauses, and commands of an operator.
ENGINE_TABLES = """
ALTER TABLE migration_runbook.step ADD COLUMN rows_total bigint;
ALTER TABLE migration_runbook.batch
    ADD COLUMN range_number integer NOT NULL DEFAULT 1,
    ADD COLUMN worker integer NOT NULL DEFAULT 1;

CREATE TABLE migration_runbook.range (
    step_id bigint NOT NULL REFERENCES migration_runbook.step,
    pass integer NOT NULL,
    number integer NOT NULL,
    after_key text,
    upto_key text,
    PRIMARY KEY (step_id, pass, number)
);
COMMENT ON TABLE migration_runbook.range IS
    'after_key < key <= upto_key (null: no bound). A range is through when a batch of it ends at upto_key.';

CREATE TABLE migration_runbook.pause (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    run_id text NOT NULL,
    version text NOT NULL,
    signal text NOT NULL,
    reason text NOT NULL,
    started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    ended_at timestamptz
);
CREATE INDEX pause_by_run ON migration_runbook.pause (run_id, id);
COMMENT ON COLUMN migration_runbook.pause.signal IS 'Name of a health signal, or operator, or postponed.';

CREATE TABLE migration_runbook.control (
    run_id text PRIMARY KEY,
    command text NOT NULL DEFAULT 'run' CHECK (command IN ('run', 'pause', 'abort')),
    batch_rows integer CHECK (batch_rows > 0),
    batch_budget_milliseconds double precision CHECK (batch_budget_milliseconds > 0),
    workers integer CHECK (workers > 0),
    levels jsonb NOT NULL DEFAULT '{}',
    postpone_contract boolean,
    revision bigint NOT NULL DEFAULT 1,
    changed_by text NOT NULL DEFAULT '',
    changed_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE migration_runbook.control IS
    'What an operator said from a second terminal. Read before each batch; null leaves a value as the run has it.';
"""

#: In this order; each is run if the table that identifies it is missing.
LATER_TABLES = (("repair", REPAIR_TABLE), ("publication_removal", REMOVAL_TABLE), ("trial", TRIAL_TABLE))
VERSIONS = (("run", FIRST_TABLES), ("control", ENGINE_TABLES), *LATER_TABLES)


def exists(cursor: Cursor) -> bool:
    """Return whether this database has a journal."""
    return bool(queries.value(cursor, "SELECT to_regclass('migration_runbook.run') IS NOT NULL"))


def has_engine_tables(cursor: Cursor) -> bool:
    """Return whether the journal has ranges, pauses and control; one of an earlier version does not."""
    return bool(queries.value(cursor, "SELECT to_regclass('migration_runbook.control') IS NOT NULL"))


def ensure(connection: Connection) -> bool:
    """Create the journal, or the parts that a later version adds. Return whether anything was created."""
    with connection.cursor() as cursor:
        if not _missing(cursor):
            return False
    try:
        with transaction(connection) as cursor:
            for text in _missing(cursor):
                cursor.execute(text)
            revoke_rights(cursor)
    except (psycopg2.errors.UniqueViolation, psycopg2.errors.DuplicateSchema, psycopg2.errors.DuplicateTable):
        # Another run created it at the same moment, or a schema of this name contains something else.
        with connection.cursor() as cursor:
            if not _missing(cursor):
                return False
        raise
    return True


def _missing(cursor: Cursor) -> list[str]:
    cursor.execute(
        "SELECT name FROM unnest(%s) AS n (name) WHERE to_regclass('migration_runbook.' || name) IS NULL",
        ([known_by for known_by, _ in VERSIONS],),
    )
    absent = {name for (name,) in cursor.fetchall()}
    return [text for known_by, text in VERSIONS if known_by in absent]


def revoke_rights(cursor: Cursor) -> None:
    """Revoke all on the journal from PUBLIC and the application's roles: default privileges may grant some."""
    cursor.execute("SELECT rolname FROM pg_roles WHERE rolname = ANY(%s)", (APPLICATION_ROLES,))
    grantees = [sql.SQL("PUBLIC"), *(sql.Identifier(name) for (name,) in cursor.fetchall())]
    for kind in ("SCHEMA", "ALL TABLES IN SCHEMA", "ALL SEQUENCES IN SCHEMA"):
        cursor.execute(
            sql.SQL("REVOKE ALL ON {kind} {schema} FROM {grantees}").format(
                kind=sql.SQL(kind), schema=sql.Identifier(SCHEMA), grantees=sql.SQL(", ").join(grantees)
            )
        )
