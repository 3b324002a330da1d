"""What libpq and the server say, word for word, and the fault that it is recognised as."""

from __future__ import annotations

import psycopg2
import pytest
from ansible.module_utils.runbook.database import connection_faults
from ansible.module_utils.runbook.database.connection_faults import explain
from ansible.module_utils.runbook.database.options import connect_parameters, dbname_argument, is_socket
from ansible.module_utils.runbook.errors import RunbookError

AT = 'connection to server at "db.example" (192.0.2.7), port 5432 failed: '
HERE = {"host": "db.example", "port": 5432, "dbname": "shop", "user": "owner", "sslmode": "verify-full"}

TEXTS = {
    "the server is starting or replaying its log": [
        AT + "FATAL:  the database system is starting up",
        AT + "FATAL:  the database system is not yet accepting connections\nDETAIL:  Consistent recovery state has not "
        "been yet reached.",
    ],
    "the server is shutting down or recovers from a crash": [
        AT + "FATAL:  the database system is shutting down",
        AT + "FATAL:  the database system is in recovery mode",
        AT + "FATAL:  terminating connection due to administrator command",
    ],
    "the server is a standby that accepts no connections": [
        AT + "FATAL:  the database system is not accepting connections\nDETAIL:  Hot standby mode is disabled.",
    ],
    "the server has no free connection slot": [
        AT + "FATAL:  sorry, too many clients already",
        AT + "FATAL:  remaining connection slots are reserved for roles with the SUPERUSER attribute",
        AT + "FATAL:  remaining connection slots are reserved for non-replication superuser connections",
        AT + 'FATAL:  remaining connection slots are reserved for roles with privileges of the "pg_use_reserved_'
        'connections" role',
        AT
        + "FATAL:  MaxClientsInSessionMode: max clients reached - in Session mode max clients are limited to pool_size",
    ],
    "the password is wrong, or there is no role owner (the server does not say which)": [
        AT + 'FATAL:  password authentication failed for user "owner"',
        # Both addresses of a name; the server at one of them answered.
        'connection to server at "localhost" (::1), port 5432 failed: Connection refused\n\tIs the server running on '
        'that host and accepting TCP/IP connections?\nconnection to server at "localhost" (127.0.0.1), port 5432 '
        'failed: FATAL:  password authentication failed for user "owner"',
        AT + "FATAL:  SASL authentication failed",
    ],
    "there is no role owner on this server": [
        AT + 'FATAL:  role "owner" does not exist',
        AT + "FATAL:  Tenant or user not found",
    ],
    "no rule of the server's pg_hba.conf lets owner into shop from this address, over this kind of connection": [
        AT + 'FATAL:  no pg_hba.conf entry for host "192.0.2.1", user "owner", database "shop", no encryption',
        AT
        + 'FATAL:  pg_hba.conf rejects connection for host "192.0.2.1", user "owner", database "shop", SSL encryption',
        'connection to server on socket "/run/.s.PGSQL.1" failed: FATAL:  Peer authentication failed for user "owner"',
    ],
    "the name server did not answer for the host name db.example": [
        'could not translate host name "db.example" to address: Temporary failure in name resolution',
    ],
    "DNS does not know the host name db.example": [
        'could not translate host name "db.example" to address: Name or service not known',
        'could not translate host name "db.example" to address: nodename nor servname provided, or not known',
        'could not translate host name "db.example" to address: No address associated with hostname',
    ],
    "this machine has no route to db.example": [
        AT + "No route to host\n\tIs the server running on that host and accepting TCP/IP connections?",
        'connection to server at "db.example" (2001:db8::7), port 5432 failed: Network is unreachable\n\tIs the server '
        "running on that host and accepting TCP/IP connections?",
    ],
    "nothing at db.example, port 5432, answered within 10 s": [
        AT + "timeout expired",
        AT + "Connection timed out\n\tIs the server running on that host and accepting TCP/IP connections?",
    ],
    "the server, or something between it and this machine, closed the connection before the session began": [
        AT + "server closed the connection unexpectedly\n\tThis probably means the server terminated abnormally",
        AT + "SSL SYSCALL error: EOF detected",
        AT + "could not receive data from server: Connection reset by peer",
    ],
    "a pooler refuses a parameter of the connection": [
        AT + "FATAL:  unsupported startup parameter: options",
    ],
    "there is no database shop on this server": [
        AT + 'FATAL:  database "shop" does not exist',
        AT + "FATAL:  no such database: shop",
    ],
    "the server's certificate is for *.provider.example, but host is db.example": [
        AT + 'server certificate for "*.provider.example" does not match host name "db.example"',
        AT + 'server certificate for "*.provider.example" (and 3 other names) does not match host name "db.example"',
    ],
    "this machine and the server support no common TLS version": [
        AT + "SSL error: unsupported protocol",
        AT + "SSL error: tlsv1 alert protocol version",
    ],
}


@pytest.mark.parametrize(("cause", "text"), [(cause, text) for cause, texts in TEXTS.items() for text in texts])
def test_each_text_has_its_cause(cause: str, text: str) -> None:
    found = explain(psycopg2.OperationalError(text), {**HERE, "connect_timeout": 10})
    assert found.cause == cause
    assert found.remedy
    assert "Is the server running" not in found.text


@pytest.mark.parametrize(
    ("code", "cause"),
    [
        ("28P01", "the password is wrong, or there is no role owner (the server does not say which)"),
        ("28000", "the server does not admit owner: there is no such role, it may not log in"),
        ("3D000", "there is no database shop on this server"),
        ("53300", "the server has no free connection slot"),
        ("57P03", "the server is starting or replaying its log"),
        ("42501", "owner may not connect to the database shop"),
        ("55000", "the database shop accepts no connections"),
        ("XX000", "the server refused with SQLSTATE XX000"),
    ],
)
def test_a_text_in_another_language_is_recognised_by_its_code(
    monkeypatch: pytest.MonkeyPatch, code: str, cause: str
) -> None:
    monkeypatch.setattr(connection_faults, "sqlstate_of_refusal", lambda _parameters: code)
    found = explain(psycopg2.OperationalError(AT + "ВАЖНО:  подключение отвергнуто"), HERE)
    assert found.cause.startswith(cause)
    assert found.sqlstate == code


def test_a_socket_is_told_from_a_host() -> None:
    assert is_socket("/run/postgresql")
    assert is_socket("@abstract")
    assert is_socket("/run/one,/run/two")
    assert not is_socket("/run/one,db.example")
    assert not is_socket("localhost")
    assert not is_socket("")


def test_a_database_may_have_any_name() -> None:
    assert dbname_argument("a=b 'c' \\d") == "dbname='a=b \\'c\\' \\\\d'"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"host": "https://db.example.org"}, "host holds a URL; it takes the name of the server alone"),
        ({"host": "postgresql://u:a-secret@db.example.org:5432/postgres"}, "host holds a URL"),
        ({"dbname": "postgresql://u:a-secret@db.example.org/postgres"}, "dbname holds a URL"),
        ({"host": "db.example.org:5432"}, "host contains a port, which has its own option"),
        ({"host": "one.example.org,two.example.org:5432"}, "host contains a port"),
        ({"host": "db.example.org\n"}, "host contains a blank or a line break"),
        ({"user": "postgres\0x"}, "user contains a NUL character"),
    ],
)
def test_what_was_copied_with_more_around_it_is_named_and_not_printed(changes: dict[str, str], words: str) -> None:
    options = {"host": "db.example.org", "sslmode": "disable", **changes}
    with pytest.raises(RunbookError) as refused:
        connect_parameters(options)
    assert f"database_connection.{words}" in refused.value.msg
    assert "a-secret" not in refused.value.msg + refused.value.next_command


@pytest.mark.parametrize(
    "host", ["::1", "fe80::1%eth0", "/tmp/a b:5432", "one.example.org, two.example.org", "@abstract"]
)
def test_addresses_and_sockets_are_names_alone(host: str) -> None:
    assert connect_parameters({"host": host, "sslmode": "disable"})["host"] == host
