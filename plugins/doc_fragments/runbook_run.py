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
        description: Hash of the plan that the run was opened with. A migration takes that of its plan, unless given.
        type: str
      directory:
        description: Directory of the run. M(pg_journal) makes it with mode 0700.
        type: path
      environment:
        description: Environment of the inventory. A migration refuses a run that was begun by another one.
        type: str
        default: ""
      host:
        description: Name of the inventory host. A migration refuses a run that was begun by another one.
        type: str
        default: ""
"""

    #: For a module that does nothing without a run.
    REQUIRED = DOCUMENTATION.replace("    type: dict\n", "    type: dict\n    required: true\n", 1)

    #: For the module that opens one.
    OPENED = REQUIRED.replace("        required: true\n", '        default: ""\n').replace(
        "as M(pg_journal) returned it.", "as M(pg_journal) returned it. Where a run is opened without one, it is made."
    )
