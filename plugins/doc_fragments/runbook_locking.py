"""Document the option ``locking`` of modules that lock tables of the application."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  locking:
    description: How to lock tables that the application uses.
    type: dict
    suboptions:
      lock_timeout_seconds:
        description:
          - How long an attempt waits for a lock, in seconds. The application waits behind it that long.
          - Locks of further tables get a tenth of it. If autovacuum blocks an attempt, the next one waits 0.2 s longer
            than the server's C(deadlock_timeout), so that the server cancels autovacuum.
        type: float
        default: 0.5
      lock_attempts:
        description: Maximum number of attempts.
        type: int
        default: 30
      lock_attempts_limit_seconds:
        description: Maximum time for all attempts, in seconds.
        type: float
        default: 300.0
      lock_pause_seconds:
        description: Pause between two attempts, in seconds, so that the queue behind the lock drains.
        type: float
        default: 1.0
"""
