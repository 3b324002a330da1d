"""Limits of a migration's waits, each with its unit in its name."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Self


@dataclasses.dataclass(frozen=True)
class Locking:
    """How to wait for locks that make the application wait.

    :param lock_timeout_seconds: for one attempt. :param lock_attempts: number of attempts.
    :param lock_attempts_limit_seconds: how long all attempts may take together.
    :param lock_pause_seconds: between attempts, so that the queue behind us drains.
    """

    lock_timeout_seconds: float = 0.5
    lock_attempts: int = 30
    lock_attempts_limit_seconds: float = 300.0
    lock_pause_seconds: float = 1.0

    @classmethod
    def from_option(cls, given: Mapping[str, Any] | None) -> Self:
        """Create from an option; missing keys get their defaults."""
        return cls(**{name: value for name, value in (given or {}).items() if value is not None})

    @classmethod
    def argument(cls) -> dict[str, Any]:
        """Return the entry of an argument_spec, defaults included."""
        options = {
            field.name: {"type": "int" if isinstance(field.default, int) else "float", "default": field.default}
            for field in dataclasses.fields(cls)
        }
        return {"type": "dict", "apply_defaults": True, "options": options}


@dataclasses.dataclass(frozen=True)
class Limits(Locking):
    """Bounds of every wait of a migration.

    :param statement_timeout_seconds: of one statement of a step in a transaction.
    :param long_step_limit_seconds: of a CONCURRENTLY or VALIDATE step, which blocks nobody.
    :param batch_lock_timeout_seconds: in a backfill; well below deadlock_timeout, so that the batch yields.
    :param batch_timeout_seconds: of one batch.
    :param batch_attempts: failures after which a batch is halved; a single row is retried for
        lock_attempts_limit_seconds.
    :param batch_rows: rows of the first batch; 0 takes the plan's.
    :param batch_rows_least: and ``batch_rows_most`` bound what is tuned.
    :param batch_budget_milliseconds: how long a batch should take: its size is tuned to it.
    :param give_way_ratio: while the application is busy, a worker rests this many times as long as its batch took.
    :param workers: sessions that move rows; 0 chooses a number that suits the server.
    :param range_rows: approximate number of keys in a range, which one worker takes at a time.
    :param pause_limit_seconds: a pause for the server's health that lasts longer stops the run.
    :param postpone_limit_seconds: how long to wait for a postponed contract step.
    """

    statement_timeout_seconds: float = 600.0
    long_step_limit_seconds: float = 7200.0
    batch_lock_timeout_seconds: float = 0.2
    batch_timeout_seconds: float = 60.0
    batch_attempts: int = 3
    batch_rows: int = 0
    batch_rows_least: int = 100
    batch_rows_most: int = 5000
    batch_budget_milliseconds: float = 25.0
    give_way_ratio: float = 2.0
    workers: int = 0
    range_rows: int = 10000
    pause_limit_seconds: float = 3600.0
    postpone_limit_seconds: float = 86400.0
