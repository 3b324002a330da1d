"""Two ordered streams of (key, hash) merged: missing, extra and changed rows, and streams that are damaged."""

from __future__ import annotations

import pytest
from ansible.module_utils.runbook.errors import RunbookError
from ansible.module_utils.runbook.evidence.fingerprint import Fingerprint
from ansible.module_utils.runbook.evidence.row_difference import RowDifference, checked, difference

Rows = list[tuple[bytes, int]]


def rows(text: str) -> Rows:
    """``a1 b2`` → the rows a and b with hashes 1 and 2."""
    return [(word[:1].encode(), int(word[1:])) for word in text.split()]


@pytest.mark.parametrize(
    ("before", "after", "missing", "extra", "changed"),
    [
        ("", "", "", "", ""),
        ("a1 b2", "a1 b2", "", "", ""),
        ("a1 b2 c3", "b2", "ac", "", ""),
        ("b2", "a1 b2 c3", "", "ac", ""),
        ("a1 b2", "a2 b1", "", "", "ab"),
        ("a1 c3 d4", "b2 c4 e5", "ad", "be", "c"),
        ("a1 b2", "", "ab", "", ""),
    ],
)
def test_rows_are_told_apart(before: str, after: str, missing: str, extra: str, changed: str) -> None:
    found = difference(iter(rows(before)), iter(rows(after)))
    assert found.missing_keys == list(missing)
    assert found.extra_keys == list(extra)
    assert found.changed_keys == list(changed)


def test_rows_that_the_application_wrote_are_not_named() -> None:
    found = difference(iter(rows("a1 b2 c3")), iter(rows("b3 c3 d4")), skip={b"b", b"d"})
    assert found.to_text() == "1 row missing (a)"


def test_twenty_keys_are_named_and_all_counted() -> None:
    found = difference(iter([(str(number).zfill(3).encode(), 0) for number in range(50)]), iter([]))
    assert found.missing == 50
    assert len(found.missing_keys) == 20
    assert found.to_text().endswith("019 … and 30 more)")


@pytest.mark.parametrize(("relation", "offending"), [("equal", 6), ("at_least", 4), ("at_most", 5), ("any", 0)])
def test_what_breaks_each_relation(relation: str, offending: int) -> None:
    assert RowDifference(missing=1, extra=2, changed=3).offending(relation) == offending


def test_fingerprints_of_disjoint_rows_add_up() -> None:
    whole, part = Fingerprint(5, 70), Fingerprint(2, -30)
    assert whole - part + part == whole
    assert whole - part == Fingerprint(3, 100)


@pytest.mark.parametrize("stream", ["a1 b3", "a1", "b2 a1", "a1 b2 c0"])
def test_a_stream_that_is_not_the_recorded_one_is_damaged(stream: str) -> None:
    with pytest.raises(RunbookError, match=r"the row hashes in kept\.gz are damaged"):
        list(checked(iter(rows(stream)), Fingerprint(2, 3), "kept.gz"))
    assert list(checked(iter(rows("a1 b2")), Fingerprint(2, 3), "kept.gz")) == rows("a1 b2")
