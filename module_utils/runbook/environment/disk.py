"""Check that the disk has room for the growth of the tables."""

from __future__ import annotations

from collections.abc import Iterator

from ..database.disk_space import free_bytes
from ..verification.findings import Finding
from .view import View

#: An old snapshot keeps every old row version: the tables can double, and WAL of the same size is written.
GROWTH_FACTOR = 2

SIZE = """
SELECT coalesce(sum(pg_total_relation_size(to_regclass(wanted.name))), 0)
FROM unnest(%(tables)s::text[]) AS wanted(name)
"""


def examine_disk(view: View) -> Iterator[Finding]:
    """Compare the free space with the growth that pending migrations can cause."""
    size = int(view.value(SIZE, {"tables": view.protected_tables()}))
    needed = max(GROWTH_FACTOR * size if view.pending else 0, view.thresholds["minimum_free_disk_bytes"])
    free, how = free_bytes(view.disk)
    view.facts["disk"] = {"protected_tables_bytes": size, "needed_bytes": needed, "free_bytes": free}
    harm = f"the plan's tables have {size} bytes; moved rows, their indexes and their WAL may need {needed} more, and "
    harm += "a full disk stops the server"
    if free is None:
        yield Finding(
            "free_disk_unknown",
            "information",
            view.server["database"],
            "the server's free disk space cannot be determined from here",
            harm,
            f"check the provider's disk report (or df on the server): {needed} bytes should be free; set "
            "database_free_disk_bytes in the inventory to have it checked",
        )
    elif free < needed:
        found = f"{free} bytes are free {how}, {needed} are needed"
        repair = "free or add disk space; then correct database_free_disk_bytes if it is set"
        yield Finding("free_disk", "blocking", view.server["database"], found, harm, repair)
