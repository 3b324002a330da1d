"""Document the option ``result_file``."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  result_file:
    description:
      - Also write the result, of a success or a failure, to this file, as JSON with mode 0600.
      - The run's report is created from these files. Check mode writes nothing.
    type: path
"""
