"""Rows that the application wrote, left out of two ordered streams; and which tables a query reads."""

from __future__ import annotations

import pytest
from ansible.module_utils.runbook.evidence.change_log_tables import relations
from ansible.module_utils.runbook.evidence.row_difference import RowDifference, together, unwritten

Rows = list[tuple[bytes, int]]


def rows(text: str) -> Rows:
    """``a1 b2`` → the rows a and b with hashes 1 and 2."""
    return [(word[:1].encode(), int(word[1:])) for word in text.split()]


def written(text: str) -> list[tuple[bytes, list[int | None] | None]]:
    """``a1 b- c12 d?``: a was 1, b was not there, c was 1 or 2, of d only the key is known."""
    return [
        (word[:1].encode(), None if word[1:] == "?" else [None if sign == "-" else int(sign) for sign in word[1:]])
        for word in text.split()
    ]


@pytest.mark.parametrize(
    ("snapshot", "log", "left", "changed", "missing", "extra"),
    [
        ("a1 b2 c3", "", "abc", "", "", ""),
        ("a1 b2 c3", "b2", "ac", "", "", ""),
        ("a1 b2 c3", "a1 c3", "b", "", "", ""),
        ("a1 c3", "b- d-", "ac", "", "", ""),
        ("a1 b2", "b45", "a", "b", "", ""),
        ("a1 b2", "b52", "a", "", "", ""),
        ("a1 b2", "b-", "a", "", "b", ""),
        ("a1 c3", "b2 d9", "ac", "", "", "bd"),
        ("a1 b2", "a? b? c?", "", "", "", ""),
        ("", "a-", "", "", "", ""),
    ],
)
def test_written_rows_are_left_out_and_judged_by_what_the_log_has_of_them(
    snapshot: str, log: str, left: str, changed: str, missing: str, extra: str
) -> None:
    behind = RowDifference()
    passed = list(unwritten(iter(rows(snapshot)), iter(written(log)), behind))
    assert [key.decode() for key, _ in passed] == list(left)
    assert behind.changed_keys == list(changed)
    assert behind.missing_keys == list(missing)
    assert behind.extra_keys == list(extra)


def test_differences_add_up_and_name_no_more_keys_than_one() -> None:
    one, other = RowDifference(), RowDifference()
    for number in range(15):
        one.note("changed", b"one %d" % number)
        other.note("changed", b"other %d" % number)
    other.note("missing", b"gone")
    both = together(one, other)
    assert (both.changed, both.missing, both.extra) == (30, 1, 0)
    assert len(both.changed_keys) == 20
    assert both.missing_keys == ["gone"]


def test_a_query_names_the_tables_that_it_reads() -> None:
    text = """
    WITH few AS (SELECT * FROM shop.orders WHERE id IN (SELECT order_id FROM shop."Odd lines"))
    SELECT count(*) FROM few LEFT JOIN shop.customers USING (customer_id)
    """
    assert sorted(relations(text)) == ["shop.Odd lines", "shop.customers", "shop.orders"]
