"""Rows that the application wrote are left out of a comparison: streams in the order of their keys, merged."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..snapshot.row_difference import KEYS_SHOWN, KeyedHash, RowDifference

#: A written row's key, and the hashes that it had before the first transaction's changes (None: it was not there).
#: None instead of hashes: nothing is known but the key.
WrittenRow = tuple[bytes, Sequence[int | None] | None]


def unwritten(
    rows: Iterator[KeyedHash], written: Iterator[WrittenRow], behind: RowDifference | None = None
) -> Iterator[KeyedHash]:
    """Pass on the rows that the application did not write.

    :param behind: with the snapshot's rows: notes those that were not what the snapshot has when the application
        first changed them; somebody else had been there, behind the log.
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
    """Add two differences up."""
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
    # A statement's triggers may write the same row once more, and are logged before it: so any of the
    # first transaction's hashes will do.
    if behind is None or hashes is None or recorded in hashes:
        return
    if recorded is None:
        behind.note("extra", key)
    else:
        behind.note("missing" if set(hashes) == {None} else "changed", key)
