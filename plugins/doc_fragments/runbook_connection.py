"""Documentation of the ``connection`` option that the runbook's modules share."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  connection:
    description:
      - The database to work on. One direct session is opened per call; transaction poolers are refused.
      - Nothing else takes part in the connection. libpq's environment variables (E(PGHOST), E(PGOPTIONS), E(PGSERVICE)
        and the others) and its default files (C(~/.pgpass), C(~/.postgresql/root.crt) and the others) count only where
        an option names them.
    type: dict
    required: true
    suboptions:
      host:
        description: Host name, address, or the directory of a Unix socket.
        type: str
        required: true
      port:
        description: Port of the direct connection.
        type: int
        default: 5432
      dbname:
        description: Name of the database.
        type: str
        default: postgres
      user:
        description: Role to connect as. It, or C(role), owns the plan's tables. No superuser is needed.
        type: str
        default: postgres
      password:
        description: Password of the role. It never reaches a command line, a log or a result.
        type: str
      passfile:
        description: Password file as libpq reads it, mode 0600.
        type: path
      role:
        description: Role to act as once connected. C(user) is a member of it. Client tools act as it too.
        type: str
      sslmode:
        description: libpq's sslmode.
        type: str
        default: verify-full
        choices: [disable, allow, prefer, require, verify-ca, verify-full]
      sslrootcert:
        description:
          - File with the certificate authorities that V(verify-ca) and V(verify-full) trust; both need it.
          - V(system) trusts the authorities that this machine trusts.
        type: path
      sslcrl:
        description: File with the certificates that were revoked.
        type: path
      sslcert:
        description: File with the client's certificate, where the server asks for one.
        type: path
      sslkey:
        description: File with the private key of C(sslcert), mode 0600.
        type: path
      channel_binding:
        description: Whether the password is bound to the TLS connection. libpq's default is V(prefer).
        type: str
        choices: [disable, prefer, require]
      gssencmode:
        description: Whether GSSAPI encrypts the connection in place of TLS.
        type: str
        default: disable
        choices: [disable, prefer, require]
      connect_timeout_seconds:
        description: How long to wait for the server to answer, in seconds.
        type: int
        default: 10
"""

    #: For a module that works without a database too.
    OPTIONAL = DOCUMENTATION.replace("    required: true\n", "", 1)

    #: A second database, with the same keys.
    SCRATCH = OPTIONAL.replace("  connection:\n", "  scratch_connection:\n").replace(
        "The database to work on.", "Where the scratch database is made, unless on the server of O(connection)."
    )
