"""Which changes of the catalog make a step try the application's statements."""

from __future__ import annotations

import pytest
from ansible.module_utils.runbook.verification.trials.catalog_state import State, changes_what_is_met

BEFORE: State = {"table 1": ("", "a"), "function 2": ("notify", "b")}


@pytest.mark.parametrize(
    ("after", "changes"),
    [
        (BEFORE, False),
        ({**BEFORE, "table 1": ("", "x")}, True),
        ({**BEFORE, "function 2": ("notify", "x")}, True),
        ({"table 1": ("", "a")}, True),
        ({**BEFORE, "table 3": ("", "c"), "function 4": ("fill", "d")}, False),
        ({**BEFORE, "function 4": ("notify", "d")}, True),
    ],
    ids=["nothing", "a table", "a function", "a function goes", "new ones", "a new one of a name that is called"],
)
def test_what_was_there_counts_and_what_can_take_its_place(after: State, changes: bool) -> None:
    assert changes_what_is_met(BEFORE, after) is changes
