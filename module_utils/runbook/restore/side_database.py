"""Databases beside a live one: made like it, recognised, and dropped."""

from __future__ import annotations

import secrets
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager

from psycopg2 import sql
from psycopg2.errorcodes import INSUFFICIENT_PRIVILEGE

from ..database.connection import Connection, Cursor, rows_as_dicts
from ..errors import RunbookError, driver_errors

#: Names of scratch databases: this and twelve hexadecimal digits, the first eight of them the pid of the session on the
#: server that made it. In the name, so that there is no moment without it.
PREFIX = "runbook_drill_"
MARK = "Scratch database of a restore drill; made and dropped by the migration runbook."

# Ours, and left behind: named and owned as we do, nobody connected, its maker gone, and marked. One whose maker was
# killed before the mark is told by its connection limit, which is set by the statement that makes it. While its maker
# is there, another drill on the same server may be just about to connect to it.
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

#: Sessions that a scratch database allows. No database of anybody else has just this limit and our name.
CONNECTION_LIMIT = 61


def scratch_name(maker: Connection, taken: Collection[str]) -> str:
    """Return a new name for a scratch database.

    :param maker: the session that makes it, and lives as long as it is needed.
    :param taken: names that it must not be: the live database's, the backup's.
    :raises RunbookError: it is one of them all the same.
    """
    with maker.cursor() as cursor:
        # Asked for: what the driver knows is a pooler's number where one is between.
        cursor.execute("SELECT pg_catalog.pg_backend_pid()")
        row = cursor.fetchone() or (0,)
    name = f"{PREFIX}{row[0]:08x}{secrets.token_hex(2)}"
    if name in taken:
        raise RunbookError(
            f"the scratch database would be called {name}, as the live one is.",
            object_name=name,
            next_command="run it again: the name is generated anew",
        )
    return name


@contextmanager
def scratch_database(admin: Connection, name: str, like: str | None, encoding: str = "UTF8") -> Iterator[None]:
    """Make a scratch database, and drop it whatever happens inside.

    :param like: the database on the same server whose locale it gets; None takes the server's.
    :param encoding: where there is none.
    :raises RunbookError: this role may not make one, or the name is taken.
    """
    with admin.cursor() as cursor:
        try:
            create(cursor, name, like, connection_limit=CONNECTION_LIMIT, encoding=encoding)
            cursor.execute(sql.SQL("COMMENT ON DATABASE {} IS {}").format(sql.Identifier(name), sql.Literal(MARK)))
            # It will hold the rows of production: for nobody else.
            restrict_connections(cursor, name)
            yield
        finally:
            if admin.closed == 0:
                drop(cursor, name)


def restrict_connections(cursor: Cursor, name: str) -> None:
    """Let nobody else into a database; the role that connects may be another one than the role that acts."""
    database = sql.Identifier(name)
    cursor.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(database))
    cursor.execute("SELECT pg_catalog.has_database_privilege(session_user, %s, 'CONNECT')", (name,))
    if cursor.fetchone() != (True,):
        cursor.execute(sql.SQL("GRANT CONNECT ON DATABASE {} TO SESSION_USER").format(database))


def clear_abandoned(admin: Connection) -> list[str]:
    """Drop the scratch databases that killed drills left behind. Returns their names."""
    with admin.cursor() as cursor:
        found = abandoned(cursor)
        for name in found:
            drop(cursor, name)
    return found


def abandoned(cursor: Cursor) -> list[str]:
    """Return the names of scratch databases that nobody uses any more."""
    pattern = f"^{PREFIX}[0-9a-f]{{12}}$"
    wanted = {"pattern": pattern, "mark": MARK, "limit": CONNECTION_LIMIT, "digits": len(PREFIX) + 1}
    cursor.execute(ABANDONED, wanted)
    return [name for (name,) in cursor.fetchall()]


def drop(cursor: Cursor, name: str) -> None:
    """Drop a database of ours with the sessions that are still in it, if it is there."""
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
    """Make an empty database.

    :param like: the database on the same server whose encoding and locale it gets; None takes the locale of the server.
    :param owner: None for this role.
    :param encoding: where there is none. Another one than UTF8 gets the locale C, which every encoding allows.
    :param same_place: whether it goes to that database's tablespace rather than to the server's.
    :raises RunbookError: refused.
    """
    options = [sql.SQL("TEMPLATE template0"), sql.SQL("CONNECTION LIMIT {}").format(sql.Literal(connection_limit))]
    options += _locale(cursor, like) if like else [sql.SQL("ENCODING {}").format(sql.Literal(encoding))]
    options += [sql.SQL("LOCALE_PROVIDER libc LOCALE 'C'")] if not like and encoding != "UTF8" else []
    options += [sql.SQL("OWNER {}").format(sql.Identifier(owner))] if owner else []
    options += _tablespace(cursor, like) if like and same_place else []
    try:
        with driver_errors(f"making the database {name}", object_name=name):
            cursor.execute(sql.SQL("CREATE DATABASE {} {}").format(sql.Identifier(name), sql.SQL(" ").join(options)))
    except RunbookError as error:
        if error.sqlstate != INSUFFICIENT_PRIVILEGE:
            raise
        raise RunbookError(
            f"{error.msg} A backup is restored into a database of its own, and this role may not make one.",
            object_name=name,
            sqlstate=error.sqlstate,
            next_command="as a superuser: ALTER ROLE … CREATEDB; or drill elsewhere: "
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
    """Return the option where it is not the server's own, which needs no right."""
    cursor.execute(
        "SELECT t.spcname::text FROM pg_catalog.pg_database d"
        " JOIN pg_catalog.pg_tablespace t ON t.oid = d.dattablespace"
        " WHERE d.datname = %s AND t.spcname <> 'pg_default'",
        (like,),
    )
    return [sql.SQL("TABLESPACE {}").format(sql.Identifier(name)) for (name,) in cursor.fetchall()]


@contextmanager
def temporary_roles(admin: Connection, names: Sequence[str]) -> Iterator[list[str]]:
    """Make those of the roles that the server lacks, without any right, and drop them afterwards. Gives their names."""
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
                with driver_errors(f"making the role {name} for the drill", object_name=name):
                    cursor.execute(sql.SQL("CREATE ROLE {} NOLOGIN").format(sql.Identifier(name)))
                made.append(name)
            yield made
        finally:
            for name in made if admin.closed == 0 else []:
                cursor.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(sql.Identifier(name)))
