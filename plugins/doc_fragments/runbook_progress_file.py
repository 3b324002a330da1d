"""Documentation of the ``progress_file`` option that modules share whose work or waits may take long."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  progress_file:
    description:
      - An existing file to which lines of progress are appended, as JSON; how far rows are moved or loaded, and who is
        waited for. The environment variable E(RUNBOOK_PROGRESS_FILE) is taken where it is left out.
    type: path
"""
