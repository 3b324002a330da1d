"""Document the option ``progress_file`` of modules that may run or wait for long."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  progress_file:
    description:
      - An existing file to which progress is appended as JSON lines, with rows done and total, and the sessions that
        block this one. Defaults to the environment variable E(RUNBOOK_PROGRESS_FILE).
    type: path
"""
