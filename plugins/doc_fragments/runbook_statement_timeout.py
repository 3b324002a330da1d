"""Document the option ``statement_timeout_seconds`` of modules that repair rows."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  statement_timeout_seconds:
    description: Maximum time for one statement, in seconds.
    type: int
    default: 600
"""
