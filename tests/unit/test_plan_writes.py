"""What a plan says about its writes: read from plan.yml, or where that is silent, from its files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.runbook.environment.survey.writes import is_named, writes_of
from ansible.module_utils.runbook.errors import RunbookError
from support.orders import PLAN, orders_plan

TEXT = """
INSERT INTO public.lines (id) SELECT 1;
UPDATE ONLY public.orders AS o SET note = 'x' FROM public.lines;
DELETE FROM public.orders_old;
"""


def plan_of(**parts: Any) -> dict[str, Any]:
    return {"creates": [], "updates": [], **parts}


def test_files_show_what_a_plan_without_declarations_writes() -> None:
    lines, orders, old = (
        writes_of(plan_of(), f"public.{name}", TEXT, []) for name in ("lines", "orders", "orders_old")
    )
    assert (lines.inserts, lines.updates, lines.filled, lines.declared) == (True, False, None, False)
    assert (orders.inserts, orders.updates, orders.changed, orders.deletes) == (False, True, None, False)
    assert old.deletes
    assert lines.concerns(["anything"])
    assert orders.concerns(["anything"]), "which columns is not known"


def test_what_is_declared_counts_while_its_version_is_pending() -> None:
    update = {
        "table": "public.orders", "columns": ["note"], "key": None, "rows": None, "quiet": True, "version": "1",
    }  # fmt: skip
    due = writes_of(plan_of(updates=[update]), "public.orders", TEXT, ["1"])
    assert (due.updates, due.rewritten, due.quiet, due.declared) == (True, {"note"}, True, True)
    assert due.concerns(["note", "id"])
    assert not due.concerns(["id"])
    done = writes_of(plan_of(updates=[update]), "public.orders", TEXT, [])
    assert (done.updates, done.rewritten) == (False, frozenset())
    always = writes_of(plan_of(updates=[{**update, "version": None}]), "public.orders", TEXT, [])
    assert (always.updates, always.changed, always.rewritten) == (True, {"note"}, frozenset())


def test_rows_that_are_put_back_whole_break_no_rule_that_they_met() -> None:
    entry = {"table": "public.lines", "columns": [], "rows": None, "whole_rows": True}
    assert not writes_of(plan_of(creates=[entry]), "public.lines", TEXT, []).concerns(["id"])


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("lines_key", True),
        ("lines_index", True),
        ("On Insert", True),
        ("quoted", True),
        ("lines", False),
        ("note", False),
        ("lines_index_2", False),
        ("keeps", False),
        ("small", True),
        ("value", False),
    ],
)
def test_an_object_is_known_where_the_files_make_drop_or_look_it_up(name: str, known: bool) -> None:
    text = """
    ALTER TABLE public.lines DROP CONSTRAINT IF EXISTS lines_key;
    DROP INDEX CONCURRENTLY IF EXISTS public.lines_index;
    CREATE TRIGGER "On Insert" BEFORE INSERT ON public.lines EXECUTE FUNCTION f();
    SELECT note FROM public.lines WHERE conname = 'quoted' AND note = 'note of it';
    SELECT 'a trigger keeps it out', 'value';
    create or replace trigger small before insert on public.lines execute function f();
    """
    assert is_named(name, text) is known


@pytest.mark.parametrize(
    ("declaration", "complaint"),
    [
        ("creates:\n  - {table: public.orders, columns: [id]}\n", "columns and rows go together"),
        ("creates:\n  - {table: public.orders}\n", "give columns and rows, or whole_rows: true"),
        ("updates:\n  - {table: public.orders}\n", "missing: columns"),
        ('updates:\n  - {table: public.orders, columns: [id], version: "20300101000000"}\n', "is not a version"),
        ("updates:\n  - {table: public.orders, columns: [id], rows: queries/volume.sql}\n", "key"),
        ("updates:\n  - {table: public.orders, columns: [id], key: id, rows: queries/no.sql}\n", "does not exist"),
    ],
)
def test_a_declaration_that_is_not_complete_is_refused(tmp_path: Path, declaration: str, complaint: str) -> None:
    with pytest.raises(RunbookError) as refused:
        orders_plan(tmp_path, PLAN + declaration)
    assert complaint in refused.value.msg
