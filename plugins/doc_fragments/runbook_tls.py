"""Document the option ``tls`` of modules that check how a connection is protected."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  tls:
    description: Whether to refuse TLS that is weaker than V(verify-full).
    type: dict
    default: {}
    suboptions:
      required:
        description: Whether to refuse it.
        type: bool
        default: false
      accept:
        description: The weakest C(sslmode) to accept nevertheless; empty for none.
        type: str
        default: ""
      reason:
        description: Why it is accepted, for the report. Required with C(accept).
        type: str
        default: ""
"""
