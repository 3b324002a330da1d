"""Foreign keys from and to the plan's tables: rows that break them, and keys that a rollback could not check."""

from __future__ import annotations

from collections.abc import Iterator

from ..database.foreign_keys import ForeignKey, foreign_keys, orphans
from ..verification.findings import Finding
from .objects import named_in, plan_text
from .view import View

JOURNAL = "SELECT pg_catalog.to_regclass('migration_runbook.step') IS NOT NULL"
BEGUN = """
SELECT DISTINCT version FROM migration_runbook.step
 WHERE direction = 'applied' AND superseded_at IS NULL AND version = ANY (%(pending)s)
"""


def examine_references(view: View) -> Iterator[Finding]:
    """One anti-join per key, whether or not it is marked valid: under replica role no key is checked.

    Only while something is pending: afterwards it is the plan's checks that judge.
    """
    if not view.pending:
        return
    keys = foreign_keys(view.cursor, view.changed_tables())
    yield from (_unreadable(view, key) for key in keys if not key.readable)
    readable = [key for key in keys if key.readable]
    for key, (count, values) in zip(readable, view.side_by_side.map(orphans, readable), strict=True):
        if not count:
            continue
        rows = [{"points_at": value} for value in values]
        if not key.validated and named_in(key.name, begun_text(view)):
            # An interrupted run is gone on with by this very check: what is left to do is no reason to refuse it.
            yield Finding(
                "row_without_parent_yet",
                "information",
                key.to_text(),
                f"{_rows(count)} at nothing yet; a migration that is half applied has made the key, which is not valid",
                "none: the migration moves these rows, and validates the key at its end",
                "",
                rows,
                count,
            )
        else:
            yield Finding(
                "row_without_parent",
                "blocking",
                key.to_text(),
                f"{_rows(count)} at nothing" + (", although the key is marked valid" if key.validated else ""),
                "such a row cannot follow the migration, and a restore of its backup stops at it",
                f"delete these rows of {key.child}, or give each one the row of {key.parent} that it lacks",
                rows,
                count,
            )


def begun_text(view: View) -> str:
    """Return the text of the migrations that are half applied."""
    if not view.value(JOURNAL):
        return ""
    return plan_text(view, [row["version"] for row in view.rows(BEGUN, {"pending": view.pending})])


def _rows(count: int) -> str:
    return f"{count} {'row points' if count == 1 else 'rows point'}"


def _unreadable(view: View, key: ForeignKey) -> Finding:
    ours = set(view.changed_tables())
    hidden = next((table for table in (key.child, key.parent) if table not in ours), key.child)
    schema, role = hidden.split(".", 1)[0], view.server.get("user", "")
    return Finding(
        "foreign_key_unreadable",
        "warning",
        key.to_text(),
        f"{role} may not read {hidden}",
        "whether its rows still point at something cannot be checked, and a rollback refuses to begin without that",
        f'as the owner of {hidden}: GRANT USAGE ON SCHEMA {schema} TO "{role}"; GRANT SELECT ON {hidden} TO "{role}"',
    )
