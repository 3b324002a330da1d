"""Find the rows that differ between two states by merging two streams ordered by key."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator, Sequence
from typing import Any

from psycopg2 import sql

from ..database.connection import Cursor
from ..errors import RunbookError
from ..visible import remember, visible
from .fingerprint import Fingerprint

#: Keys listed of each kind; the totals count all.
KEYS_SHOWN = 20

#: Rows fetched at a time.
_FETCH = 10_000

KeyedHash = tuple[bytes, int]


@dataclasses.dataclass
class RowDifference:
    """Rows that are gone (``missing``), new (``extra``) or ``changed``: totals, and the first keys of each."""

    missing: int = 0
    extra: int = 0
    changed: int = 0
    missing_keys: list[str] = dataclasses.field(default_factory=list)
    extra_keys: list[str] = dataclasses.field(default_factory=list)
    changed_keys: list[str] = dataclasses.field(default_factory=list)

    def note(self, kind: str, key: bytes) -> None:
        """Count a row, and keep its key if the limit is not reached."""
        setattr(self, kind, getattr(self, kind) + 1)
        keys = getattr(self, f"{kind}_keys")
        if len(keys) < KEYS_SHOWN:
            keys.append(remember(key.decode("utf-8", "replace")))

    def offending(self, relation: str) -> int:
        """Return how many rows violate the relation ``equal``, ``at_least``, ``at_most`` or ``any``."""
        lost, gained = self.missing + self.changed, self.extra + self.changed
        every = self.missing + self.extra + self.changed
        return {"equal": every, "at_least": lost, "at_most": gained, "any": 0}[relation]

    def to_text(self) -> str:
        """Return one line: how many rows of each kind, with their first keys."""
        parts = []
        for kind, word in (("changed", "changed"), ("missing", "missing"), ("extra", "not there before")):
            total, keys = getattr(self, kind), getattr(self, f"{kind}_keys")
            if total:
                more = f" … and {total - len(keys)} more" if total > len(keys) else ""
                parts.append(f"{total} row{'s' if total > 1 else ''} {word} ({', '.join(map(visible, keys))}{more})")
        return ", ".join(parts)

    def facts(self) -> dict[str, Any]:
        """Return the totals and keys for a result."""
        return dataclasses.asdict(self)


def difference(before: Iterator[KeyedHash], after: Iterator[KeyedHash], skip: Collection[bytes] = ()) -> RowDifference:
    """Merge two streams in the order of their keys' bytes, in constant memory.

    :param skip: keys to ignore.
    """
    found = RowDifference()
    old, new = next(before, None), next(after, None)
    while old is not None or new is not None:
        if new is None or (old is not None and old[0] < new[0]):
            assert old is not None
            kind, key = "missing", old[0]
        elif old is None or new[0] < old[0]:
            kind, key = "extra", new[0]
        else:
            kind, key = ("" if old[1] == new[1] else "changed"), old[0]
        if kind and key not in skip:
            found.note(kind, key)
        if kind != "extra":
            old = next(before, None)
        if kind != "missing":
            new = next(after, None)
    return found


def current_hashes(cursor: Cursor, query: sql.Composable) -> Iterator[KeyedHash]:
    """Stream a query for (key, hash) from the server, within the cursor's transaction."""
    cursor.execute(sql.SQL("DECLARE runbook_hashes NO SCROLL CURSOR FOR {}").format(query))
    while True:
        cursor.execute("FETCH FORWARD %s FROM runbook_hashes", (_FETCH,))
        rows = cursor.fetchall()
        if not rows:
            break
        yield from ((key.encode(errors="surrogateescape"), value) for key, value in rows)
    cursor.execute("CLOSE runbook_hashes")


def checked(rows: Iterator[KeyedHash], expected: Fingerprint, path: str) -> Iterator[KeyedHash]:
    """Pass rows on, and verify their order and that they add up to the recorded fingerprint.

    :raises RunbookError: they do not, so the file does not belong to the snapshot.
    """
    count, total, last = 0, 0, b""
    for key, value in rows:
        if count and key <= last:
            raise RunbookError(f"the row hashes in {path} are damaged: out of order at row {count}.", object_name=path)
        count, total, last = count + 1, total + value, key
        yield key, value
    if Fingerprint(count, total) != expected:
        raise RunbookError(
            f"the row hashes in {path} are damaged: {count} rows, {expected.rows} were written.", object_name=path
        )


#: A written row's key, and the hashes that it had before the first transaction's changes (None: it was not there).
#: None instead of hashes: nothing is known but the key.
WrittenRow = tuple[bytes, Sequence[int | None] | None]


def unwritten(
    rows: Iterator[KeyedHash], written: Iterator[WrittenRow], behind: RowDifference | None = None
) -> Iterator[KeyedHash]:
    """Pass on the rows that the application did not write.

    :param behind: with the snapshot's rows: notes those that were not what the snapshot has when the application
        first changed them: another writer bypassed the log.
    """
    entry = next(written, None)
    for key, value in rows:
        while entry is not None and entry[0] < key:
            _judge(entry, None, behind)
            entry = next(written, None)
        if entry is not None and entry[0] == key:
            _judge(entry, value, behind)
            entry = next(written, None)
        else:
            yield key, value
    while entry is not None:
        _judge(entry, None, behind)
        entry = next(written, None)


def together(one: RowDifference, other: RowDifference) -> RowDifference:
    """Add two differences."""
    return RowDifference(
        missing=one.missing + other.missing,
        extra=one.extra + other.extra,
        changed=one.changed + other.changed,
        missing_keys=(one.missing_keys + other.missing_keys)[:KEYS_SHOWN],
        extra_keys=(one.extra_keys + other.extra_keys)[:KEYS_SHOWN],
        changed_keys=(one.changed_keys + other.changed_keys)[:KEYS_SHOWN],
    )


def _judge(entry: WrittenRow, recorded: int | None, behind: RowDifference | None) -> None:
    key, hashes = entry
    # A statement's triggers may write the same row again and are logged first, so accept any hash of the first
    # transaction.
    if behind is None or hashes is None or recorded in hashes:
        return
    if recorded is None:
        behind.note("extra", key)
    else:
        behind.note("missing" if set(hashes) == {None} else "changed", key)
