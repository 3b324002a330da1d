"""Documentation of the option ``tools_directory`` that modules share which run PostgreSQL's programs."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  tools_directory:
    description:
      - Directory with C(pg_dump) and C(pg_restore) of the server's major version. Unless given, they are looked for in
        C(PATH), in the usual places, and with the embedded server.
    type: path
"""
