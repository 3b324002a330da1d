"""A whole archive into an empty database: what is left out and why, the rows its keys lean on, and pg_restore."""

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
    """Return the lines of the table of contents to restore into the cursor's database, and those left out.

    Left out are: the change log's triggers (their functions are in no backup), the journal, schemas and extensions
    that are there already, default privileges of roles that this one cannot act for, and rights and policies where one
    of the grantees is gone.
    """
    cursor.execute("SELECT nspname::text FROM pg_catalog.pg_namespace")
    schemas = {name for (name,) in cursor.fetchall()}
    cursor.execute("SELECT extname::text FROM pg_catalog.pg_extension")
    extensions = {name for (name,) in cursor.fetchall()}
    cursor.execute("SELECT rolname::text FROM pg_catalog.pg_roles WHERE pg_catalog.pg_has_role(oid, 'MEMBER')")
    roles = {name for (name,) in cursor.fetchall()}
    cursor.execute("SELECT count(*) FROM pg_catalog.pg_roles WHERE rolname = ANY (%s)", (list(grantees),))
    gone = cursor.fetchone() != (len(set(grantees)),)

    def stays_out(entry: str) -> bool:
        schema, extension, rights = (pattern.fullmatch(entry) for pattern in (_SCHEMA, _EXTENSION, _DEFAULT_RIGHTS))
        return bool(
            _LOG_TRIGGER.fullmatch(entry)
            or re.search(rf" {JOURNAL} ", f"{entry} ")
            or (schema and schema["name"] in schemas)
            or (extension and extension["name"] in extensions)
            or (rights and rights["owner"] not in roles)
            or (gone and _RIGHTS.match(entry))
        )

    return _apart(archive, stays_out)


def whole_entries(archive: Archive) -> tuple[list[str], list[str]]:
    """Return the lines of the table of contents of a whole database's archive to restore, and those left out.

    Left out are the change log's triggers: the functions that they call are the journal's, which is not in the archive.
    """
    return _apart(archive, lambda entry: bool(_LOG_TRIGGER.fullmatch(entry)))


def _apart(archive: Archive, stays_out: Callable[[str], bool]) -> tuple[list[str], list[str]]:
    kept: list[str] = []
    left_out: list[str] = []
    for line in contents(archive):
        found = _ENTRY.fullmatch(line)
        if found:
            (left_out if stays_out(found["rest"]) else kept).append(line)
    return kept, [line.split("; ", 1)[1].split(" ", 2)[2] for line in left_out]


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
    """Restore these entries, or one section of them; the first error ends it.

    :param section: ``pre-data``, ``data`` or ``post-data``; None restores all three at one go.
    :param next_command: what to do after a failure.

    :raises RunbookError: with what pg_restore said.
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
    # Its commits wait for no standby, which nothing could end. A later commit of a session of ours does, and confirms
    # every earlier one.
    environment["PGOPTIONS"] = f"{environment.get('PGOPTIONS', '')} -c synchronous_commit=local".strip()
    with start_tool(command, environment, send="\n".join([*entries, ""]).encode()) as tool:
        part = f"the {section} section of " if section else ""
        try:
            tool.finish(f"restoring {part}{archive.path} into {options['dbname']}")
        except RunbookError as error:
            raise RunbookError(error.msg, object_name=archive.path, next_command=next_command) from error


def make_stub_rows(connection: Connection, keys: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Insert the rows of tables outside the backup that its rows point at, so that the keys can be made.

    :param keys: ``outside_keys`` of a manifest.
    :returns: each key with the number of stub ``rows`` that it points at; keys to one table share them.
    :raises RunbookError: such a table is missing, or has more columns that must be filled.
    """
    made = []
    with connection.cursor() as cursor:
        for key in keys:
            name = f"{key['name']} ({key['table']} → {key['parent']})"
            with driver_errors(f"making the rows that {name} leans on", object_name=key["parent"]):
                cursor.execute("SELECT pg_catalog.to_regclass(%s) IS NOT NULL", (_quoted(cursor, key["parent"]),))
                if cursor.fetchone() != (True,):
                    raise RunbookError(
                        f"the key {name} leans on a table that is not in the backup, and the prerequisites make none.",
                        object_name=key["parent"],
                        next_command=f"make {key['parent']} in the plan's prerequisites file (docs/writing-a-plan.md)",
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
                cursor.execute(
                    sql.SQL("SELECT count(*) FROM (SELECT DISTINCT {} FROM {} WHERE num_nulls({}) = 0) AS d").format(
                        columns, identifier(key["table"]), columns
                    )
                )
                (rows,) = cursor.fetchone() or (0,)
            made.append({**key, "rows": rows})
    return made


def _quoted(cursor: Cursor, name: str) -> str:
    return identifier(name).as_string(cursor)


_NEXT = "take a new backup: this one cannot be relied on"


def compare_rows(
    restored: Connection, manifest: Mapping[str, Any], snapshot: Mapping[str, Any] | None, directory: str, state: str
) -> dict[str, Any]:
    """Count every table and compare every fingerprint: nothing but equality passes.

    :param snapshot: None where the backup was taken without one; ``directory`` is where it is.
    :param state: what becomes of the restored database, for the message.
    :returns: ``rows`` by table, ``rows_compared`` by fingerprint, and the comparison.
    :raises RunbookError: rows are missing or differ, or none was looked at where the snapshot had some.
    """
    with read_only_snapshot(restored) as cursor:
        rows = {table: row_count(cursor, table) for table in manifest["rows"]}
        wrong = [name for name, count in rows.items() if count != manifest["rows"][name]]
        if wrong:
            raise RunbookError(
                "the restored backup does not hold the rows that were backed up: "
                + "; ".join(f"{name} has {rows[name]}, not {manifest['rows'][name]}" for name in wrong)
                + f". {state[0].upper()}{state[1:]}.",
                object_name=wrong[0],
                next_command=_NEXT,
            )
        found: dict[str, Any] = {"counts": [], "samples": [], "fingerprints": [], "differences": []}
        if snapshot:
            found = compare(cursor, snapshot, directory, "restore")
            refuse_differences(
                found, f"the restored backup differs from the data snapshot of its instant ({state})", _NEXT
            )
    return {"rows": rows, "rows_compared": sum(entry["before"] for entry in found["fingerprints"]), **found}
