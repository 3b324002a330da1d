"""Tables of the journal: made at a run's first write, out of reach of application roles."""

from __future__ import annotations

import psycopg2
from psycopg2 import sql

from ..session.connection import Connection, Cursor, transaction

SCHEMA = "migration_runbook"

#: Roles of an application that must not reach the journal, where they exist. PUBLIC is always revoked.
APPLICATION_ROLES = ["anon", "authenticated", "service_role"]

TABLES = """
CREATE SCHEMA migration_runbook;
COMMENT ON SCHEMA migration_runbook IS 'How far each migration run got: written together with what it describes.';

CREATE TABLE migration_runbook.run (
    run_id text PRIMARY KEY,
    plan text NOT NULL,
    plan_hash text NOT NULL,
    environment text NOT NULL DEFAULT '',
    host text NOT NULL DEFAULT '',
    state text NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'complete', 'complete_with_warnings', 'rolled_back')),
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

-- run_id is no key: a migration can be run by the module alone, without a run.
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
    started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    finished_at timestamptz,
    superseded_at timestamptz
);
COMMENT ON COLUMN migration_runbook.step.superseded_at IS
    'Set when the other direction began or the file was edited: the row is history and the step must run again.';
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


def exists(cursor: Cursor) -> bool:
    """Whether the journal was ever written in this database."""
    cursor.execute("SELECT to_regclass('migration_runbook.run') IS NOT NULL")
    row = cursor.fetchone()
    return bool(row and row[0])


def ensure(connection: Connection) -> bool:
    """Make the journal where it is missing. Returns whether it was made now."""
    with connection.cursor() as cursor:
        if exists(cursor):
            return False
    try:
        with transaction(connection) as cursor:
            cursor.execute(TABLES)
            revoke_rights(cursor)
    except (psycopg2.errors.UniqueViolation, psycopg2.errors.DuplicateSchema):
        # Another run made it at the same moment, or a schema of this name holds something else.
        with connection.cursor() as cursor:
            if exists(cursor):
                return False
        raise
    return True


def revoke_rights(cursor: Cursor) -> None:
    """Take every right on the journal from PUBLIC and the application's roles: default privileges may give some."""
    cursor.execute("SELECT rolname FROM pg_roles WHERE rolname = ANY(%s)", (APPLICATION_ROLES,))
    grantees = [sql.SQL("PUBLIC"), *(sql.Identifier(name) for (name,) in cursor.fetchall())]
    for kind in ("SCHEMA", "ALL TABLES IN SCHEMA", "ALL SEQUENCES IN SCHEMA"):
        cursor.execute(
            sql.SQL("REVOKE ALL ON {kind} {schema} FROM {grantees}").format(
                kind=sql.SQL(kind), schema=sql.Identifier(SCHEMA), grantees=sql.SQL(", ").join(grantees)
            )
        )
