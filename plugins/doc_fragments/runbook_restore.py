"""Documentation of the options that every way to restore a backup shares."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  backup_directory:
    description: Directory of a backup that M(pg_backup) took of this database. Its checksums are verified first.
    type: path
    required: true
  snapshot_directory:
    description: Directory of the data snapshot taken with the backup. The one that the manifest names, unless given.
    type: path
  jobs:
    description: How many tables are loaded at the same time.
    type: int
    default: 2
  statement_timeout_seconds:
    description: Longest time for one statement, in seconds.
    type: int
    default: 7200
"""
