"""List the faults of a connection before the server answers: TLS and network."""

from __future__ import annotations

from .server_faults import Fault

NETWORK_FAULTS: tuple[Fault, ...] = (
    # TLS, as libpq reports it.
    Fault(
        "name_mismatch",
        r'certificate for "(?P<name>[^"]*)"( \(and \d+ other names?\))? does not match host name "(?P<asked>[^"]*)"',
        "the server's certificate is for {name}, but host is {asked}",
        "set host in database_connection to a name of the certificate, if this is the server you mean",
    ),
    Fault(
        "authority_missing",
        r"root certificate file .* does not exist",
        "the file of the certificate's authority, {sslrootcert}, does not exist",
        "put the authority's certificate there (inventories/certificates/README.md), or correct sslrootcert",
    ),
    Fault(
        "authority_unreadable",
        r"could not read root certificate file",
        "the file {sslrootcert} contains no certificate in PEM form, or cannot be read",
        "put the authority's certificate there in PEM form (it begins with -----BEGIN CERTIFICATE-----)",
    ),
    Fault(
        "client_key",
        r"private key file",
        "the client's private key, {sslkey}, cannot be used: it is missing, locked by a passphrase, readable by "
        "others, or of another certificate",
        "set sslkey in database_connection to the private key of sslcert, with mode 0600 and without a passphrase",
    ),
    Fault(
        "client_certificate_unreadable",
        r"could not (open|read|load) certificate file",
        "the client's certificate, {sslcert}, cannot be read or contains none in PEM form",
        "correct sslcert in database_connection",
    ),
    Fault(
        "certificate_not_trusted",
        r"certificate verify failed",
        "the server's certificate was not signed by an authority in {sslrootcert}, or has expired",
        "make sure that this is the server you mean, then correct sslrootcert in database_connection",
    ),
    Fault(
        "no_tls",
        r"server does not support SSL",
        "the server has no TLS, but sslmode is {sslmode}",
        "enable TLS on the server (ssl = on, a certificate and its key), or check that this is the server you mean",
    ),
    Fault(
        "tls_version",
        r"unsupported protocol|wrong version number|tlsv1 alert protocol version|no protocols available",
        "this machine and the server support no common TLS version",
        "compare ssl_min_protocol_version on the server with this machine's OpenSSL",
    ),
    Fault(
        "channel_binding",
        r"channel binding (is )?required",
        "channel_binding is require, but the server does not offer it over this connection",
        "use TLS and a SCRAM password, or set channel_binding: prefer in database_connection",
    ),
    Fault(
        "gssapi",
        r"GSSAPI|gssencmode",
        "GSSAPI encryption is not available",
        "get a Kerberos ticket (kinit), or set gssencmode: disable in database_connection",
    ),
    Fault(
        "not_postgresql",
        r"invalid response to SSL negotiation|expected authentication request from server",
        "another kind of server answers at {host}, port {port}",
        "correct host and port in database_connection",
    ),
    # The network.
    Fault(
        "name_unknown",
        r'could not translate host name "(?P<name>[^"]*)" to address: .*(Temporary failure|try again)',
        "the name server did not answer for the host name {name}",
        "check this machine's network and DNS (getent hosts {name}), then run the same command again",
    ),
    Fault(
        "name_wrong",
        r'could not translate host name "(?P<name>[^"]*)" to address',
        "DNS does not know the host name {name}",
        "correct host in database_connection (getent hosts {name} must print an address)",
    ),
    Fault(
        "socket_missing",
        r'on socket "(?P<name>[^"]*)" failed: (No such file or directory|Not a directory)',
        "there is no socket {name}: no server runs there",
        "start the server (the demonstration's: make demo), or correct host and port in database_connection",
    ),
    Fault(
        "socket_refused",
        r'on socket "(?P<name>[^"]*)" failed: Connection refused',
        "no server answers at the socket {name}: a server that has ended left it behind",
        "start the server (the demonstration's: make demo)",
    ),
    Fault(
        "socket_forbidden",
        r'on socket "(?P<name>[^"]*)" failed: Permission denied',
        "this user may not use the socket {name}",
        "run the command as a user that may use it, or correct host in database_connection",
    ),
    Fault(
        "port_refused",
        r'at "(?P<name>[^"]*)".*, port (?P<number>\d+) failed: Connection refused',
        "nothing listens at {name}, port {number}",
        "correct host and port in database_connection, or start the server",
    ),
    Fault(
        "timeout",
        r"timeout expired|timed out",
        "nothing at {host}, port {port}, answered within {seconds} s",
        "check host and port, and that firewalls and the provider's list of allowed addresses let this machine in",
    ),
    Fault(
        "no_route",
        r"No route to host|Network is unreachable|Cannot assign requested address",
        "this machine has no route to {host}",
        "check network and VPN; a host with an IPv6 address only needs IPv6 here, or the pooler's session mode",
    ),
    Fault(
        "broken_off",
        r"server closed the connection unexpectedly|Connection reset by peer|Broken pipe|EOF detected",
        "the server, or something between it and this machine, closed the connection before the session began",
        "read the server's log; check that port {port} is PostgreSQL's",
    ),
)
