"""Document the option ``plan_settings`` of modules that run the plan's SQL."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  plan_settings:
    description: Value of each setting of the plan. Sessions have them as C(<helper schema>.<setting>).
    type: dict
    default: {}
"""
