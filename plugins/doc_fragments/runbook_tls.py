"""Documentation of the option ``tls`` that modules share which judge how a connection is protected."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  tls:
    description: Whether TLS that is weaker than V(verify-full) is refused.
    type: dict
    default: {}
    suboptions:
      required:
        description: Whether it is.
        type: bool
        default: false
      accept:
        description: The weakest C(sslmode) that is accepted nevertheless. Empty accepts none.
        type: str
        default: ""
      reason:
        description: Why it is accepted, for the report. Nothing is accepted without one.
        type: str
        default: ""
"""
