"""Find rows that violate foreign keys from and to the plan's tables, and keys that a rollback could not check."""

from __future__ import annotations

from collections.abc import Iterator

from ..database.foreign_keys import ForeignKey, foreign_keys, orphans
from ..verification.findings import Finding, count_to_text
from .objects import named_in, plan_text
from .view import View

JOURNAL = "SELECT pg_catalog.to_regclass('migration_runbook.step') IS NOT NULL"
BEGUN = """
SELECT DISTINCT version FROM migration_runbook.step
 WHERE direction = 'applied' AND superseded_at IS NULL AND version = ANY (%(pending)s)
"""


def examine_references(view: View) -> Iterator[Finding]:
    """Run one anti-join per key, valid or not, while migrations are pending; afterwards pg_verify checks the keys.

    A valid key can be violated: sessions under the replica role are not checked.
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
        if not key.validated and named_in(key.name, _begun_text(view)):
            # A resumed run must pass this check with its work half done.
            yield Finding(
                "row_without_parent_yet",
                "information",
                key.to_text(),
                f"{count_to_text(count)} without a parent yet; a half-applied migration has created the key, not valid",
                "none: the migration moves these rows and validates the key at its end",
                "",
                rows,
                count,
            )
        else:
            yield Finding(
                "row_without_parent",
                "blocking",
                key.to_text(),
                f"{count_to_text(count)} without a parent" + (", although the key is valid" if key.validated else ""),
                "such a row cannot be migrated, and a restore of its backup fails on it",
                f"delete these rows of {key.child}, or insert the missing rows of {key.parent}",
                rows,
                count,
            )


def _begun_text(view: View) -> str:
    if not view.value(JOURNAL):
        return ""
    return plan_text(view, [row["version"] for row in view.rows(BEGUN, {"pending": view.pending})])


def _unreadable(view: View, key: ForeignKey) -> Finding:
    ours = set(view.changed_tables())
    hidden = next((table for table in (key.child, key.parent) if table not in ours), key.child)
    schema, role = hidden.split(".", 1)[0], view.server.get("user", "")
    return Finding(
        "foreign_key_unreadable",
        "warning",
        key.to_text(),
        f"{role} may not read {hidden}",
        "whether its rows still have their parents cannot be checked, and a rollback requires that check",
        f'as the owner of {hidden}: GRANT USAGE ON SCHEMA {schema} TO "{role}"; GRANT SELECT ON {hidden} TO "{role}"',
    )
