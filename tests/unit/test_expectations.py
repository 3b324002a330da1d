"""What a check expects: each relation judged, and said in words."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.module_utils.runbook.verification.checks import to_text, unmet


@pytest.mark.parametrize(
    ("expect", "row", "met", "words"),
    [
        ({"left": 0}, {"left": 0}, True, "left = 0"),
        ({"left": 0}, {"left": 3}, False, "left = 0"),
        ({"left": 0}, {"left": None}, False, "left = 0"),
        ({"left": 0}, {"left": False}, False, "left = 0"),
        ({"valid": True}, {"valid": True}, True, "valid = true"),
        ({"valid": True}, {"valid": 1}, False, "valid = true"),
        ({"note": None}, {"note": None}, True, "note = NULL"),
        ({"kind": "FOREIGN KEY"}, {"kind": "FOREIGN KEY"}, True, "kind = FOREIGN KEY"),
        ({"a": {"equals": "b"}}, {"a": 5, "b": 5}, True, "a = b"),
        ({"a": {"equals": "b"}}, {"a": 5, "b": 6}, False, "a = b"),
        ({"a": {"at_least": "b"}}, {"a": 5, "b": 6}, False, "a >= b"),
        ({"a": {"at_least": 5}}, {"a": 5}, True, "a >= 5"),
        ({"a": {"at_most": 4}}, {"a": 5}, False, "a <= 4"),
        ({"a": {"at_most": 4}}, {"a": None}, False, "a <= 4"),
        ({"def": {"contains": "USING btree"}}, {"def": "… USING btree (id)"}, True, "def contains 'USING btree'"),
        ({"def": {"contains": "USING btree"}}, {"def": None}, False, "def contains 'USING btree'"),
        ({"a": 1, "b": {"at_least": 2}}, {"a": 1, "b": 2}, True, "a = 1 and b >= 2"),
    ],
)
def test_each_relation(expect: dict[str, Any], row: dict[str, Any], met: bool, words: str) -> None:
    assert (unmet(expect, row) == []) is met
    assert to_text(expect) == words


def test_every_column_that_is_not_as_expected_is_named() -> None:
    assert unmet({"a": 1, "b": 2, "c": 3}, {"a": 0, "b": 2, "c": 0}) == ["a", "c"]


def test_a_column_the_query_does_not_return_says_which_it_returns() -> None:
    with pytest.raises(ValueError, match="returns no column missing; it returns a, b"):
        unmet({"a": {"at_least": "missing"}}, {"a": 1, "b": 2})


def test_values_that_cannot_be_compared_are_not_a_pass() -> None:
    with pytest.raises(ValueError, match="a = 'x' cannot be compared with 1"):
        unmet({"a": {"at_least": 1}}, {"a": "x"})
