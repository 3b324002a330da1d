"""Document the options of modules that restore a backup."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  backup_directory:
    description: Directory of a backup that M(pg_backup) took of this database. Its checksums are verified first.
    type: path
    required: true
  snapshot_directory:
    description: Directory of the data snapshot taken with the backup. Defaults to the one in the manifest.
    type: path
  jobs:
    description: How many tables are loaded at the same time.
    type: int
    default: 2
  statement_timeout_seconds:
    description: Maximum time for one statement, in seconds.
    type: int
    default: 7200
"""
