"""How a server refuses a connection: how it words each fault, what that means, and what to do."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Fault:
    """One kind of fault.

    :param pattern: searched in the text, its line breaks taken out. Its named groups can be used in the sentences,
        like libpq's keywords.
    :param sqlstates: codes of the server that mean the same, for a server that speaks another language.
    """

    name: str
    pattern: str
    cause: str
    remedy: str
    sqlstates: tuple[str, ...] = ()


#: Matches no text: a fault that only its code identifies.
NEVER = r"(?!)"

SERVER_FAULTS: tuple[Fault, ...] = (
    Fault(
        "slots_of_role",
        r'too many connections for role "(?P<name>[^"]*)"',
        "the role {name} has as many sessions as its connection limit allows",
        'end sessions of that role, or: ALTER ROLE "{name}" CONNECTION LIMIT -1',
    ),
    Fault(
        "slots_of_database",
        r'too many connections for database "(?P<name>[^"]*)"',
        "the database {name} has as many sessions as its connection limit allows",
        'end sessions in that database, or: ALTER DATABASE "{name}" CONNECTION LIMIT -1',
    ),
    Fault(
        "slots",
        r"too many clients already|remaining connection slots are reserved|[Mm]ax client(s| connections) reached|"
        r"no more connections allowed",
        "the server has no free connection slot",
        "end idle sessions (pg_stat_activity), make the application's pool smaller, or raise max_connections",
        ("53300",),
    ),
    Fault(
        "password_missing",
        r"no password supplied|empty password",
        "the server asks for a password, and database_connection has none",
        "set password or passfile in database_connection; where the inventory takes it from an environment variable, "
        "set that variable",
    ),
    Fault(
        "password_wrong",
        r"password authentication failed|(LDAP|PAM|RADIUS|BSD|SASL) authentication failed",
        "the password is wrong, or there is no role {user} (the server does not say which)",
        "correct the password of database_connection, or its user",
        ("28P01",),
    ),
    Fault(
        "client_certificate_missing",
        r"requires a valid client certificate|alert certificate required|alert handshake failure",
        "the server asks for a client certificate and accepted none",
        "set sslcert and sslkey in database_connection to a certificate that the server's authority signed",
    ),
    Fault(
        "client_certificate_refused",
        r"certificate authentication failed|alert (unknown ca|bad certificate|certificate (expired|revoked|unknown))",
        "the server refuses the client certificate {sslcert}: another authority signed it, it has expired, or it "
        "belongs to a user other than {user}",
        "set sslcert and sslkey in database_connection to a certificate for {user} that the server's authority signed",
    ),
    Fault(
        "access_rule",
        r"no pg_hba\.conf entry for|pg_hba\.conf rejects|(Peer|Ident|GSSAPI|SSPI|trust) authentication failed",
        "no rule of the server's pg_hba.conf lets {user} into {dbname} from this address, over this kind of connection",
        "add a rule (and pg_reload_conf()), or allow this machine's address with the provider; where the text says "
        '"no encryption", set a stronger sslmode',
    ),
    Fault(
        "role_missing",
        r'role "(?P<name>[^"]*)" does not exist|[Uu]ser not found|no such user',
        "there is no role {user} on this server",
        'correct user in database_connection, or: CREATE ROLE "{user}" LOGIN',
    ),
    Fault(
        "role_without_login",
        r'role "(?P<name>[^"]*)" is not permitted to log in',
        "the role {name} may not log in",
        'name a role with LOGIN as user and this one as role in database_connection, or: ALTER ROLE "{name}" LOGIN',
    ),
    Fault(
        "database_missing",
        r'database "(?P<name>[^"]*)" does not exist|no such database',
        "there is no database {dbname} on this server",
        "correct dbname in database_connection",
        ("3D000",),
    ),
    Fault(
        "database_closed",
        r'database "(?P<name>[^"]*)" is not currently accepting connections',
        "the database {dbname} accepts no connections",
        'ALTER DATABASE "{dbname}" ALLOW_CONNECTIONS true, once it is known why it was closed',
        ("55000",),
    ),
    Fault(
        "database_forbidden",
        r'permission denied for database "(?P<name>[^"]*)"',
        "{user} may not connect to the database {dbname}",
        'GRANT CONNECT ON DATABASE "{dbname}" TO "{user}"',
        ("42501",),
    ),
    Fault(
        "starting",
        r"system is starting up|not yet accepting connections",
        "the server is starting or replaying its log",
        "wait until it accepts connections, then run the same command again",
        ("57P03",),
    ),
    Fault(
        "stopping",
        r"system is shutting down|due to administrator command|system is in recovery mode",
        "the server is shutting down or recovers from a crash",
        "wait until it accepts connections again, then run the same command again",
        ("57P01", "57P02", "57P03"),
    ),
    Fault(
        "standby_closed",
        r"hot standby mode is disabled|not accepting connections",
        "the server is a standby that accepts no connections",
        "set host in database_connection to the primary",
    ),
    Fault(
        "startup_parameter",
        r"unsupported startup parameter",
        "a pooler refuses a parameter of the connection",
        "use the direct port (5432) in database_connection",
    ),
    Fault(
        "not_admitted",
        NEVER,
        "the server does not admit {user}: there is no such role, it may not log in, its client certificate is "
        "missing, or no rule of pg_hba.conf fits",
        "compare user and sslcert of database_connection with the server's log, which says which of these it is",
        ("28000",),
    ),
)
