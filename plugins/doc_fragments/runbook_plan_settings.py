"""Documentation of the option ``plan_settings`` that modules share which run the plan's SQL."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  plan_settings:
    description: Value of each setting that the plan names. Sessions get them as C(<helper schema>.<setting>).
    type: dict
    default: {}
"""
