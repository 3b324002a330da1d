"""Document the option ``tools_directory`` of modules that run PostgreSQL's client programs."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  tools_directory:
    description:
      - Directory with C(pg_dump) and C(pg_restore) of the server's major version. By default C(PATH), the usual
        installation directories and the embedded server's Python package are searched.
    type: path
"""
