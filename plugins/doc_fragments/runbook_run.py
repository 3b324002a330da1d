"""Document the option ``run`` of modules that work for a run of the journal."""

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
        description: Hash of the plan with which the run was opened. A migration defaults to that of its plan.
        type: str
      directory:
        description: Directory of the run. M(pg_journal) creates it with mode 0700.
        type: path
      environment:
        description: Environment of the inventory. A migration refuses a run of another environment.
        type: str
        default: ""
      host:
        description: Name of the inventory host. A migration refuses a run of another host.
        type: str
        default: ""
"""

    #: For a module that requires a run.
    REQUIRED = DOCUMENTATION.replace("    type: dict\n", "    type: dict\n    required: true\n", 1)

    #: For the module that opens a run.
    OPENED = REQUIRED.replace("        required: true\n", '        default: ""\n').replace(
        "as M(pg_journal) returned it.", "as M(pg_journal) returned it. Opening a run without an id generates one."
    )
