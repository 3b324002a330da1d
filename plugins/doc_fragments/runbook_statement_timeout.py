"""Documentation of the option ``statement_timeout_seconds`` that modules share which repair rows."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  statement_timeout_seconds:
    description: Longest time for one statement, in seconds.
    type: int
    default: 600
"""
