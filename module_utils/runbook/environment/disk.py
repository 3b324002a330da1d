"""Is there room for the growth of a migration."""

from __future__ import annotations

from collections.abc import Iterator

from ..database.disk_space import free_bytes
from ..verification.findings import Finding
from .view import View

#: With one old snapshot open, moved rows reuse no space: the tables double, and their WAL comes on top.
GROWTH_FACTOR = 2

SIZE = """
SELECT coalesce(sum(pg_total_relation_size(to_regclass(wanted.name))), 0)
FROM unnest(%(tables)s::text[]) AS wanted(name)
"""


def examine_disk(view: View) -> Iterator[Finding]:
    """Compare free space with what the plan's tables may grow by; nothing pending needs no room."""
    size = int(view.value(SIZE, {"tables": view.protected_tables()}))
    needed = max(GROWTH_FACTOR * size if view.pending else 0, view.thresholds["minimum_free_disk_bytes"])
    free, how = free_bytes(view.disk)
    view.facts["disk"] = {"protected_tables_bytes": size, "needed_bytes": needed, "free_bytes": free}
    harm = f"the plan's tables hold {size} bytes; moved rows, their indexes and their WAL may need {needed} more, and "
    harm += "a full disk stops the server"
    if free is None:
        yield Finding(
            "free_disk_unknown",
            "information",
            view.server["database"],
            "the server's free disk space cannot be seen from here",
            harm,
            f"look at the provider's disk report (or df on the server): {needed} bytes should be free; "
            "database_free_disk_bytes in the inventory makes this a check",
        )
    elif free < needed:
        found = f"{free} bytes are free {how}, {needed} are needed"
        repair = "make room, or a larger disk; then correct database_free_disk_bytes if it is set"
        yield Finding("free_disk", "blocking", view.server["database"], found, harm, repair)
