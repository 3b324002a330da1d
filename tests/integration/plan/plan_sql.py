"""The plan's own files, applied as the runner does it but by nothing of the runner except its reader of files."""

from __future__ import annotations

import contextlib
import functools
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import psycopg2
from ansible.module_utils.runbook.journal.migration_state import file_steps
from ansible.module_utils.runbook.plan.loader import load_plan
from ansible.module_utils.runbook.plan.migration_file import Step, parse_file
from psycopg2 import sql
from support.servers import Options, Server, connect, query

PLAN_DIRECTORY = Path(__file__).resolve().parents[3] / "sql" / "tracks_posts_separation"
PREPARE, MIGRATE, PLAYLISTS, FINALIZE = VERSIONS = (
    "20250122000000",
    "20250122000002",
    "20250122000003",
    "20250122000004",
)
IS_PUBLIC = "tracks_posts_separation.migrated_tracks_are_public"
SETTINGS = {IS_PUBLIC: "true"}
LOCK_ATTEMPTS = 100

Connection = Any
Row = tuple[Any, ...]


@functools.cache
def plan() -> dict[str, Any]:
    return load_plan(str(PLAN_DIRECTORY))


def migration(version: str) -> dict[str, Any]:
    return next(entry for entry in plan()["migrations"] if entry["version"] == version)


@functools.cache
def steps_of(version: str, direction: str = "applied") -> list[Step]:
    return file_steps(migration(version), direction)  # type: ignore[arg-type]


@contextlib.contextmanager
def owner_session(options: Options, settings: Mapping[str, str] = SETTINGS) -> Iterator[Connection]:
    """Open a session with the parameters that the runner sets."""
    given = {"search_path": "pg_catalog", **settings}
    with connect(options, options=" ".join(f"-c {name}={text}" for name, text in given.items())) as connection:
        yield connection


def run_step(connection: Connection, step: Step) -> None:
    """One step: locks and statements in a transaction, or one statement outside."""
    with connection.cursor() as cursor:
        if step.kind == "concurrently":
            cursor.execute(step.statements[0])
            return
        _begin_with_locks(cursor, step)
        try:
            for statement in step.statements:
                cursor.execute(statement)
        except BaseException:
            cursor.execute("ROLLBACK")
            raise
        cursor.execute("COMMIT")


def _begin_with_locks(cursor: Any, step: Step) -> None:
    """Take the step's locks as the runner does: a session that reads the tables in another order must not deadlock."""
    for attempt in range(LOCK_ATTEMPTS):
        cursor.execute("BEGIN")
        try:
            for lock in step.locks:
                table = sql.Identifier(*lock.table.split("."))
                cursor.execute("SET LOCAL lock_timeout = '300ms'")
                cursor.execute(sql.SQL("LOCK TABLE {} IN {} MODE").format(table, sql.SQL(lock.mode)))
        except psycopg2.errors.LockNotAvailable:
            cursor.execute("ROLLBACK")
            if attempt == LOCK_ATTEMPTS - 1:
                raise
            time.sleep(0.05)
        except BaseException:
            cursor.execute("ROLLBACK")
            raise
        else:
            if step.locks:
                cursor.execute("SET LOCAL lock_timeout TO DEFAULT")
            return


def apply(
    options: Options, *versions: str, settings: Mapping[str, str] = SETTINGS, each_step_twice: bool = False
) -> None:
    """Apply migrations in order, step by step."""
    with owner_session(options, settings) as connection:
        for version in versions:
            for step in steps_of(version):
                for _ in range(2 if each_step_twice else 1):
                    run_step(connection, step)


def migrate_offline(options: Options, *, up_to_the_call: bool = False) -> None:
    """Migration 2 with the call for a maintenance window in place of the backfill."""
    function = migration(MIGRATE)["backfill"]["offline"]["function"]
    with owner_session(options) as connection:
        for step in steps_of(MIGRATE):
            if step.kind != "backfill":
                run_step(connection, step)
                continue
            with connection.cursor() as cursor:
                cursor.execute(sql.SQL("SELECT {}()").format(sql.Identifier(*function.split("."))))
            if up_to_the_call:
                return


def make_revert_functions(options: Options) -> None:
    """Run what the revert of every migration begins with."""
    with owner_session(options, {}) as connection:
        for step in parse_file(plan()["rollback"]["functions"], direction="reverted"):
            run_step(connection, step)


def revert(options: Options, *versions: str, each_step_twice: bool = False) -> None:
    """Revert migrations, last first, step by step."""
    with owner_session(options, {}) as connection:
        for version in sorted(versions, reverse=True):
            for step in steps_of(version, "reverted"):
                for _ in range(2 if each_step_twice else 1):
                    run_step(connection, step)


def apply_before_backfill(options: Options) -> None:
    """Migration 2 up to the call of its backfill: functions and exceptions are there, no post is migrated."""
    with owner_session(options) as connection:
        for step in steps_of(MIGRATE):
            if step.kind == "backfill":
                return
            run_step(connection, step)


def apply_after_backfill(options: Options) -> None:
    """The rest of migration 2."""
    with owner_session(options) as connection:
        steps = steps_of(MIGRATE)
        call = next(number for number, step in enumerate(steps) if step.kind == "backfill")
        for step in steps[call + 1 :]:
            run_step(connection, step)


def psql(server: Server, options: Options, *files: str, environment: Mapping[str, str] | None = None) -> Any:
    """Apply whole files with psql as an operator would; returns the finished process."""
    program = Path(server.bin_directory) / "psql"
    command = [str(program), "-X", "-q", "-v", "ON_ERROR_STOP=1", "-h", options["host"], "-p", str(options["port"])]
    command += ["-U", options["user"], "-d", options["dbname"], *(part for file in files for part in ("-f", file))]
    wanted = environment if environment is not None else {"PGOPTIONS": f"-c {IS_PUBLIC}=true"}
    return subprocess.run(command, env=dict(wanted), capture_output=True, text=True, check=False)


def plan_query(name: str) -> str:
    return (PLAN_DIRECTORY / "queries" / f"{name}.sql").read_text(encoding="utf-8")


def rows(options: Options, name: str) -> list[Row]:
    """Run a query of the plan as the runner's role."""
    with owner_session(options) as connection, connection.cursor() as cursor:
        cursor.execute(plan_query(name))
        return list(cursor.fetchall())


def one_row(options: Options, path: str) -> dict[str, Any]:
    """Run a check's query: exactly one row, by column."""
    with owner_session(options) as connection, connection.cursor() as cursor:
        cursor.execute(Path(path).read_text(encoding="utf-8"))
        found = cursor.fetchall()
        assert len(found) == 1, f"{path} returned {len(found)} rows"
        return dict(zip((column.name for column in cursor.description), found[0], strict=True))


def answer(options: Options, check: dict[str, Any]) -> dict[str, Any]:
    """Ask for the row of a check as the runner does: without a query its offenders are counted."""
    if check["query"]:
        return one_row(options, check["query"])
    with owner_session(options) as connection, connection.cursor() as cursor:
        cursor.execute(Path(check["offenders"]).read_text(encoding="utf-8"))
        offending = len(cursor.fetchall())
    (examined,) = one_row(options, check["examined"]).values()
    return {"offending_rows": offending, "rows_examined": examined}


def posts_without_track_id(options: Options) -> dict[Any, str]:
    """Every post as text, all its columns but track_id."""
    return dict(query(options, "SELECT id, (to_jsonb(p) - 'track_id')::text FROM public.posts AS p"))


def table(options: Options, name: str) -> dict[Any, str]:
    """Every row of a table as text, by id."""
    statement = sql.SQL("SELECT id, to_jsonb(t)::text FROM {} AS t").format(sql.Identifier(*name.split(".")))
    with connect(options) as connection, connection.cursor() as cursor:
        cursor.execute(statement)
        return dict(cursor.fetchall())


def playlist_order(options: Options) -> list[Row]:
    return sorted(rows(options, "rows_playlist_order"), key=str)


def catalogue(options: Options) -> dict[str, list[Row]]:
    """Return what a schema dump does not show: states of constraints, indexes, triggers and tables, and memberships."""
    states = {
        "constraints": """
            SELECT conrelid::regclass::text, conname::text, pg_get_constraintdef(oid), convalidated
            FROM pg_constraint WHERE conrelid <> 0""",
        "indexes": (
            "SELECT indexrelid::regclass::text, pg_get_indexdef(indexrelid), indisvalid, indisready FROM pg_index"
        ),
        "triggers": (
            "SELECT tgrelid::regclass::text, tgname::text, tgenabled::text FROM pg_trigger WHERE NOT tgisinternal"
        ),
        "tables": """
            SELECT oid::regclass::text, reloptions::text, relrowsecurity, relforcerowsecurity, relacl::text, relowner
            FROM pg_class WHERE relkind IN ('r', 'v', 'p')""",
        "functions": (
            "SELECT oid::regprocedure::text, proacl::text, prosecdef FROM pg_proc WHERE pronamespace = "
            "'public'::regnamespace"
        ),
        "policies": "SELECT polrelid::regclass::text, polname::text, polcmd::text FROM pg_policy",
        "publications": (
            "SELECT pubname::text, schemaname::text, tablename::text, attnames::text FROM pg_publication_tables"
        ),
        "comments": (
            "SELECT objoid::regclass::text, objsubid, description FROM pg_description WHERE classoid = "
            "'pg_class'::regclass"
        ),
        "schemas": "SELECT nspname::text, nspacl::text FROM pg_namespace WHERE nspname !~ '^pg_(toast|temp)'",
    }
    superuser = {**options, "user": "supabase_admin"}
    found = {name: sorted(query(superuser, statement), key=str) for name, statement in states.items()}
    # Attributes keep a hole where a dropped column was: publications list them by name, that is what counts.
    return {
        name: [row for row in rows if not str(row[0]).startswith(("pg_toast.", "pg_catalog."))]
        for name, rows in found.items()
    }


def schema_text(server: Server, options: Options) -> str:
    """pg_dump's schema without the random key that newer versions write."""
    program = Path(server.bin_directory) / "pg_dump"
    command = [
        str(program),
        "-s",
        "-h",
        options["host"],
        "-p",
        str(options["port"]),
        "-U",
        "supabase_admin",
        options["dbname"],
    ]
    text = subprocess.run(command, env={}, capture_output=True, text=True, check=True).stdout
    return "\n".join(line for line in text.splitlines() if not line.startswith(("\\restrict", "\\unrestrict")))
