"""Whether one call may go on: what ledger, journal and files say together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.runbook.errors import RunbookError
from ansible.module_utils.runbook.journal.migration_state import (
    Decision,
    State,
    decide,
    drift_of,
    file_steps,
    find_migration,
)
from ansible.module_utils.runbook.plan.migration_file import Direction, file_statements
from support.tiny import MOVE, PREPARE, REQUIRE, copy_plan, plan_of, replace_in

PLAN = plan_of()


def recorded(*versions: str, plan: dict[str, Any] = PLAN) -> dict[str, dict[str, Any]]:
    """Ledger rows as a run writes them."""
    migrations = (find_migration(plan, version) for version in versions)
    return {
        migration["version"]: {"statements": file_statements(file_steps(migration, "applied"))}
        for migration in migrations
    }


def journaled(version: str, direction: Direction, done: int, *, closed: bool = False) -> list[dict[str, Any]]:
    """Journal rows with the given number of steps done, the next one begun, or all done and closed."""
    steps = file_steps(find_migration(PLAN, version), direction)
    row = {"version": version, "direction": direction}
    rows = [
        {
            **row,
            "step_number": s.number,
            "kind": s.kind,
            "sha256": s.sha256,
            "state": "done" if s.number <= done else "intent",
        }
        for s in steps[: done + 1]
    ]
    closing = {**row, "step_number": len(steps) + 1, "kind": "ledger", "sha256": "", "state": "done"}
    return [*rows, closing] if closed else rows


def decided(version: str, direction: Direction, state: State, plan: dict[str, Any] = PLAN) -> Decision:
    return decide(plan, version, direction, state, file_steps(find_migration(plan, version), direction))


def refusal(version: str, direction: Direction, state: State, plan: dict[str, Any] = PLAN) -> RunbookError:
    with pytest.raises(RunbookError) as caught:
        decided(version, direction, state, plan)
    return caught.value


def test_a_pending_migration_runs_from_its_first_step() -> None:
    assert decided(PREPARE, "applied", State({}, [])) == Decision(needed=True)


def test_an_applied_migration_needs_nothing() -> None:
    assert not decided(PREPARE, "applied", State(recorded(PREPARE), [])).needed


def test_a_migration_that_is_not_applied_needs_no_revert() -> None:
    assert not decided(PREPARE, "reverted", State({}, [])).needed


def test_a_half_done_migration_goes_on_after_its_done_steps() -> None:
    assert decided(PREPARE, "applied", State({}, journaled(PREPARE, "applied", 2))).done == {1, 2}


def test_from_an_edited_step_on_everything_runs_again() -> None:
    rows = journaled(PREPARE, "applied", 3)
    rows[1]["sha256"] = "of another text"
    assert decided(PREPARE, "applied", State({}, rows)).done == {1}


def test_a_half_done_migration_can_be_reverted_though_the_ledger_lacks_it() -> None:
    assert decided(PREPARE, "reverted", State({}, journaled(PREPARE, "applied", 1))).needed


def test_a_half_reverted_migration_goes_on_reverting() -> None:
    state = State(recorded(PREPARE), journaled(PREPARE, "reverted", 1))
    assert decided(PREPARE, "reverted", state).done == {1}


def test_a_revert_of_what_was_reverted_and_applied_again_elsewhere_starts_afresh() -> None:
    state = State(recorded(PREPARE), journaled(PREPARE, "reverted", 2, closed=True))
    assert decided(PREPARE, "reverted", state) == Decision(needed=True, afresh=True)


def test_an_earlier_pending_version_refuses_a_later_one() -> None:
    error = refusal(REQUIRE, "applied", State(recorded(PREPARE), []))
    assert f"migration {REQUIRE} comes after {MOVE}, which is not applied" in error.msg
    assert error.next_command == f"pg_migration with version {MOVE} and state applied"


def test_a_later_applied_version_refuses_to_revert_an_earlier_one() -> None:
    error = refusal(PREPARE, "reverted", State(recorded(PREPARE, MOVE), []))
    assert f"migration {PREPARE} comes before {MOVE}, which is applied" in error.msg
    assert error.next_command == f"pg_migration with version {MOVE} and state reverted"


def test_a_half_reverted_migration_is_not_applied() -> None:
    error = refusal(PREPARE, "applied", State(recorded(PREPARE), journaled(PREPARE, "reverted", 1)))
    assert "half reverted. Finish the revert first" in error.msg


def test_nothing_is_applied_while_another_migration_is_half_reverted() -> None:
    error = refusal(REQUIRE, "applied", State(recorded(PREPARE, MOVE), journaled(MOVE, "reverted", 1)))
    assert error.msg == f"migration {MOVE} is half reverted. Finish the revert first."
    assert error.next_command == f"pg_migration with version {MOVE} and state reverted"


def test_a_ledger_row_that_something_else_wrote_is_refused() -> None:
    error = refusal(PREPARE, "applied", State(recorded(PREPARE), journaled(PREPARE, "applied", 1)))
    assert "ledger and journal disagree" in error.msg
    assert error.next_command == f"supabase migration repair --status reverted {PREPARE}"


def test_a_ledger_row_that_is_gone_is_refused() -> None:
    error = refusal(PREPARE, "applied", State({}, journaled(PREPARE, "applied", 3, closed=True)))
    assert "the journal says that it was applied and verified" in error.msg
    assert error.next_command == f"supabase migration repair --status applied {PREPARE}"


def test_an_edited_applied_file_stops_every_apply_but_no_revert(tmp_path: Path) -> None:
    directory = copy_plan(tmp_path)
    path = directory / "migrations" / "20250301000000_prepare_shipments.sql"
    replace_in(path, "insured boolean NOT NULL", "insured boolean NOT NULL DEFAULT false")
    edited = plan_of(directory)
    error = refusal(MOVE, "applied", State(recorded(PREPARE), []), edited)
    assert f"its file {path} was edited afterwards" in error.msg
    assert error.next_command == f"git checkout -- {path}"
    assert decided(PREPARE, "reverted", State(recorded(PREPARE), []), edited).needed


def test_comments_are_no_drift_and_a_row_without_statements_is_unknown(tmp_path: Path) -> None:
    directory = copy_plan(tmp_path)
    replace_in(directory / "migrations" / "20250301000000_prepare_shipments.sql", "-- Orders get", "-- All orders get")
    migration = find_migration(plan_of(directory), PREPARE)
    assert drift_of(migration, State(recorded(PREPARE), [])) == "none"
    assert drift_of(migration, State({PREPARE: {"statements": None}}, [])) == "unknown"


def test_a_version_that_the_plan_lacks_is_refused() -> None:
    with pytest.raises(RunbookError, match=r"plan orders_split has no migration 1; it has 20250301000000, "):
        find_migration(PLAN, "1")
