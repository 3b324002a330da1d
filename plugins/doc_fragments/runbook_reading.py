"""Documentation of the options that modules which read whole tables share."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  sessions:
    description: How many queries run at a time, each in a session of its own. All of them read one instant.
    type: int
    default: 2
  work_memory_megabytes:
    description: Memory for one sort or hash table of a query, in megabytes. A query can use several at a time.
    type: int
    default: 64
"""
