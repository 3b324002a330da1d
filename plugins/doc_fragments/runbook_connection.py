"""Documentation of the ``connection`` option that the runbook's modules share."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  connection:
    description:
      - The database to work on. One direct session is opened per call; transaction poolers are refused.
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
        description: Role to connect as. It owns the plan's tables and needs no superuser rights.
        type: str
        default: postgres
      password:
        description: Password of the role. It never reaches a command line, a log or a result.
        type: str
      sslmode:
        description: libpq's sslmode.
        type: str
        default: verify-full
        choices: [disable, allow, prefer, require, verify-ca, verify-full]
      sslrootcert:
        description: File with the certificate authorities that V(verify-ca) and V(verify-full) trust.
        type: path
      connect_timeout_seconds:
        description: How long to wait for the server to answer, in seconds.
        type: int
        default: 10
"""
