"""What a migration takes from the run it belongs to: leave to begin, the snapshot's counts, the volume class."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from ..journal import runs as journal
from ..session.connection import Connection, Cursor
from ..snapshot import snapshot


@dataclasses.dataclass(frozen=True)
class RunFacts:
    """Known beside the options.

    :param resume_command: what an operator types to go on after a failure.
    :param forward_command: what applies the plan, whatever this call does; empty without a run.
    """

    snapshot_counts: Mapping[str, Any]
    volume_class: str
    resume_command: str
    forward_command: str = ""


def require_run(connection: Connection, params: Mapping[str, Any], direction: str) -> RunFacts:
    """Enforce the guard where a run is given, and read what its events hold.

    :raises RunbookError: the run is not ready, or its snapshot cannot be read.
    """
    counts, volume_class = dict(params["snapshot_counts"] or {}), str(params["volume_class"] or "")
    if not params["run"]:
        return RunFacts(counts, volume_class, "run the same task again")
    with connection.cursor() as cursor:
        details = journal.require_run_ready(cursor, params["run"], drilled=params["restore_drill_required"])
        run = journal.require_open(cursor, params["run"]["id"])
        volume_class = volume_class or _first_volume_class(cursor, params["run"]["id"])
    taken = details["snapshot_taken"]
    if not counts and taken.get("directory"):
        counts = {entry["name"]: entry["value"] for entry in snapshot.load(taken["directory"])["counts"]}
    forward = journal.playbook_command("migrate.yml", run)
    back = f"{journal.playbook_command('rollback.yml', run)} -e method=reverse"
    return RunFacts(counts, volume_class, forward if direction == "applied" else back, forward)


def _first_volume_class(cursor: Cursor, run_id: str) -> str:
    """The class that the first environment verification found: a resumed one counts only what is left."""
    cursor.execute(
        "SELECT details #>> '{volume,class}' FROM migration_runbook.event WHERE run_id = %s"
        " AND phase = 'environment_verified' AND details #>> '{volume,class}' <> '' ORDER BY id LIMIT 1",
        (run_id,),
    )
    row = cursor.fetchone()
    return str(row[0]) if row else ""
