"""Migration files as steps: what is read, and what is refused with file and line."""

from __future__ import annotations

import pytest
from ansible.module_utils.runbook.database.lock_modes import Lock
from ansible.module_utils.runbook.errors import RunbookError
from ansible.module_utils.runbook.plan.migration_file import file_statements, parse_file, parse_text
from ansible.module_utils.runbook.plan.sql_text import digest
from support.tiny import TINY_PLAN

MOVE = "helper.move"


def refusal(text: str, **options: str) -> str:
    with pytest.raises(RunbookError) as caught:
        parse_text(text, "change.sql", **options)  # type: ignore[arg-type]
    return caught.value.msg


@pytest.mark.parametrize(
    ("statement", "kind"),
    [
        ("ALTER TABLE shop.orders ADD COLUMN a int", "transaction"),
        ("ALTER TABLE shop.orders VALIDATE CONSTRAINT a", "validate"),
        ("ALTER TABLE shop.orders VALIDATE CONSTRAINT a, VALIDATE CONSTRAINT b", "validate"),
        ("ALTER TABLE shop.orders VALIDATE CONSTRAINT a, ADD COLUMN b int", "transaction"),
        ("CREATE INDEX CONCURRENTLY IF NOT EXISTS i ON shop.orders (a)", "concurrently"),
        ("CREATE INDEX i ON shop.orders (a)", "transaction"),
        ("DROP INDEX CONCURRENTLY IF EXISTS shop.i", "concurrently"),
        ("REINDEX INDEX CONCURRENTLY shop.i", "concurrently"),
        ("REINDEX INDEX shop.i", "transaction"),
        ("VACUUM (ANALYZE) shop.orders", "concurrently"),
        ("ANALYZE shop.orders", "transaction"),
        ("SELECT helper.move(NULL, NULL)", "backfill"),
        ("SELECT helper.move(NULL, 5)", "transaction"),
        ("SELECT helper.other(NULL, NULL)", "transaction"),
    ],
)
def test_the_kind_of_a_step_is_found_from_its_statement(statement: str, kind: str) -> None:
    function = MOVE if kind == "backfill" else None
    (step,) = parse_text(f"-- step: a\n{statement};\n", "change.sql", backfill_function=function)
    assert (step.kind, step.statements) == (kind, (statement,))


def test_marks_cut_a_file_into_numbered_steps_with_their_lines() -> None:
    steps = parse_text("-- About it.\n\n-- step: one\nSELECT 1; SELECT 2;\n-- step: two\nSELECT 3\n", "change.sql")
    assert [(step.number, step.name, step.line) for step in steps] == [(1, "one", 3), (2, "two", 5)]
    assert file_statements(steps) == ["SELECT 1", "SELECT 2", "SELECT 3"]


def test_locks_are_read_in_their_order() -> None:
    text = "-- step: a\n-- lock: shop.orders ACCESS EXCLUSIVE\n-- lock: shop.shipments SHARE\nSELECT 1"
    (step,) = parse_text(text, "change.sql")
    assert step.locks == (Lock("shop.orders", "ACCESS EXCLUSIVE"), Lock("shop.shipments", "SHARE"))


def test_a_revert_file_may_mark_steps_that_move_rows() -> None:
    first, second = parse_text(
        "-- step: a\n-- data\nSELECT 1;\n-- step: b\nSELECT 2", "revert.sql", direction="reverted"
    )
    assert (first.data, second.data) == (True, False)


def test_marks_inside_a_function_body_are_text() -> None:
    text = "-- step: a\nCREATE FUNCTION helper.f() RETURNS void LANGUAGE sql AS $$\n-- step: b\n-- data\nSELECT $$;"
    assert len(parse_text(text, "change.sql")) == 1


def test_the_hash_of_a_step_counts_neither_comments_nor_white_space() -> None:
    (before,) = parse_text("-- step: a\nSELECT 1;", "change.sql")
    (same,) = parse_text("-- step: another name\n-- why\nSELECT\n  1 ;", "change.sql")
    (other,) = parse_text("-- step: a\nSELECT 2;", "change.sql")
    assert before.sha256 == same.sha256 != other.sha256


def test_statements_compare_equal_however_they_are_cut() -> None:
    assert digest(["SELECT 1; SELECT 2"]) == digest(["-- a\nSELECT 1", "SELECT  2;"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("BEGIN;", "change.sql:1: has no step"),
        ("SELECT 1;\n-- step: a\nSELECT 2;", "change.sql:1: statement before the first mark: write `-- step:"),
        ("-- lock: shop.orders SHARE\n-- step: a\nSELECT 2;", "change.sql:1: `-- lock` before the first step"),
        ("-- step: a\nBEGIN;\nSELECT 1;", "change.sql:2: BEGIN in a file: the runner runs each step"),
        ("-- step: a\nSELECT 1;\nCOMMIT;", "change.sql:3: COMMIT in a file"),
        ("-- step: a\nROLLBACK;", "change.sql:2: ROLLBACK in a file"),
        ("-- step: a\nSAVEPOINT x;", "change.sql:2: SAVEPOINT in a file"),
        (
            "-- step: a\nLOCK TABLE shop.orders;",
            "change.sql:2: LOCK TABLE in a file: write `-- lock: schema.table MODE`",
        ),
        ("-- step: a\n-- step: b\nSELECT 1;", "change.sql:1: step 'a' has no statement"),
        ("-- step: a\nVACUUM;\nSELECT 1;", "change.sql:2: a CONCURRENTLY (or VACUUM) statement must be the only"),
        ("-- step: a\nCREATE INDEX CONCURRENTLY ON shop.orders (a);", "needs the index's name and the table's schema"),
        ("-- step: a\nCREATE INDEX CONCURRENTLY i ON orders (a);", "needs the index's name and the table's schema"),
        ("-- Step: a\nSELECT 1;", "change.sql:1: unknown mark '-- Step: a'"),
        ("-- step: a\n-- setp: b\nSELECT 1;", "change.sql:2: unknown mark '-- setp: b'"),
        ("-- step: a\n-- locks: shop.orders SHARE\nSELECT 1;", "change.sql:2: unknown mark"),
        ("-- step:\nSELECT 1;", "change.sql:1: unknown mark '-- step:'"),
        ("-- step: a\n-- lock: orders SHARE\nSELECT 1;", "change.sql:2: cannot read the lock 'orders SHARE' (modes:"),
        ("-- step: a\n-- lock: shop.orders SHARED\nSELECT 1;", "change.sql:2: cannot read the lock"),
        ("-- step: a\nSELECT 1;\n-- lock: shop.orders SHARE\n", "`-- lock` must come between the step's mark and"),
        ("-- step: a\n-- data\nSELECT 1;", "change.sql:2: `-- data` belongs to revert files only"),
        ("-- step: a\n-- lock: shop.orders SHARE\nVACUUM;", "which does not run in a transaction"),
        ("-- step: a\n\nSELECT FROM WHERE;", "change.sql:3: not valid PostgreSQL: syntax error"),
        ("-- step: a\nSELECT 'x", "change.sql:2: not valid PostgreSQL: unterminated quoted string"),
    ],
)
def test_what_a_run_could_not_resume_is_refused_with_file_and_line(text: str, message: str) -> None:
    assert message in refusal(text)


def test_ordinary_comments_are_no_marks() -> None:
    text = "-- Purpose: this\n-- step: a\n-- why: that\n-- data is moved later\n-- lock the rows first\nSELECT 1;"
    assert len(parse_text(text, "change.sql")) == 1


def test_the_plans_backfill_must_be_called_exactly_once() -> None:
    call = "-- step: a\nSELECT helper.move(NULL, NULL);\n"
    assert "has 0 steps `SELECT helper.move(NULL, NULL)`" in refusal("-- step: a\nSELECT 1;", backfill_function=MOVE)
    assert "change.sql:3: has 2 steps" in refusal(call + call, backfill_function=MOVE)
    assert "the backfill's call must be the only" in refusal(call + "SELECT 1;", backfill_function=MOVE)


def test_a_file_that_cannot_be_read_is_named() -> None:
    with pytest.raises(RunbookError, match=r"cannot read /nowhere/change.sql: No such file"):
        parse_file("/nowhere/change.sql")


def test_the_tiny_plans_files_parse() -> None:
    path = TINY_PLAN / "migrations" / "20250301000001_move_addresses.sql"
    steps = parse_file(str(path), backfill_function="orders_split.move_addresses")
    assert [step.kind for step in steps] == ["transaction", "backfill", "concurrently"]
