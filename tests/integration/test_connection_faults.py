"""Each fault of a connection is provoked for real; its message names the cause, and its next command the remedy."""

from __future__ import annotations

import contextlib
import datetime
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import psycopg2
import pytest
from ansible.module_utils.runbook.database.connection import SessionSettings, connect_parameters, session
from ansible.module_utils.runbook.database.connection_faults import FAULTS, explain, sqlstate_of_refusal
from ansible.module_utils.runbook.errors import RunbookError
from support.certificates import NOW, Authority
from support.listening import Listening
from support.servers import OWNER, POSTGRES_PASSWORD, Options, connect, query, value


def refused(options: Options) -> RunbookError:
    with pytest.raises(RunbookError) as caught, session(options, SessionSettings()):
        pass
    assert caught.value.next_command
    assert POSTGRES_PASSWORD not in caught.value.msg + caught.value.next_command
    return caught.value


def test_the_connection_that_the_faults_start_from_works(listening: Listening) -> None:
    with session(listening.options, SessionSettings()) as connection:
        assert connection.info.ssl_in_use


@pytest.mark.parametrize(
    ("changes", "cause", "remedy"),
    [
        ({"host": "no-such-host.invalid"}, "no-such-host.invalid", "host"),
        ({"port": 1}, "nothing listens at ", "correct host and port"),
        ({"host": "/tmp/no-such-directory"}, "there is no socket /tmp/no-such-directory/.s.PGSQL.", "make demo"),
        ({"password": "wrong"}, "the password is wrong, or there is no role postgres", "correct the password"),
        ({"password": None}, "the server asks for a password, and database_connection has none", "set password"),
        ({"user": "nobody_here"}, "the password is wrong, or there is no role nobody_here", "or its user"),
        ({"dbname": "nowhere"}, "there is no database nowhere on this server", "correct dbname"),
        ({"sslrootcert": "/no/such.crt"}, "sslrootcert names /no/such.crt, which cannot be read", "put the authority"),
        ({"sslrootcert": None}, "sslmode verify-full needs the certificate of the authority", "sslrootcert"),
        ({"sslrootcert": __file__}, f"the file {__file__} contains no certificate in PEM form", "in PEM form"),
        ({"sslcert": __file__}, "database_connection.sslkey is missing", "set both"),
        ({"passfile": "/no/such"}, "database_connection.passfile names /no/such, which cannot be read", "passfile"),
        ({"sslcrl": "/no/such"}, "database_connection.sslcrl names /no/such, which cannot be read", "sslcrl"),
        ({"host": ""}, "database_connection.host is empty", "set the environment variable"),
        ({"port": None}, "database_connection.port is empty", "set the environment variable"),
        ({"dbname": " ", "user": ""}, "database_connection.dbname and database_connection.user are empty", "variable"),
    ],
)
def test_what_the_inventory_has_wrong(listening: Listening, changes: Options, cause: str, remedy: str) -> None:
    fault = refused({**listening.options, **changes})
    assert cause in fault.msg
    assert remedy in fault.next_command


def test_certificates_that_must_not_be_trusted(listening: Listening) -> None:
    week = datetime.timedelta(days=7)
    for wanted, cause in (
        ({"begins": NOW - week}, "the server's certificate has expired"),
        ({"begins": NOW + week}, "the server's certificate is not valid yet"),
        ({"authority": listening.other}, f"was not signed by the authority in {listening.authority.file}"),
        ({"host": "db.example"}, "the server's certificate is for db.example, but host is localhost"),
    ):
        listening.certificate("faulty", **wanted)  # type: ignore[arg-type]
        try:
            assert cause in refused(listening.options).msg
        finally:
            listening.certificate("server")
    listening.settings(ssl="off")
    try:
        fault = refused(listening.options)
        assert "the server has no TLS, but sslmode is verify-full" in fault.msg
    finally:
        listening.settings(ssl="on")


def test_a_server_that_asks_for_a_client_certificate(listening: Listening, tmp_path: Path) -> None:
    listening.settings(ssl_ca_file=str(readable(listening, listening.authority.file)))
    files = {"sslcert": str(listening.user.certificate), "sslkey": str(listening.user.key)}
    with listening.rules("hostssl all all all cert"):
        fault = refused(listening.options)
        assert "the server asks for a client certificate" in fault.msg
        assert "sslcert and sslkey" in fault.next_command
        with session({**listening.options, **files}, SessionSettings()):
            pass
        stranger = Authority(tmp_path, "stranger").sign(OWNER)
        fault = refused({**listening.options, "sslcert": str(stranger.certificate), "sslkey": str(stranger.key)})
        assert "the server refuses the client certificate" in fault.msg
    listening.user.key.chmod(0o644)
    fault = refused({**listening.options, **files})
    assert "which other users can read" in fault.msg
    assert fault.next_command == f"chmod 0600 {listening.user.key}"
    listening.user.key.chmod(0o600)


def readable(listening: Listening, file: Path) -> Path:
    copy = listening.files / file.name
    copy.write_bytes(file.read_bytes())
    copy.chmod(0o644)
    return copy


def test_access_rules(listening: Listening) -> None:
    with listening.rules("host all all all reject"):
        assert "no rule of the server's pg_hba.conf lets postgres into postgres" in refused(listening.options).msg
    with listening.rules("host all all all trust"):
        fault = refused({**listening.options, "user": "nobody_here"})
        assert "there is no role nobody_here on this server" in fault.msg
        assert fault.sqlstate == "" or fault.sqlstate == "28000"
        query(listening.server.superuser_options, "CREATE ROLE group_only")
        assert "the role group_only may not log in" in refused({**listening.options, "user": "group_only"}).msg
        query(listening.server.superuser_options, "DROP ROLE group_only")


def test_slots_and_closed_databases(listening: Listening) -> None:
    superuser, options = listening.server.superuser_options, listening.options
    shop = listening.server.create_database(name="shop_faults")
    here = {**options, "dbname": shop["dbname"]}
    for change, undo, cause in (
        (
            "ALTER ROLE postgres CONNECTION LIMIT 0",
            "ALTER ROLE postgres CONNECTION LIMIT -1",
            "the role postgres has as",
        ),
        (
            "ALTER DATABASE shop_faults CONNECTION LIMIT 0",
            "ALTER DATABASE shop_faults CONNECTION LIMIT -1",
            "the database shop_faults has as many sessions",
        ),
        (
            "ALTER DATABASE shop_faults ALLOW_CONNECTIONS false",
            "ALTER DATABASE shop_faults ALLOW_CONNECTIONS true",
            "the database shop_faults accepts no connections",
        ),
        (
            "ALTER DATABASE shop_faults OWNER TO supabase_admin; REVOKE CONNECT ON DATABASE shop_faults FROM PUBLIC",
            "GRANT CONNECT ON DATABASE shop_faults TO PUBLIC",
            "postgres may not connect to the database shop_faults",
        ),
    ):
        for statement in change.split("; "):
            query(superuser, statement)
        fault = refused(here)
        query(superuser, undo)
        assert cause in fault.msg
        assert "ALTER " in fault.next_command or "GRANT CONNECT" in fault.next_command
    limit = int(value(superuser, "SELECT current_setting('max_connections')"))
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(psycopg2.OperationalError):
            for _ in range(limit):
                stack.enter_context(connect(listening.server.options))
        fault = refused(options)
    assert "the server has no free connection slot" in fault.msg
    assert fault.sqlstate == "53300"


@contextlib.contextmanager
def something_else(answer: bytes) -> Iterator[int]:
    """A port where something else than PostgreSQL answers, or (with no answer) nothing does."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()

        def serve() -> None:
            with contextlib.suppress(OSError):
                while answer:
                    client, _ = listener.accept()
                    with client:
                        client.recv(100)
                        client.sendall(answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


def test_what_is_no_postgresql(listening: Listening) -> None:
    with something_else(b"HTTP/1.1 400 Bad Request\r\n") as port:
        fault = refused({**listening.options, "host": "127.0.0.1", "port": port})
        assert f"another kind of server answers at 127.0.0.1, port {port}" in fault.msg
    with something_else(b"") as port:
        fault = refused({**listening.options, "host": "127.0.0.1", "port": port, "connect_timeout_seconds": 2})
        assert f"nothing at 127.0.0.1, port {port}, answered within 2 s" in fault.msg


def test_a_socket_that_was_left_behind(listening: Listening, tmp_path_factory: pytest.TempPathFactory) -> None:
    directory = listening.files / "left"
    directory.mkdir()
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(directory / ".s.PGSQL.5432"))
    fault = refused({**listening.server.options, "host": str(directory), "port": 5432})
    assert "a server that has ended left it behind" in fault.msg


def test_a_server_that_speaks_another_language_is_asked_for_its_code(listening: Listening) -> None:
    parameters = connect_parameters({**listening.options, "dbname": "nowhere"})
    assert sqlstate_of_refusal(parameters) == "3D000"
    german = psycopg2.OperationalError("FATAL:  Datenbank »nowhere« existiert nicht")
    assert explain(german, parameters).cause == "there is no database nowhere on this server"
    # No cause is known: the server's message is the whole text.
    unknown = explain(psycopg2.OperationalError("etwas anderes"), connect_parameters(listening.options))
    assert (unknown.cause, unknown.text) == ("the cause is not known", "etwas anderes")


def test_every_sentence_of_the_table_can_be_filled_in() -> None:
    words = dict.fromkeys(("host", "port", "dbname", "user", "sslmode", "sslrootcert", "sslcert", "sslkey"), "x")
    for fault in FAULTS:
        assert not (fault.sqlstates and "{name}" in fault.cause + fault.remedy), "a code names nothing"
        named = {name: "x" for name in ("name", "asked", "number", "seconds") if f"?P<{name}>" in fault.pattern}
        filled = {**words, "seconds": "x", **named}
        assert fault.cause.format_map(filled), fault.name
        assert fault.remedy.format_map(filled), fault.name
