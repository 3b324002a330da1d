"""Throwaway servers and databases for tests."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg2
from ansible.module_utils.runbook.database.connection import libpq_parameters
from ansible.module_utils.runbook.embedded import server as embedded
from psycopg2 import sql

from support import kept_server as kept

REPOSITORY = Path(__file__).resolve().parent.parent.parent
DEMO_SQL = REPOSITORY / "sql" / "demo"

SUPERUSER = "supabase_admin"
OWNER = "postgres"
#: Where a test's server asks for one.
POSTGRES_PASSWORD = "correct-horse-battery"

#: Nothing of a test outlives it: no syncing, little memory.
SETTINGS = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "shared_buffers": "64MB",
    "max_connections": "60",
    "max_prepared_transactions": "5",
    "wal_level": "logical",
    "max_wal_size": "1GB",
    "autovacuum": "off",
    "file_copy_method": "copy",
}

Options = dict[str, Any]


@dataclass
class Server:
    """A running server. ``options`` are ``connection`` options of modules for the owner, who is not a superuser."""

    facts: dict[str, Any]
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    @property
    def major(self) -> int:
        return int(self.facts["major"])

    @property
    def bin_directory(self) -> str:
        return str(self.facts["bin_directory"])

    @property
    def options(self) -> Options:
        return self.options_for("postgres")

    @property
    def superuser_options(self) -> Options:
        return self.options_for("postgres", user=SUPERUSER)

    def options_for(self, dbname: str, user: str = OWNER) -> Options:
        return {
            "host": self.facts["host"],
            "port": self.facts["port"],
            "dbname": dbname,
            "user": user,
            "sslmode": "disable",
        }

    def create_database(self, template: str = "template0", name: str = "") -> Options:
        """Create a database, with a generated name by default, and return its owner's options."""
        name = name or f"test_{os.getpid()}_{next(self._numbers)}"  # a kept server may hold those of another run
        with connect(self.superuser_options) as connection, connection.cursor() as cursor:
            cursor.execute(
                sql.SQL("CREATE DATABASE {} TEMPLATE {} OWNER {}").format(
                    sql.Identifier(name), sql.Identifier(template), sql.Identifier(OWNER)
                )
            )
        return self.options_for(name)

    def drop_database(self, options: Mapping[str, Any]) -> None:
        """Drop a database and end its sessions."""
        with connect(self.superuser_options) as connection, connection.cursor() as cursor:
            cursor.execute(
                sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(str(options["dbname"])))
            )


@contextlib.contextmanager
def kept_server(major: int) -> Iterator[Server]:
    """Yield the server that `make one` keeps, and start it if necessary; drop its test databases at the end."""
    runtime = kept.runtime_directory(major)
    kept.note(runtime)
    facts = embedded.start(embedded.Wanted(runtime, major, superuser=SUPERUSER, settings=settings_of(major)))
    facts["host"] = facts["socket_directory"]
    server = Server(facts)
    if facts["changed"]:
        query(server.superuser_options, (DEMO_SQL / "roles.sql").read_text(encoding="utf-8"))
    try:
        yield server
    finally:
        databases = "SELECT datname FROM pg_database WHERE datname LIKE %s"
        for (name,) in query(server.superuser_options, databases, (f"test\\_{os.getpid()}\\_%",)):
            server.drop_database({"dbname": name})


def settings_of(major: int) -> dict[str, str]:
    """Return the parameters of a test server that this version supports."""
    return {name: value for name, value in SETTINGS.items() if name != "file_copy_method" or major >= 18}


@contextlib.contextmanager
def running_server(major: int, *, listen: bool = False, password: str = "") -> Iterator[Server]:
    """Start a server in a temporary directory; stop and remove it at the end.

    :param listen: also listen on 127.0.0.1; ``password`` is then the superuser's.
    """
    runtime = tempfile.mkdtemp(prefix="pg-test-", dir="/tmp")  # short: a socket path ends at 107 bytes
    settings = settings_of(major)
    try:
        facts = embedded.start(
            embedded.Wanted(runtime, major, superuser=SUPERUSER, listen=listen, password=password, settings=settings)
        )
        facts["host"] = facts["socket_directory"]
        server = Server(facts)
        with connect(server.superuser_options) as connection, connection.cursor() as cursor:
            cursor.execute((DEMO_SQL / "roles.sql").read_text(encoding="utf-8"))
        yield server
    finally:
        if (Path(runtime) / embedded.MARKER).exists():
            embedded.stop(runtime)
        shutil.rmtree(runtime, ignore_errors=True)


@contextlib.contextmanager
def connect(options: Mapping[str, Any], /, **parameters: str) -> Iterator[psycopg2.extensions.connection]:
    """Open a session in autocommit mode, without the code under test."""
    connection = psycopg2.connect(**libpq_parameters(options), **parameters)
    connection.autocommit = True
    try:
        yield connection
    finally:
        connection.close()


def query(options: Mapping[str, Any], statement: str, parameters: Any = None) -> list[tuple[Any, ...]]:
    """Run a statement in a new session and return its rows."""
    with connect(options) as connection, connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        return cursor.fetchall() if cursor.description else []


def value(options: Mapping[str, Any], statement: str, parameters: Any = None) -> Any:
    """Run a statement and return the first column of its first row."""
    return query(options, statement, parameters)[0][0]


@contextlib.contextmanager
def application_session(
    options: Mapping[str, Any], user_id: Any, role: str = "authenticated"
) -> Iterator[psycopg2.extensions.connection]:
    """Open a session like the REST API for a signed-in user: with its role, claims and row-level security.

    :param user_id: None for a visitor (with role ``anon``).
    """
    with connect(options) as connection:
        with connection.cursor() as cursor:
            claims = {"role": role} if user_id is None else {"role": role, "sub": str(user_id)}
            cursor.execute("SELECT set_config('request.jwt.claim.sub', %s, false)", (claims.get("sub", ""),))
            cursor.execute("SELECT set_config('request.jwt.claims', %s, false)", (json.dumps(claims),))
            cursor.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(role)))
        yield connection


def load_demo(
    options: Mapping[str, Any],
    audio_posts: int = 300,
    *,
    seed: int = 1,
    dirty: bool = False,
    user_keys: bool = True,
    audio_fields_check: bool = True,
    rows: bool = True,
) -> None:
    """Fill an empty database with the base schema and (unless ``rows`` is false) the demo's rows."""
    settings = {
        "audio_posts": audio_posts,
        "seed": seed,
        "dirty": dirty,
        "user_keys": user_keys,
        "audio_fields_check": audio_fields_check,
    }
    files = ["base_schema.sql", *(["data.sql", "dirty_data.sql"] if rows else [])]
    with connect({**options, "user": SUPERUSER}) as connection, connection.cursor() as cursor:
        for name, setting in settings.items():
            cursor.execute("SELECT set_config(%s, %s, false)", (f"demo.{name}", str(setting).lower()))
        cursor.execute("SET search_path = pg_catalog")
        for file in files:
            cursor.execute((DEMO_SQL / file).read_text(encoding="utf-8"))
        cursor.execute("VACUUM (ANALYZE)")
