"""Document the option ``connection``."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  connection:
    description:
      - The database to work on. One direct session is opened per call; transaction poolers are refused.
      - Only these options define the connection. libpq's environment variables (E(PGHOST), E(PGOPTIONS), E(PGSERVICE)
        and the others) and its default files (C(~/.pgpass), C(~/.postgresql/root.crt) and the others) are ignored
        unless an option names them.
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
        description: Role to connect as. It, or C(role), must own the plan's tables. It need not be a superuser.
        type: str
        default: postgres
      password:
        description: Password of the role. It never appears on a command line, in a log or in a result.
        type: str
      passfile:
        description: Password file in libpq's format, mode 0600.
        type: path
      role:
        description: Role for SET ROLE after connecting. C(user) must be a member of it. Client tools use it too.
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
        description: File with revoked certificates.
        type: path
      sslcert:
        description: File with the client certificate, if the server requests one.
        type: path
      sslkey:
        description: File with the private key of C(sslcert), mode 0600.
        type: path
      channel_binding:
        description: Whether the password is bound to the TLS connection. libpq's default is V(prefer).
        type: str
        choices: [disable, prefer, require]
      gssencmode:
        description: Whether GSSAPI encrypts the connection instead of TLS.
        type: str
        default: disable
        choices: [disable, prefer, require]
      connect_timeout_seconds:
        description: How long to wait for the server to answer, in seconds.
        type: int
        default: 10
"""

    #: For a module that also works without a database.
    OPTIONAL = DOCUMENTATION.replace("    required: true\n", "", 1)

    #: A second database, with the same keys.
    SCRATCH = OPTIONAL.replace("  connection:\n", "  scratch_connection:\n").replace(
        "The database to work on.", "Server for the scratch database, if it is not that of O(connection)."
    )
