"""Document the options of modules that read whole tables."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  sessions:
    description: How many queries run at the same time, each in its own session, all with the same snapshot.
    type: int
    default: 2
  work_memory_megabytes:
    description: C(work_mem) of these sessions, in megabytes. A query can use it several times.
    type: int
    default: 64
"""
