"""Documentation of the option ``locking`` that modules share which lock tables of the application."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  locking:
    description: How tables are locked that the application uses.
    type: dict
    suboptions:
      lock_timeout_seconds:
        description:
          - How long one attempt waits for a lock, in seconds. The application waits behind it that long.
          - Of several tables those after the first get a tenth of it. When autovacuum is in the way, the next attempt
            waits 0.2 s longer than the server's C(deadlock_timeout), when autovacuum gives way.
        type: float
        default: 0.5
      lock_attempts:
        description: How often it is tried while locks are refused.
        type: int
        default: 30
      lock_attempts_limit_seconds:
        description: How long all attempts may take together, in seconds.
        type: float
        default: 300.0
      lock_pause_seconds:
        description: Pause between two attempts, in seconds, in which the queue behind the lock drains.
        type: float
        default: 1.0
"""
