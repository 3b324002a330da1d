"""Documentation of the ``result_file`` option that the runbook's modules share."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  result_file:
    description:
      - Also write the result (of a success or a failure) to this file, as JSON with mode 0600.
      - The run's report is made from these files. Nothing is written in check mode.
    type: path
"""
