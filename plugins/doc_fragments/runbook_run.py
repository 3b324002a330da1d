"""Documentation of the option ``run`` that modules share which work for a run of the journal."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  run:
    description: The open run that the call belongs to.
    type: dict
    suboptions:
      id:
        description: Id of the run, as M(pg_journal) returned it.
        type: str
        required: true
      plan_hash:
        description: Hash of the plan that the run was opened with.
        type: str
      directory:
        description: Directory of the run.
        type: path
"""

    #: For a module that does nothing without a run.
    REQUIRED = DOCUMENTATION.replace("    type: dict\n", "    type: dict\n    required: true\n", 1)
