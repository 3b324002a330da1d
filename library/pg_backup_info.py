#!/usr/bin/python
"""Verify the checksums of a backup."""

from __future__ import annotations

DOCUMENTATION = r"""
module: pg_backup_info
short_description: Verify that a backup is still whole, and return its manifest
description:
  - Compares size and SHA-256 of every file with C(manifest.json), as M(pg_backup) wrote it.
  - Fails when a file is missing or damaged, naming every one.
  - Reads files only. No database is needed, and nothing is changed.
options:
  directory:
    description: Directory of the backup.
    type: path
    required: true
extends_documentation_fragment: [runbook_result_file]
attributes:
  check_mode:
    support: full
author: ["the runbook's authors"]
"""

EXAMPLES = r"""
- name: The backup of that run can still be restored
  pg_backup_info:
    directory: artifacts/production/shop/20250122T101500Z-3f9a1c/backup
"""

RETURN = r"""
directory:
  description: Directory of the backup.
  returned: always
  type: str
manifest:
  description: What C(manifest.json) holds; M(pg_backup) describes it. Empty when the backup is damaged.
  returned: always
  type: dict
damaged_files:
  description: Files that are missing or damaged, relative to the directory.
  returned: always
  type: list
  elements: str
"""

from typing import Any

from ansible.module_utils.runbook.backup import manifest as manifests
from ansible.module_utils.runbook.module import result_file_argument, run

FACTS: dict[str, Any] = {"directory": "", "manifest": {}, "damaged_files": []}


def argument_spec() -> dict[str, Any]:
    """Return the options, as DOCUMENTATION describes them."""
    return {"directory": {"type": "path", "required": True}, "result_file": result_file_argument()}


def work(params: dict[str, Any], check_mode: bool) -> dict[str, Any]:
    """Verify every file."""
    manifest = manifests.verify(params["directory"])
    return {
        "msg": f"whole: {len(manifest['files'])} files, {manifest['total_bytes']} bytes, "
        f"taken at {manifest['taken_at']} of {manifest['database']}",
        "directory": params["directory"],
        "manifest": manifest,
        "damaged_files": [],
    }


def main() -> None:
    """Run as an Ansible module."""
    run(argument_spec(), work, facts=FACTS)


if __name__ == "__main__":
    main()
