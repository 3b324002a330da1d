"""What is refused before a run exists, and how far a run goes."""

from __future__ import annotations

import pytest
from ansible.module_utils.runbook.errors import RunbookError
from ansible.module_utils.runbook.run.identity import require_confirmation, require_one_environment, up_to

VERSIONS = ["1", "2", "3"]


def test_without_stop_after_everything_pending_is_applied() -> None:
    assert up_to(["2", "3"], VERSIONS, "") == ["2", "3"]


def test_stop_after_is_included() -> None:
    assert up_to(["1", "2", "3"], VERSIONS, "2") == ["1", "2"]


def test_stop_after_an_applied_version_leaves_nothing_to_do() -> None:
    assert up_to(["3"], VERSIONS, "2") == []


def test_stop_after_an_unknown_version_is_refused() -> None:
    with pytest.raises(RunbookError) as raised:
        up_to(["3"], VERSIONS, "4")
    assert "stop_after=4 is not a version of the plan; it has 1, 2, 3." in raised.value.msg


@pytest.mark.parametrize("confirm", ["", "postgres", "staging_database_2", "production database"])
def test_only_the_inventory_host_confirms(confirm: str) -> None:
    with pytest.raises(RunbookError) as raised:
        require_confirmation(confirm, "staging_database", "staging")
    assert "staging is only changed with a confirmation" in raised.value.msg
    assert raised.value.next_command == "the same command with -e confirm=staging_database"
    assert raised.value.left_as == "unchanged"


def test_several_hosts_are_confirmed_with_commas() -> None:
    require_confirmation("staging_database, production_database", "production_database", "production")


def test_two_environments_in_one_play_are_refused() -> None:
    with pytest.raises(RunbookError) as raised:
        require_one_environment(["production", "staging", "staging"])
    assert "would work on production and staging at once" in raised.value.msg
    assert "promote.yml" in raised.value.next_command


def test_one_environment_on_several_hosts_is_fine() -> None:
    require_one_environment(["staging", "staging"])
    require_one_environment([])
