"""Create the side database like the live one, load the archive into it, and verify it before the swap."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from psycopg2 import sql
from psycopg2.errorcodes import INSUFFICIENT_PRIVILEGE

from ..backup.archive import Archive
from ..database.connection import BEGIN, Connection, Cursor, SessionSettings, Stopwatch, session
from ..errors import RunbookError, driver_errors
from ..progress.loading import loading_shown
from . import database_settings, side_database
from .side_restore import compare_rows, pg_restore, whole_entries
from .swap_checks import IN_PLACE
from .swap_names import CONNECTION_LIMIT, Names

EXISTING = """
SELECT d.datname::text, pg_catalog.shobj_description(d.oid, 'pg_database') AS comment, d.datconnlimit,
       pg_catalog.pg_has_role(d.datdba, 'MEMBER')
  FROM pg_catalog.pg_database d WHERE d.datname = ANY (%s)
"""


def existing(cursor: Cursor, names: Names) -> dict[str, dict[str, Any]]:
    """Return those of the swap's databases that exist, with the properties that identify them."""
    cursor.execute(EXISTING, ([names.side, names.kept],))
    return {
        name: {"comment": comment, "connection_limit": limit, "ours": ours}
        for name, comment, limit, ours in cursor.fetchall()
    }


def create(admin: Connection, names: Names) -> None:
    """Create the empty side database, to which nobody else may connect.

    :raises RunbookError: this role may not create it.
    """
    with admin.cursor() as cursor:
        owner = database_settings.read(cursor, names.live)["owner"]
        try:
            side_database.create(
                cursor, names.side, names.live, connection_limit=CONNECTION_LIMIT, owner=owner, same_place=True
            )
        except RunbookError as error:
            if error.sqlstate != INSUFFICIENT_PRIVILEGE:
                raise
            raise RunbookError(
                f"the database {names.side} could not be created: this role may not create databases, or not with "
                f"the owner {owner}.",
                object_name=names.side,
                sqlstate=error.sqlstate,
                next_command=f"as a superuser: ALTER ROLE … CREATEDB; or {IN_PLACE}",
            ) from error
        side = sql.Identifier(names.side)
        cursor.execute(sql.SQL("COMMENT ON DATABASE {} IS {}").format(side, sql.Literal(names.loading)))
        side_database.restrict_connections(cursor, names.side)


def rehearse(admin: Connection, names: Names) -> list[str]:
    """Rename the empty database and apply the live one's properties, in a transaction that is rolled back.

    :returns: a text for each privilege and setting that the swap will apply.
    :raises RunbookError: the server rejected one of them.
    """
    with (
        driver_errors(
            f"the trial of renaming {names.side} and applying the privileges and settings of {names.live} failed",
            object_name=names.side,
            next_command=f"for a setting, as a superuser: GRANT SET ON PARAMETER … TO the role; or {IN_PLACE}",
        ),
        admin.cursor() as cursor,
    ):
        facts = database_settings.read(cursor, names.live)
        cursor.execute(BEGIN)
        try:
            given = database_settings.apply(cursor, names.side, facts)
            cursor.execute(
                sql.SQL("ALTER DATABASE {} RENAME TO {}").format(sql.Identifier(names.side), sql.Identifier(names.kept))
            )
        finally:
            if admin.closed == 0:
                cursor.execute("ROLLBACK")
    return given


def fill(
    archive: Archive,
    options: Mapping[str, Any],
    settings: SessionSettings,
    jobs: int,
    rows: Mapping[str, int],
    progress_file: str | None,
) -> tuple[dict[str, float], list[str], list[str]]:
    """Restore the archive except the runbook's own objects, and collect statistics.

    :param rows: number of rows by table, from the backup's manifest.
    :returns: seconds of the load and of ANALYZE, the restored entries, the skipped entries.
    """
    watch = Stopwatch()
    entries, left_out = whole_entries(archive)
    name = settings.application_name
    with loading_shown(progress_file, f"load the backup into {options['dbname']}", options, settings, rows):
        pg_restore(archive, options, None, entries, application_name=name, jobs=jobs, keep_owners=True)
    loaded = watch.seconds()
    with session(options, settings) as side, side.cursor() as cursor:
        # pg_restore collects no statistics, and the application needs them at once.
        cursor.execute("ANALYZE")
    return {"load_seconds": loaded, "analyze_seconds": round(watch.seconds() - loaded, 3)}, entries, left_out


def verify(
    options: Mapping[str, Any], settings: SessionSettings, manifest: Mapping[str, Any], snapshot: Mapping[str, Any]
) -> dict[str, Any]:
    """Compare the rows with the backup's counts and the data snapshot.

    :param snapshot: ``directory`` and ``content`` (None if the backup has no snapshot).
    :raises RunbookError: they differ.
    """
    with session(options, settings) as side:
        return compare_rows(side, manifest, snapshot["content"], snapshot["directory"], "the new database is dropped")
