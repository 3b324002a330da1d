"""Whatever role, database or server set for their sessions: ours have the values that their SQL was written for."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.runbook.backup.tools import find_tool
from ansible.module_utils.runbook.database import connection as opening
from ansible.module_utils.runbook.database.connection import (
    SessionSettings,
    client_environment,
    open_session,
    read_only_snapshot,
    session,
    transaction,
)
from ansible.module_utils.runbook.database.parameters import NOT_FOR_TOOLS, PINS, RESTRICTED_PINS
from ansible.module_utils.runbook.errors import RunbookError
from psycopg2 import sql
from support.servers import OWNER, SUPERUSER, Options, Server, connect, query, value

RunModule = Callable[..., dict[str, Any]]

#: Parameters that anybody or a superuser may set and that a session of ours takes as it finds them: they change how
#: fast a statement is, how long something waits, what is logged, or who sees it; never what it means.
LEFT_ALONE = {
    "set for each session anew": r"application_name|client_encoding|default_transaction_read_only|"
    r"(statement|lock|idle_in_transaction_session)_timeout|transaction_(isolation|read_only|deferrable)",
    "plans and speed": r"enable_\w+|jit\w*|geqo\w*|\w+_cost|cpu_\w+|\w*parallel\w*|\w+_collapse_limit|plan_cache_mode|"
    r"constraint_exclusion|cursor_tuple_fraction|default_statistics_target|effective_\w+|recursive_worktable_factor|"
    r"synchronize_seqscans|stats_fetch_consistency|min_eager_agg_group_size",
    "memory, disk and I/O": r"work_mem|maintenance_\w+|hash_mem_multiplier|temp_(buffers|file_limit)|max_stack_depth|"
    r"logical_decoding_work_mem|gin_pending_list_limit|io_\w+|\w+_flush_after|wal_(skip_threshold|compression|\w*init\w*|"
    r"recycle)|file_(copy|extend)_method|vacuum_\w+|default_toast_compression",
    "how sure a commit is": r"synchronous_commit|commit_(delay|siblings)",
    "logs, counters and debugging": r"log_\w+|track_\w+|debug_\w+|trace_\w+|backtrace_functions|compute_query_id|"
    r"client_min_messages|escape_string_warning|update_process_title|wal_consistency_checking|icu_validation_level",
    "the wire": r"tcp_\w+|client_connection_check_interval|wal_sender_timeout|ssl_renegotiation_limit",
    "passwords, which no SQL of ours sets": r"password_encryption|scram_iterations|md5_password_warnings",
    "libraries of the server, loaded before we connect": r"\w+_preload_libraries|dynamic_library_path|"
    r"extension_(control_path|destdir)",
    "rights beyond ours": r"allow_(in_place_tablespaces|system_table_mods)|lo_compat_privileges",
    "texts of the server and of money, which a backup brings back as it wrote them": r"lc_(messages|monetary)",
    "what the deployment's own triggers expect": r"default_text_search_config",
    "waits": r"deadlock_timeout",
}

#: Values that would change what SQL of ours means.
HOSTILE = {
    "standard_conforming_strings": "off",
    "backslash_quote": "on",
    "transform_null_equals": "on",
    "array_nulls": "off",
    "search_path": "public, pg_catalog",
    "xmloption": "document",
    "timezone_abbreviations": "India",
    "TimeZone": "Asia/Kolkata",
    "DateStyle": "SQL, DMY",
    "IntervalStyle": "sql_standard",
    "extra_float_digits": "-10",
    "bytea_output": "escape",
    "xmlbinary": "hex",
    "lc_numeric": "C.UTF-8",
    "lc_time": "C.UTF-8",
    "quote_all_identifiers": "on",
    "row_security": "on",
    "gin_fuzzy_search_limit": "1",
    "restrict_nonsystem_relation_kind": "view",
    "default_transaction_isolation": "serializable",
    "default_transaction_deferrable": "on",
    "check_function_bodies": "off",
    "default_tablespace": "pg_default",
    "temp_tablespaces": "pg_default",
    "default_table_access_method": "other_heap",
    "createrole_self_grant": "set",
    "exit_on_error": "on",
    "idle_session_timeout": "1h",
    "transaction_timeout": "1h",
    "session_replication_role": "replica",
    "event_triggers": "off",
    "zero_damaged_pages": "on",
    "ignore_checksum_failure": "on",
    "plpgsql.variable_conflict": "use_column",
    "plpgsql.extra_errors": "all",
    "plpgsql.check_asserts": "off",
    "client_encoding": "LATIN1",
}


@contextlib.contextmanager
def set_for(server: Server, subject: sql.Composable, settings: Mapping[str, str]) -> Iterator[None]:
    """Settings of a role or a database, taken away at the end."""

    def alter(cursor: Any, name: str, end: sql.Composable) -> None:
        parts = sql.SQL(".").join(map(sql.Identifier, name.split(".")))
        cursor.execute(sql.SQL("ALTER {} {}").format(subject, end.format(parts) if isinstance(end, sql.SQL) else end))

    with connect(server.superuser_options) as connection, connection.cursor() as cursor:
        for name, setting in settings.items():
            quoted = ", ".join(part.strip() for part in setting.split(",")) if name == "search_path" else None
            text = sql.SQL(quoted) if quoted else sql.Literal(setting)
            parts = sql.SQL(".").join(map(sql.Identifier, name.split(".")))
            cursor.execute(sql.SQL("ALTER {} SET {} = {}").format(subject, parts, text))
        try:
            yield
        finally:
            for name in settings:
                alter(cursor, name, sql.SQL("RESET {}"))


def role(name: str = OWNER) -> sql.Composable:
    return sql.SQL("ROLE {}").format(sql.Identifier(name))


def database(options: Options) -> sql.Composable:
    return sql.SQL("DATABASE {}").format(sql.Identifier(options["dbname"]))


def there_are(server: Server) -> set[str]:
    found = query(server.superuser_options, "SELECT name FROM pg_settings WHERE context IN ('user', 'superuser')")
    return {name for (name,) in found}


def test_every_parameter_of_the_server_is_pinned_or_left_alone_for_a_reason(server: Server) -> None:
    left = re.compile("|".join(LEFT_ALONE.values()))
    pinned = {*PINS, *RESTRICTED_PINS}
    assert sorted(name for name in there_are(server) if name not in pinned and not left.fullmatch(name)) == []
    assert [name for name in pinned if left.fullmatch(name)] == []
    assert {*HOSTILE} == pinned | {"client_encoding"}


def test_what_a_role_sets_is_read_back_as_pinned(server: Server, empty_database: Options) -> None:
    """The catalog decides which of the parameters this server has. A superuser, since some need one."""
    superuser = {**empty_database, "user": SUPERUSER}
    query(superuser, "CREATE ACCESS METHOD other_heap TYPE TABLE HANDLER heap_tableam_handler")
    known = there_are(server) | {name for name in HOSTILE if name.startswith("plpgsql.")}
    hostile = {name: setting for name, setting in HOSTILE.items() if name in known}
    pins = {**PINS, **{name: pin for name, (pin, _) in RESTRICTED_PINS.items()}, "client_encoding": "UTF8"}
    with set_for(server, role(SUPERUSER), hostile):
        with connect(superuser) as plain, plain.cursor() as cursor:
            cursor.execute("DO LANGUAGE plpgsql 'BEGIN END'")
            untouched = {name: current(cursor, name) for name in hostile}
        with session(superuser, SessionSettings()) as ours, ours.cursor() as cursor:
            held = {name: current(cursor, name) for name in hostile}
    reached = {name for name in hostile if untouched[name] != str(pins[name]) and name != "search_path"}
    assert (
        not {*hostile} - reached - {"idle_session_timeout", "transaction_timeout", "search_path", "default_tablespace"}
    )
    assert held == {name: pins[name] for name in hostile}


@pytest.mark.parametrize("text", ["a\\nb", r"\d+", "x\\'; SELECT 1 --", "\\"])
def test_values_are_quoted_as_the_pinned_session_reads_them(
    server: Server, empty_database: Options, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    """The driver chooses its quoting when it connects: a backslash could end a text, and the rest became SQL."""
    subject = database(empty_database)
    with set_for(server, subject, {"standard_conforming_strings": "off"}):
        with session(empty_database, SessionSettings()) as ours, ours.cursor() as cursor:
            cursor.execute("SELECT %s, %s", (text, [text]))
            assert cursor.fetchone() == (text, [text])
        monkeypatch.setattr(opening, "_STANDARD_STRINGS", "")
        with pytest.raises(RunbookError, match="Values could not be quoted safely") as refused:
            open_session(empty_database, SessionSettings())
        assert "RESET standard_conforming_strings" in refused.value.next_command


def current(cursor: Any, name: str) -> str:
    cursor.execute("SELECT pg_catalog.current_setting(%s)", (name,))
    return str(cursor.fetchone()[0])


def test_client_tools_get_the_same_where_they_do_not_set_it_themselves(
    server: Server, empty_database: Options, tmp_path: Path
) -> None:
    """What ``PGOPTIONS`` carries is read back by psql, which knows nothing of our pins."""
    superuser = {**empty_database, "user": SUPERUSER}
    assert "PGOPTIONS" not in client_environment(empty_database, "test")
    wanted = {name: HOSTILE[name] for name in (*PINS, *RESTRICTED_PINS) if name not in NOT_FOR_TOOLS}
    wanted = {name: setting for name, setting in wanted.items() if name in there_are(server)}
    wanted.pop("default_table_access_method")
    with set_for(server, role(SUPERUSER), wanted):
        environment = client_environment(superuser, "test")
        psql = [f"{server.bin_directory}/psql", "-XAt", "-c"]
        names = ", ".join(f"current_setting('{name}')" for name in wanted)
        text = subprocess.run(
            [*psql, f"SELECT {names}"], env=environment, check=True, capture_output=True, text=True, timeout=30
        ).stdout
    pins = {**PINS, **{name: pin for name, (pin, _) in RESTRICTED_PINS.items()}}
    assert dict(zip(wanted, text.rstrip("\n").split("|"), strict=True)) == {name: pins[name] for name in wanted}


@pytest.mark.parametrize("setting", ["session_replication_role = replica", "plpgsql.variable_conflict = use_column"])
def test_what_the_role_may_not_set_is_refused_with_its_source(
    server: Server, empty_database: Options, setting: str
) -> None:
    name, hostile = setting.split(" = ")
    query(server.superuser_options, "REVOKE SET ON PARAMETER session_replication_role FROM postgres")
    try:
        with (
            set_for(server, database(empty_database), {name: hostile}),
            pytest.raises(RunbookError) as refused,
            session(empty_database, SessionSettings()),
        ):
            pass
    finally:
        query(server.superuser_options, "GRANT SET ON PARAMETER session_replication_role TO postgres")
    dbname = empty_database["dbname"]
    assert f"{name} is {hostile} for this session, set for the database {dbname}: " in refused.value.msg
    quoted = ".".join(f'"{part}"' for part in name.split("."))
    assert refused.value.next_command == f'as a superuser: ALTER DATABASE "{dbname}" RESET {quoted}'
    assert refused.value.left_as == "unchanged"


def test_a_transaction_sees_what_was_committed_before_its_lock(server: Server, empty_database: Options) -> None:
    """Under SERIALIZABLE the snapshot would be as old as the first statement, older than the lock that follows."""
    query(empty_database, "CREATE TABLE public.t (id integer)")
    with set_for(server, database(empty_database), {"default_transaction_isolation": "serializable"}):
        with session(empty_database, SessionSettings()) as ours, transaction(ours) as cursor:
            cursor.execute("SELECT count(*) FROM public.t")
            query(empty_database, "INSERT INTO public.t VALUES (1)")
            cursor.execute("LOCK TABLE public.t; SELECT count(*) FROM public.t")
            assert cursor.fetchone() == (1,)
        with session(empty_database, SessionSettings()) as ours, read_only_snapshot(ours) as cursor:
            cursor.execute("SELECT current_setting('transaction_isolation')")
            assert cursor.fetchone() == ("repeatable read",)


@pytest.mark.parametrize("place", ["database", "role", "server"])
def test_a_read_only_mode_is_not_overridden(server: Server, empty_database: Options, place: str) -> None:
    options, name = empty_database, "default_transaction_read_only"
    dbname = options["dbname"]
    with contextlib.ExitStack() as stack:
        if place == "server":
            stack.enter_context(server_setting(server, f"{name} = on"))
        else:
            subject = database(options) if place == "database" else role()
            stack.enter_context(set_for(server, subject, {name: "on"}))
        with pytest.raises(RunbookError) as refused, session(options, SessionSettings()):
            pass
        with session(options, SessionSettings(read_only=True)) as reader, reader.cursor() as cursor:
            cursor.execute("SELECT 1")  # reading is no fault
    where, repair = {
        "database": (f"set for the database {dbname}", f'ALTER DATABASE "{dbname}" RESET "{name}"'),
        "role": ("set for the role postgres", f'ALTER ROLE "postgres" RESET "{name}"'),
        "server": ("set for the whole server", f'ALTER SYSTEM RESET "{name}"; SELECT pg_reload_conf()'),
    }[place]
    assert refused.value.msg.startswith(f"the database is in read-only mode: {name} is on, {where}")
    assert "usually because the disk is full" in refused.value.msg
    assert repair in refused.value.next_command
    assert refused.value.sqlstate == "25006"
    if place != "server":
        assert f"BEGIN READ WRITE; {repair}; COMMIT" in refused.value.next_command
    with session(options, SessionSettings()) as writer, transaction(writer) as cursor:
        cursor.execute("CREATE TABLE public.written ()")


@contextlib.contextmanager
def server_setting(server: Server, setting: str) -> Iterator[None]:
    name = setting.split(" = ")[0]
    query(server.superuser_options, f"ALTER SYSTEM SET {setting}")
    query(server.superuser_options, "SELECT pg_reload_conf()")
    try:
        while value(server.superuser_options, f"SELECT current_setting('{name}')") != setting.split(" = ")[1]:
            pass
        yield
    finally:
        for statement in (f"SET {name} = off", f"ALTER SYSTEM RESET {name}", "SELECT pg_reload_conf()"):
            query(server.superuser_options, statement)
        while value(server.superuser_options, f"SELECT current_setting('{name}')") == setting.split(" = ")[1]:
            pass


def test_a_session_acts_as_the_role_of_its_connection(server: Server, empty_database: Options) -> None:
    query(server.superuser_options, "CREATE ROLE login_role LOGIN NOINHERIT; GRANT postgres TO login_role")
    options = {**empty_database, "user": "login_role"}
    try:
        with session({**options, "role": OWNER}, SessionSettings()) as acting, acting.cursor() as cursor:
            cursor.execute("SELECT session_user, current_user; ")
            assert cursor.fetchone() == ("login_role", OWNER)
            cursor.execute("CREATE TABLE public.owned ()")
        owner = "SELECT relowner::regrole::text FROM pg_class WHERE relname = 'owned'"
        assert value(empty_database, owner) == OWNER
        with (
            set_for(server, role("login_role"), {"role": OWNER}),
            session(options, SessionSettings()) as ours,
            ours.cursor() as cursor,
        ):
            cursor.execute("SELECT current_user")
            assert cursor.fetchone() == ("login_role",)
        with pytest.raises(RunbookError) as refused:
            open_session({**options, "role": SUPERUSER}, SessionSettings())
        assert "database_connection.role: cannot act as supabase_admin: permission denied" in refused.value.msg
        assert refused.value.next_command.startswith('GRANT "supabase_admin" TO')
        with pytest.raises(RunbookError, match=r'role "nobody_here" does not exist') as refused:
            open_session({**options, "role": "nobody_here"}, SessionSettings())
        assert refused.value.next_command == "correct role in database_connection"
    finally:
        query(server.superuser_options, "DROP ROLE login_role")


@pytest.fixture
def bytes_database(server: Server) -> Iterator[Options]:
    """A database whose encoding is SQL_ASCII, with a row that is no UTF-8 and one that is."""
    options = server.options_for("as_bytes")
    make = "CREATE DATABASE as_bytes ENCODING 'SQL_ASCII' LOCALE 'C' TEMPLATE template0 OWNER postgres"
    query(server.superuser_options, make)
    query(options, "CREATE TABLE public.notes (id integer PRIMARY KEY, note text)")
    with connect(options) as connection, connection.cursor() as cursor:
        cursor.execute("SET client_encoding = 'LATIN1'; INSERT INTO public.notes VALUES (1, 'caf' || E'\\xe9')")
        cursor.execute("SET client_encoding = 'SQL_ASCII'; INSERT INTO public.notes VALUES (2, 'caf' || E'\\xc3\\xa9')")
    yield options
    server.drop_database(options)


def test_a_database_without_an_encoding_is_read_and_written_as_bytes(server: Server, bytes_database: Options) -> None:
    with session(bytes_database, SessionSettings()) as ours, transaction(ours) as cursor:
        cursor.execute("SELECT note FROM public.notes ORDER BY id")
        (latin,), (utf8,) = cursor.fetchall()
        assert utf8 == "café"
        cursor.execute("INSERT INTO public.notes VALUES (3, %s), (4, %s)", (latin, "→ café"))
        cursor.execute("SELECT encode(note::bytea, 'hex') FROM public.notes WHERE id IN (1, 3)")
        assert [found for (found,) in cursor.fetchall()] == ["636166e9"] * 2
    dump = [str(find_tool("pg_dump", server.major, server.bin_directory)), "--data-only", "--table=public.notes"]
    environment = client_environment(bytes_database, "test")
    text = subprocess.run(dump, env=environment, check=True, capture_output=True, timeout=30).stdout
    assert b"1\tcaf\xe9\n" in text
    assert b"2\tcaf\xc3\xa9\n" in text


def test_bytes_of_no_encoding_survive_backup_drill_and_restore(
    bytes_database: Options, run_module: RunModule, tmp_path: Path
) -> None:
    sample = tmp_path / "notes.sql"
    sample.write_text("SELECT id, note FROM public.notes ORDER BY id")
    snapshot = {
        "directory": str(tmp_path / "snapshot"),
        "samples": [{"name": "notes", "query": str(sample)}],
        "fingerprints": [{"name": "notes", "table": "public.notes", "key": "id"}],
    }
    backup = {"connection": bytes_database, "directory": str(tmp_path / "backup")}
    taken = run_module("pg_backup", **backup, schemas=["public"], minimum_bytes=1, snapshot=snapshot)
    assert not taken["failed"], taken["msg"]
    kept = json.loads((tmp_path / "snapshot" / "snapshot.json").read_text())
    assert [row["note"] for row in kept["samples"][0]["rows"]] == ["caf\\udce9", "café"]
    drilled = run_module("pg_restore_drill", connection=bytes_database, backup_directory=backup["directory"])
    assert not drilled["failed"], drilled["msg"]
    query(bytes_database, "DELETE FROM public.notes")
    restored = run_module(
        "pg_restore", connection=bytes_database, backup_directory=backup["directory"],
        tables=[{"table": "public.notes", "key": "id"}],
    )  # fmt: skip
    assert not restored["failed"], restored["msg"]
    in_hex = "SELECT encode(note::bytea, 'hex') FROM public.notes ORDER BY id"
    assert query(bytes_database, in_hex) == [("636166e9",), ("636166c3a9",)]
