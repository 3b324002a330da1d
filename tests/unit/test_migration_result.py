"""Settings of a plan as session parameters, and a migration's time against what was expected."""

from __future__ import annotations

import pytest
from ansible.module_utils.runbook.errors import RunbookError
from ansible.module_utils.runbook.locking.limits import Limits
from ansible.module_utils.runbook.migration.result import expected_time, to_lines
from ansible.module_utils.runbook.plan.plan_settings import settings_of_plan
from ansible.module_utils.runbook.verification.trials.outcome import Result

PLAN = {"plan": "p", "helper_schema": "helper", "settings": [{"name": "new_orders_are_public"}, {"name": "rows"}]}


def test_settings_become_parameters_of_the_helper_schema() -> None:
    given = {"new_orders_are_public": False, "rows": 5}
    assert settings_of_plan(PLAN, given) == {"helper.new_orders_are_public": "false", "helper.rows": "5"}


def test_a_setting_without_a_value_is_refused() -> None:
    with pytest.raises(RunbookError, match=r"missing rows") as caught:
        settings_of_plan(PLAN, {"new_orders_are_public": True})
    assert "migration_plan_settings" in caught.value.next_command


def test_a_setting_that_the_plan_does_not_know_is_refused() -> None:
    with pytest.raises(RunbookError, match="unknown row"):
        settings_of_plan(PLAN, {"new_orders_are_public": True, "rows": 1, "row": 1})


@pytest.mark.parametrize(("seconds", "judged"), [(59, "faster"), (60, "within"), (120, "within"), (121, "slower")])
def test_a_migrations_time_is_judged_by_its_volume_class(seconds: float, judged: str) -> None:
    found = expected_time({"expected_minutes": {"small": [1, 2]}}, "small", seconds)
    assert (found["judged"], found["expected_minutes"]) == (judged, [1, 2])


def test_a_time_without_expectation_is_not_judged() -> None:
    assert expected_time({"expected_minutes": {"small": [1, 2]}}, "", 1)["judged"] == "unknown"


def test_a_step_back_is_not_judged_by_the_minutes_of_the_way_forward() -> None:
    found = expected_time({"expected_minutes": {"small": [1, 2]}}, "small", 500.0, "reverted")
    assert found == {"seconds": 500.0, "volume_class": "small", "expected_minutes": [], "judged": "unknown"}
    step = {"number": 1, "name": "rows back", "status": "done", "seconds": 499.0, "attempts": 1, "report": ""}
    result = {
        **found,
        "state": "reverted",
        "steps": [step],
        "batches": 0,
        "publications": [],
        "checks": [],
        "trials": [],
    }
    assert to_lines(result)[-1] == "500.0 s"


def test_trials_that_passed_are_one_line_of_a_migration_and_the_others_one_each() -> None:
    trials = [
        Result(name=name, title=f"Send {name}", by="old", role="r", outcome=outcome, why=why).as_dict()
        for name, outcome, why in (("a", "passed", ""), ("b", "passed", ""), ("c", "not_examined", "a lock"))
    ]
    result = {
        "state": "applied", "steps": [], "batches": 0, "publications": [], "checks": [], "trials": trials,
        "seconds": 1.0, "volume_class": "", "expected_minutes": [], "judged": "unknown",
    }  # fmt: skip
    said = to_lines(result)
    assert said[0] == "trials: 2 of 3 passed"
    assert said[1].startswith("trial: not examined: old application: Send c")
    assert len([line for line in said if line.startswith("trial")]) == 2


def test_limits_have_one_place_for_their_defaults() -> None:
    options = Limits.argument()["options"]
    assert Limits.from_option({name: option["default"] for name, option in options.items()}) == Limits()
    assert Limits.from_option({"batch_rows": 7, "lock_attempts": None}).batch_rows == 7
