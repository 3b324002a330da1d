"""Foreign keys from and to the plan's tables: rows that break them, and keys that a rollback could not check."""

from __future__ import annotations

from collections.abc import Iterator

from ..session.keys import ForeignKey, foreign_keys, orphans
from ..verification.findings import Finding
from .view import View


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
        if count:
            yield Finding(
                "row_without_parent",
                "blocking",
                key.in_words(),
                f"{count} {'row points' if count == 1 else 'rows point'} at nothing"
                + (", although the key is marked valid" if key.validated else ""),
                "such a row cannot follow the migration, and a restore of its backup stops at it",
                f"delete these rows of {key.child}, or give each one the row of {key.parent} that it lacks",
                [{"points_at": value} for value in values],
                count,
            )


def _unreadable(view: View, key: ForeignKey) -> Finding:
    ours = set(view.changed_tables())
    hidden = next((table for table in (key.child, key.parent) if table not in ours), key.child)
    schema, role = hidden.split(".", 1)[0], view.server.get("user", "")
    return Finding(
        "foreign_key_unreadable",
        "warning",
        key.in_words(),
        f"{role} may not read {hidden}",
        "whether its rows still point at something cannot be checked, and a rollback refuses to begin without that",
        f'as the owner of {hidden}: GRANT USAGE ON SCHEMA {schema} TO "{role}"; GRANT SELECT ON {hidden} TO "{role}"',
    )
