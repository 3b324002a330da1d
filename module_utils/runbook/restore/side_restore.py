"""Restore an archive into an empty database with pg_restore, create missing parent rows, and compare the rows."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from psycopg2 import sql

from ..backup.archive import Archive, contents
from ..backup.dumped_tables import row_count
from ..backup.tools import start_tool
from ..database.connection import Connection, Cursor, client_environment, identifier, read_only_snapshot
from ..database.options import dbname_argument, role_arguments
from ..database.queries import value
from ..errors import RunbookError, driver_errors
from ..evidence.change_log_triggers import PREFIX as LOG_TRIGGERS
from ..evidence.compare import compare, refuse_differences
from ..journal.schema import SCHEMA as JOURNAL

#: ``number; oid oid KIND schema name owner`` of ``pg_restore --list``.
_ENTRY = re.compile(r"\d+; \d+ \d+ (?P<rest>.*)")
_LOG_TRIGGER = re.compile(rf"TRIGGER \S+ .* {LOG_TRIGGERS}\w+ \S+")
_SCHEMA = re.compile(r"SCHEMA - (?P<name>.*) \S+")
_EXTENSION = re.compile(r"(?:EXTENSION - |COMMENT - EXTENSION )(?P<name>\S+)(?: .*)?")
_RIGHTS = re.compile(r"(DEFAULT )?ACL |POLICY ")
_DEFAULT_RIGHTS = re.compile(r"DEFAULT ACL .* (?P<owner>\S+)")


def entries_to_restore(archive: Archive, cursor: Cursor, grantees: Sequence[str] = ()) -> tuple[list[str], list[str]]:
    """Return the lines of the table of contents to restore into the cursor's database, and the skipped entries.

    Skipped are: the change log's triggers (no backup contains their functions), the journal, schemas and extensions
    that exist, default privileges of roles of which this one is not a member, and privileges and policies if one of
    the grantees does not exist.
    """
    cursor.execute("SELECT nspname::text FROM pg_catalog.pg_namespace")
    schemas = {name for (name,) in cursor.fetchall()}
    cursor.execute("SELECT extname::text FROM pg_catalog.pg_extension")
    extensions = {name for (name,) in cursor.fetchall()}
    cursor.execute("SELECT rolname::text FROM pg_catalog.pg_roles WHERE pg_catalog.pg_has_role(oid, 'MEMBER')")
    roles = {name for (name,) in cursor.fetchall()}
    existing = "SELECT count(*) FROM pg_catalog.pg_roles WHERE rolname = ANY (%s)"
    gone = value(cursor, existing, (list(grantees),)) < len(set(grantees))

    def is_skipped(entry: str) -> bool:
        schema, extension, rights = (pattern.fullmatch(entry) for pattern in (_SCHEMA, _EXTENSION, _DEFAULT_RIGHTS))
        return bool(
            _LOG_TRIGGER.fullmatch(entry)
            or re.search(rf" {JOURNAL} ", f"{entry} ")
            or (schema and schema["name"] in schemas)
            or (extension and extension["name"] in extensions)
            or (rights and rights["owner"] not in roles)
            or (gone and _RIGHTS.match(entry))
        )

    return _partition(archive, is_skipped)


def whole_entries(archive: Archive) -> tuple[list[str], list[str]]:
    """Return the lines of the table of contents of a whole database's archive to restore, and the skipped entries.

    Skipped are the change log's triggers: the archive does not contain the journal, to which their functions belong.
    """
    return _partition(archive, lambda entry: bool(_LOG_TRIGGER.fullmatch(entry)))


def _partition(archive: Archive, is_skipped: Callable[[str], bool]) -> tuple[list[str], list[str]]:
    kept: list[str] = []
    skipped: list[str] = []
    for line in contents(archive):
        if found := _ENTRY.fullmatch(line):
            if is_skipped(found["rest"]):
                skipped.append(found["rest"])
            else:
                kept.append(line)
    return kept, skipped


def pg_restore(
    archive: Archive,
    options: Mapping[str, Any],
    section: str | None,
    entries: Sequence[str],
    *,
    application_name: str,
    jobs: int = 1,
    keep_owners: bool = False,
    next_command: str = "",
) -> None:
    """Restore these entries, or one section of them; the first error stops it.

    :param section: ``pre-data``, ``data`` or ``post-data``; None for all three.
    :param next_command: shown after a failure.
    :raises RunbookError: pg_restore failed; the message has its output.
    """
    command = [
        str(archive.pg_restore),
        *([f"--section={section}"] if section else []),
        "--use-list=/dev/stdin",
        "--exit-on-error",
        "--no-password",
        f"--jobs={jobs if section != 'pre-data' else 1}",
        f"--dbname={dbname_argument(options['dbname'])}",
        *role_arguments(options),
        archive.path,
    ]
    if not keep_owners:
        command.insert(1, "--no-owner")
    environment = client_environment(options, f"{application_name} pg_restore")
    # Nothing could end a commit of pg_restore that waits for a standby. A later commit in a session of ours waits, and
    # confirms all earlier ones.
    environment["PGOPTIONS"] = f"{environment.get('PGOPTIONS', '')} -c synchronous_commit=local".strip()
    with start_tool(command, environment, send="\n".join([*entries, ""]).encode()) as tool:
        part = f"the {section} section of " if section else ""
        try:
            tool.finish(f"restoring {part}{archive.path} into {options['dbname']}")
        except RunbookError as error:
            raise RunbookError(error.msg, object_name=archive.path, next_command=next_command) from error


def make_stub_rows(connection: Connection, keys: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Insert the rows of tables outside the backup that its rows reference, so that foreign keys can be created.

    :param keys: ``outside_keys`` of a manifest.
    :returns: each key with the number of stub ``rows`` that it references; keys to one table share them.
    :raises RunbookError: such a table does not exist, or has other columns that need values.
    """
    made = []
    with connection.cursor() as cursor:
        for key in keys:
            name = f"{key['name']} ({key['table']} → {key['parent']})"
            with driver_errors(f"creating the parent rows for {name}", object_name=key["parent"]):
                parent = identifier(key["parent"]).as_string(cursor)
                if not value(cursor, "SELECT pg_catalog.to_regclass(%s)", (parent,)):
                    raise RunbookError(
                        f"the foreign key {name} references a table that neither the backup nor the prerequisites "
                        "create.",
                        object_name=key["parent"],
                        next_command=f"create {key['parent']} in the plan's prerequisites (docs/writing-a-plan.md)",
                    )
                columns = sql.SQL(", ").join(map(sql.Identifier, key["columns"]))
                cursor.execute(
                    sql.SQL(
                        # Not ON CONFLICT: a deferrable constraint of the parent cannot be its arbiter.
                        "INSERT INTO {} ({}) SELECT DISTINCT {} FROM {} AS c WHERE num_nulls({}) = 0"
                        " AND NOT EXISTS (SELECT FROM {} AS p WHERE {})"
                    ).format(
                        identifier(key["parent"]),
                        sql.SQL(", ").join(map(sql.Identifier, key["parent_columns"])),
                        columns,
                        identifier(key["table"]),
                        columns,
                        identifier(key["parent"]),
                        sql.SQL(" AND ").join(
                            sql.SQL("{} = {}").format(sql.Identifier("p", parent), sql.Identifier("c", child))
                            for parent, child in zip(key["parent_columns"], key["columns"], strict=True)
                        ),
                    )
                )
                count = sql.SQL("SELECT count(*) FROM (SELECT DISTINCT {} FROM {} WHERE num_nulls({}) = 0) AS d")
                rows = value(cursor, count.format(columns, identifier(key["table"]), columns))
            made.append({**key, "rows": rows})
    return made


_NEXT = "take a new backup: this one is unreliable"


def compare_rows(
    restored: Connection, manifest: Mapping[str, Any], snapshot: Mapping[str, Any] | None, directory: str, state: str
) -> dict[str, Any]:
    """Count the rows of every table, and compare every fingerprint with the snapshot.

    :param snapshot: None if the backup was taken without one; ``directory`` contains it.
    :param state: what happens to the restored database, for the message.
    :returns: ``rows`` by table, ``rows_compared`` by fingerprint, and the comparison.
    :raises RunbookError: rows are missing or differ, or no row was compared although the snapshot has rows.
    """
    with read_only_snapshot(restored) as cursor:
        rows = {table: row_count(cursor, table) for table in manifest["rows"]}
        wrong = [name for name, count in rows.items() if count != manifest["rows"][name]]
        if wrong:
            raise RunbookError(
                "the restored backup does not contain the rows that were backed up: "
                + "; ".join(f"{name} has {rows[name]}, not {manifest['rows'][name]}" for name in wrong)
                + f". {state[0].upper()}{state[1:]}.",
                object_name=wrong[0],
                next_command=_NEXT,
            )
        found: dict[str, Any] = {"counts": [], "samples": [], "fingerprints": [], "differences": []}
        if snapshot:
            found = compare(cursor, snapshot, directory, "restore")
            refuse_differences(found, f"the restored backup differs from its data snapshot ({state})", _NEXT)
    return {"rows": rows, "rows_compared": sum(entry["before"] for entry in found["fingerprints"]), **found}
