"""What a swap refuses before it asks a database: backups that cannot take its place, names that are taken."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.module_utils.runbook.errors import RunbookError
from ansible.module_utils.runbook.restore import swap_checks
from ansible.module_utils.runbook.restore.swap_names import CONNECTION_LIMIT, NAME_BYTES, names_for, state_of

RUN = "20250301T000000Z-aaaaaa"
WHOLE = {"scope": "database", "rows": {"public.orders": 3}}


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"scope": "tables"}, "contains only the plan's schemas"),
        ({"rows": {}}, "contains no tables, so nothing could be verified"),
    ],
)
def test_a_backup_that_cannot_take_the_place_is_refused(given: dict[str, Any], says: str) -> None:
    with pytest.raises(RunbookError) as caught:
        swap_checks.require_none(swap_checks.of_backup({**WHOLE, **given}, "/backup"), "shop")
    assert says in caught.value.msg
    assert "without -e restore_mode=swap" in caught.value.next_command
    assert caught.value.object_name == "shop"


def test_a_whole_backup_is_not_refused() -> None:
    swap_checks.require_none(swap_checks.of_backup(WHOLE, "/backup"), "shop")


@pytest.mark.parametrize("ending", ["new", "old"])
def test_a_live_database_that_is_called_like_one_of_the_others_is_refused(ending: str) -> None:
    live = f"{'x' * NAME_BYTES}"[: NAME_BYTES - len(f"_{ending}_{RUN}")] + f"_{ending}_{RUN}"
    with pytest.raises(RunbookError) as caught:
        names_for(live, RUN)
    assert "must differ" in caught.value.msg
    assert "without -e restore_mode=swap" in caught.value.next_command


def test_long_names_are_cut_between_characters() -> None:
    names = names_for("ü" * 31, RUN)
    assert len(names.side.encode()) <= NAME_BYTES
    assert names.side.endswith(f"_new_{RUN}")
    assert names.kept.endswith(f"_old_{RUN}")


def test_what_is_found_says_how_far_the_swap_got() -> None:
    names = names_for("shop", RUN)
    ours: dict[str, Any] = {"comment": None, "connection_limit": -1, "ours": True}
    verified = names.verified("abc")

    def state(**found: dict[str, Any]) -> str:
        return state_of(names, {getattr(names, name): {**ours, **facts} for name, facts in found.items()}, "abc")

    assert state() == "absent"
    assert state(side={"comment": names.loading}) == "half_loaded"
    assert state(side={"connection_limit": CONNECTION_LIMIT}) == "half_loaded"
    assert state(side={"comment": names.verified("of another backup")}) == "half_loaded"
    assert state(side={"comment": verified}) == "prepared"
    assert state(kept={"comment": names.kept_mark}) == "switched"
    for foreign in ({"side": {}}, {"side": {"comment": verified, "ours": False}}, {"kept": {}}):
        with pytest.raises(RunbookError, match="was not created by the restore of this run"):
            state(**foreign)
