"""Document the option ``plan``."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  plan:
    description: The plan as M(pg_plan_info) returns it.
    type: dict
    required: true
"""
