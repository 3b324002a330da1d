"""The backfill of a step, in batches or at once."""

from __future__ import annotations

from .step_context import StepContext
from .steps import Step


def move_rows(context: StepContext, step: Step) -> None:
    """Move the rows of a backfill step."""
    # Here: most migrations move no rows, and these are a fifth of what a migration loads.
    from ..backfill.offline import run_offline
    from ..backfill.walk import Walk

    if context.strategy == "offline" and (context.backfill or {}).get("offline"):
        run_offline(context, step)
    else:
        Walk(context, step).run()
