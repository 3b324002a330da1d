"""Document the option ``tables`` of modules that work on the protected tables of a plan."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  tables:
    description: Tables, parents first. They are locked in this order.
    type: list
    elements: dict
    default: []
    suboptions:
      table:
        description: Table, as C(schema.table).
        type: str
        required: true
      key:
        description: Column that identifies a row.
        type: str
        required: true
"""

    #: For a module that requires tables.
    REQUIRED = DOCUMENTATION.replace("    default: []\n", "    required: true\n", 1)
