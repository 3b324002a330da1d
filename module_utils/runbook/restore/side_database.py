"""Create, recognise and drop the databases into which a backup is restored."""

from __future__ import annotations

import secrets
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager

from psycopg2 import sql
from psycopg2.errorcodes import INSUFFICIENT_PRIVILEGE

from ..database.connection import Connection, Cursor, rows_as_dicts
from ..database.queries import value
from ..errors import RunbookError, driver_errors

#: Names of scratch databases: this and twelve hexadecimal digits. The first eight are the pid of the server session
#: that created it, which the name records in the same statement.
PREFIX = "runbook_drill_"
MARK = "Scratch database of a restore drill; made and dropped by the migration runbook."

# Scratch databases that a killed drill left: our name and owner, no sessions, the creating session has ended, and our
# comment. If the drill was killed before it wrote the comment, the connection limit of CREATE DATABASE identifies it.
# While the creating session exists, a running drill may be about to connect.
ABANDONED = """
SELECT d.datname::text FROM pg_catalog.pg_database d
 WHERE d.datname ~ %(pattern)s AND NOT d.datistemplate
   AND pg_catalog.pg_has_role(d.datdba, 'MEMBER')
   AND (pg_catalog.shobj_description(d.oid, 'pg_database') = %(mark)s OR d.datconnlimit = %(limit)s)
   AND NOT EXISTS (
           SELECT FROM pg_catalog.pg_stat_activity a
            WHERE a.datid = d.oid
               OR a.pid = ('x' || pg_catalog.substr(d.datname::text, %(digits)s, 8))::bit(32)::integer
       )
 ORDER BY 1
"""

#: Connection limit of a scratch database: with the name it identifies one of ours.
CONNECTION_LIMIT = 61


def scratch_name(maker: Connection, taken: Collection[str]) -> str:
    """Return a new name for a scratch database.

    :param maker: the session that creates it and stays open while it is used.
    :param taken: names that it must not have: of the live and the backed-up database.
    :raises RunbookError: the name is one of them.
    """
    with maker.cursor() as cursor:
        # Not the driver's value: with a pooler it is not the pid of the server process.
        pid = value(cursor, "SELECT pg_catalog.pg_backend_pid()")
    name = f"{PREFIX}{pid:08x}{secrets.token_hex(2)}"
    if name in taken:
        raise RunbookError(
            f"the scratch database would have the name of the live one: {name}.",
            object_name=name,
            next_command="run the same command again: it generates a new name",
        )
    return name


@contextmanager
def scratch_database(admin: Connection, name: str, like: str | None, encoding: str = "UTF8") -> Iterator[None]:
    """Create a scratch database for the block, and drop it in any case.

    :param like: the database on the same server whose encoding and locale it gets; None for the server's locale.
    :param encoding: used if ``like`` is None.
    :raises RunbookError: this role may not create one, or the name exists.
    """
    with admin.cursor() as cursor:
        try:
            create(cursor, name, like, connection_limit=CONNECTION_LIMIT, encoding=encoding)
            cursor.execute(sql.SQL("COMMENT ON DATABASE {} IS {}").format(sql.Identifier(name), sql.Literal(MARK)))
            # It will contain production rows.
            restrict_connections(cursor, name)
            yield
        finally:
            if admin.closed == 0:
                drop(cursor, name)


def restrict_connections(cursor: Cursor, name: str) -> None:
    """Let only this session's role connect to a database; SET ROLE may have made current_user another role."""
    database = sql.Identifier(name)
    cursor.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(database))
    if not value(cursor, "SELECT pg_catalog.has_database_privilege(session_user, %s, 'CONNECT')", (name,)):
        cursor.execute(sql.SQL("GRANT CONNECT ON DATABASE {} TO SESSION_USER").format(database))


def clear_abandoned(admin: Connection) -> list[str]:
    """Drop the scratch databases that killed drills left, and return their names."""
    with admin.cursor() as cursor:
        found = abandoned(cursor)
        for name in found:
            drop(cursor, name)
    return found


def abandoned(cursor: Cursor) -> list[str]:
    """Return the names of scratch databases that no drill uses any more."""
    pattern = f"^{PREFIX}[0-9a-f]{{12}}$"
    wanted = {"pattern": pattern, "mark": MARK, "limit": CONNECTION_LIMIT, "digits": len(PREFIX) + 1}
    cursor.execute(ABANDONED, wanted)
    return [name for (name,) in cursor.fetchall()]


def drop(cursor: Cursor, name: str) -> None:
    """Drop a database of ours if it exists, and end the sessions connected to it."""
    cursor.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


def create(
    cursor: Cursor,
    name: str,
    like: str | None,
    *,
    connection_limit: int = -1,
    owner: str | None = None,
    same_place: bool = False,
    encoding: str = "UTF8",
) -> None:
    """Create an empty database.

    :param like: the database on the same server whose encoding and locale it gets; None for the server's locale.
    :param owner: None for this role.
    :param same_place: create it in the tablespace of ``like`` instead of the default one.
    :param encoding: used if ``like`` is None; any other than UTF8 gets the locale C, which every encoding allows.
    :raises RunbookError: the server rejected it.
    """
    options = [sql.SQL("TEMPLATE template0"), sql.SQL("CONNECTION LIMIT {}").format(sql.Literal(connection_limit))]
    options += _locale(cursor, like) if like else [sql.SQL("ENCODING {}").format(sql.Literal(encoding))]
    options += [sql.SQL("LOCALE_PROVIDER libc LOCALE 'C'")] if not like and encoding != "UTF8" else []
    options += [sql.SQL("OWNER {}").format(sql.Identifier(owner))] if owner else []
    options += _tablespace(cursor, like) if like and same_place else []
    try:
        with driver_errors(f"creating the database {name}", object_name=name):
            cursor.execute(sql.SQL("CREATE DATABASE {} {}").format(sql.Identifier(name), sql.SQL(" ").join(options)))
    except RunbookError as error:
        if error.sqlstate != INSUFFICIENT_PRIVILEGE:
            raise
        raise RunbookError(
            f"{error.msg} A backup is restored into a new database, and this role may not create one.",
            object_name=name,
            sqlstate=error.sqlstate,
            next_command="as a superuser: ALTER ROLE … CREATEDB; or drill on another server: "
            "database_backup_restore_drill_options.scratch_connection, or database_backup_restore_drill_embedded: true",
        ) from error


def _locale(cursor: Cursor, like: str) -> list[sql.Composable]:
    cursor.execute(
        "SELECT pg_catalog.pg_encoding_to_char(encoding) AS encoding, datcollate, datctype, datlocprovider::text,"
        " coalesce(pg_catalog.to_jsonb(d) ->> 'datlocale', pg_catalog.to_jsonb(d) ->> 'daticulocale') AS locale,"
        " pg_catalog.to_jsonb(d) ->> 'daticurules' AS rules"
        "  FROM pg_catalog.pg_database d WHERE datname = %s",
        (like,),
    )
    (facts,) = rows_as_dicts(cursor)
    options: list[sql.Composable] = [
        sql.SQL("ENCODING {}").format(sql.Literal(facts["encoding"])),
        sql.SQL("LC_COLLATE {} LC_CTYPE {}").format(sql.Literal(facts["datcollate"]), sql.Literal(facts["datctype"])),
    ]
    other = {"i": "LOCALE_PROVIDER icu ICU_LOCALE {}", "b": "LOCALE_PROVIDER builtin BUILTIN_LOCALE {}"}
    if facts["datlocprovider"] in other:
        options.append(sql.SQL(other[facts["datlocprovider"]]).format(sql.Literal(facts["locale"])))
    if facts["rules"]:
        options.append(sql.SQL("ICU_RULES {}").format(sql.Literal(facts["rules"])))
    return options


def _tablespace(cursor: Cursor, like: str) -> list[sql.Composable]:
    """Return the TABLESPACE option, or nothing for the default tablespace, which needs no privilege."""
    cursor.execute(
        "SELECT t.spcname::text FROM pg_catalog.pg_database d"
        " JOIN pg_catalog.pg_tablespace t ON t.oid = d.dattablespace"
        " WHERE d.datname = %s AND t.spcname <> 'pg_default'",
        (like,),
    )
    return [sql.SQL("TABLESPACE {}").format(sql.Identifier(name)) for (name,) in cursor.fetchall()]


@contextmanager
def temporary_roles(admin: Connection, names: Sequence[str]) -> Iterator[list[str]]:
    """Create the missing roles, without privileges, for the block, and yield their names."""
    with admin.cursor() as cursor:
        cursor.execute(
            "SELECT name FROM pg_catalog.unnest(%s::text[]) AS name WHERE name NOT IN"
            " (SELECT rolname::text FROM pg_catalog.pg_roles)",
            (list(names),),
        )
        missing = [name for (name,) in cursor.fetchall()]
        made: list[str] = []
        try:
            for name in missing:
                with driver_errors(f"creating the role {name} for the drill", object_name=name):
                    cursor.execute(sql.SQL("CREATE ROLE {} NOLOGIN").format(sql.Identifier(name)))
                made.append(name)
            yield made
        finally:
            for name in made if admin.closed == 0 else []:
                cursor.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(sql.Identifier(name)))
