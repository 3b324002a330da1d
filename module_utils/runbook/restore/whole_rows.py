"""Are the rows of a restored database those of its backup and of the data snapshot taken with it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..backup.dumped_tables import row_count
from ..errors import RunbookError
from ..session.connection import Connection, read_only_snapshot
from ..snapshot.compare import compare, refuse_differences

_NEXT = "take a new backup: this one cannot be relied on"


def compare_rows(
    restored: Connection, manifest: Mapping[str, Any], snapshot: Mapping[str, Any] | None, directory: str, state: str
) -> dict[str, Any]:
    """Count every table and compare every fingerprint: nothing but equality passes.

    :param snapshot: None where the backup was taken without one; ``directory`` is where it is.
    :param state: what becomes of the restored database, for the message.
    :returns: ``rows`` by table, ``rows_compared`` by fingerprint, and the comparison.
    :raises RunbookError: rows are missing or differ, or none was looked at where the snapshot had some.
    """
    with read_only_snapshot(restored) as cursor:
        rows = {table: row_count(cursor, table) for table in manifest["rows"]}
        wrong = [name for name, count in rows.items() if count != manifest["rows"][name]]
        if wrong:
            raise RunbookError(
                "the restored backup does not hold the rows that were backed up: "
                + "; ".join(f"{name} has {rows[name]}, not {manifest['rows'][name]}" for name in wrong)
                + f". {state[0].upper()}{state[1:]}.",
                object_name=wrong[0],
                next_command=_NEXT,
            )
        found: dict[str, Any] = {"counts": [], "samples": [], "fingerprints": [], "differences": []}
        if snapshot:
            found = compare(cursor, snapshot, directory, "restore")
            refuse_differences(
                found, f"the restored backup differs from the data snapshot of its instant ({state})", _NEXT
            )
    return {"rows": rows, "rows_compared": sum(entry["before"] for entry in found["fingerprints"]), **found}
