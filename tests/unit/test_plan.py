"""A plan is read once and checked whole: each error names file, line and key."""

from __future__ import annotations

import pathlib
from typing import Any

import jsonschema
import pytest
import yaml
from ansible.module_utils.runbook.errors import RunbookError
from ansible.module_utils.runbook.journal.migration_state import file_steps
from ansible.module_utils.runbook.plan.loader import load_plan, plan_hash
from ansible.module_utils.runbook.plan.schema import BACKFILL

PLAN = """\
plan: orders_split
title: Orders split
schemas: [public]
helper_schema: orders_split
settings:
  - {name: keep_old, type: boolean, meaning: keep the old column}
protected_tables:
  - {table: public.orders, key: id}
volume:
  query: queries/volume.sql
  classes:
    - {name: small, below_rows: 10}
    - {name: large}
requirements:
  preconditions:
    - name: blank_note
      query: queries/blank.sql
      until: "20250101000000"
      meaning: breaks later
      repair: fill it
snapshot:
  counts:
    - {name: order_count, query: queries/count.sql, after_migration: equal}
  fingerprints:
    - {name: orders, table: public.orders, key: id}
migrations:
  - version: "20250101000000"
    name: prepare
    title: Preparation
    expected_minutes: {small: [1, 2], large: [2, 3]}
    checks:
      - name: column_exists
        title: The column exists
        query: queries/check.sql
        expect: {column_name: line_id}
checks:
  - name: none_left
    title: None left
    query: queries/check.sql
    expect: {left: 0}
    counted_by: order_count
"""

FILES = [
    "queries/volume.sql",
    "queries/blank.sql",
    "queries/count.sql",
    "queries/check.sql",
    "migrations/20250101000000_prepare.sql",
    "revert/20250101000000_prepare.sql",
]


def write_plan(directory: pathlib.Path, text: str = PLAN) -> str:
    for name in FILES:
        path = directory / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("SELECT 1;\n")
    (directory / "plan.yml").write_text(text)
    return str(directory)


def test_a_check_without_query_counts_its_offenders(tmp_path: pathlib.Path) -> None:
    text = PLAN.replace(
        "    query: queries/check.sql\n    expect: {left: 0}\n    counted_by",
        "    offenders: queries/check.sql\n    counted_by",
    )
    (check,) = load_plan(write_plan(tmp_path, text))["checks"]
    assert check["expect"] == {"offending_rows": 0}
    assert check["examined"] == str(tmp_path / "queries/count.sql")


def test_functions_of_reverts_belong_to_every_migration(tmp_path: pathlib.Path) -> None:
    text = PLAN + "rollback: {functions: queries/check.sql}\n"
    (migration,) = load_plan(write_plan(tmp_path, text))["migrations"]
    assert migration["revert_functions"] == str(tmp_path / "queries/check.sql")
    (tmp_path / "queries/check.sql").write_text("-- step: functions\nSELECT 0;\n")
    (tmp_path / "revert/20250101000000_prepare.sql").write_text("-- step: undo\nSELECT 1;\n")
    steps = file_steps(migration, "reverted")
    assert [(step.number, step.name) for step in steps] == [(1, "functions"), (2, "undo")]
    assert [step.path for step in steps] == [migration["revert_functions"], migration["revert_file"]]


def test_a_repair_that_says_when_is_a_known_issue(tmp_path: pathlib.Path) -> None:
    text = (
        PLAN
        + """
archive: {table: helper.archive, setup: make it}
repairs:
  - issue: blank
    title: Blank notes
    cause: imported
    when: {checks: [none_left]}
    solution: fill them
    action: fill, run again
    table: public.orders
    find: queries/blank.sql
    examined: queries/count.sql
    remedies: [{name: archive, title: archive them, archive: true}]
"""
    )
    (issue,) = load_plan(write_plan(tmp_path, text))["troubleshooting"]
    assert (issue["issue"], issue["when"]["checks"]) == ("Blank notes", ["none_left"])
    assert issue["query"] == str(tmp_path / "queries/blank.sql")
    assert issue["next_command"] == "ansible-playbook playbooks/repair.yml{target} -e issue=blank"
    (error,) = errors_of(tmp_path, text.replace("[none_left]", "[none]"))
    assert "repairs[0].when.checks[0]: none is not in the plan" in error


def errors_of(directory: pathlib.Path, text: str) -> list[str]:
    with pytest.raises(RunbookError) as caught:
        load_plan(write_plan(directory, text))
    errors: list[str] = caught.value.facts["plan_errors"]
    assert all(error in caught.value.msg for error in errors)
    assert caught.value.next_command == f"edit {directory / 'plan.yml'}"
    return errors


def line_of(text: str, part: str) -> int:
    return next(number for number, line in enumerate(text.splitlines(), 1) if part in line)


def test_a_good_plan_has_every_optional_key_and_absolute_paths(tmp_path: pathlib.Path) -> None:
    plan = load_plan(write_plan(tmp_path))
    assert plan["performance"] == []
    assert plan["requirements"]["server_versions"] == {"minimum": 15, "maximum": 18}
    assert plan["requirements"]["preconditions"][0]["severity"] == "blocking"
    check = plan["migrations"][0]["checks"][0]
    assert check["query"] == str(tmp_path / "queries/check.sql")
    assert (check["counted_by"], check["offenders"], check["informational"]) == (None, None, False)
    assert plan["migrations"][0]["file"] == str(tmp_path / "migrations/20250101000000_prepare.sql")
    assert plan["migrations"][0]["revert_file"] == str(tmp_path / "revert/20250101000000_prepare.sql")
    assert plan["migrations"][0]["backfill"] is None
    assert "query" not in plan["snapshot"]["fingerprints"][0]
    assert plan["directory"] == str(tmp_path)


def test_a_missing_plan_names_the_setting(tmp_path: pathlib.Path) -> None:
    with pytest.raises(RunbookError, match=r"the plan .*plan.yml does not exist") as caught:
        load_plan(str(tmp_path))
    assert "migration_plan_directory" in caught.value.next_command


@pytest.mark.parametrize(
    ("old", "new", "key", "message"),
    [
        (
            "    counted_by: order_count",
            "    countedby: x",
            "checks[0].countedby",
            "unknown key; known here: asked_first, counted_by",
        ),
        ("title: Orders split", "titel: Orders split", "titel", "unknown key"),
        ('- version: "20250101000000"', "- version: 20250101000000", "migrations[0].version", "write it in quotes"),
        ("    counted_by: order_count", "    counted_by: orders", "checks[0].counted_by", "not in snapshot.counts"),
        (
            'until: "20250101000000"',
            'until: "20250101000009"',
            "requirements.preconditions[0].until",
            "not a version in migrations",
        ),
        (
            "query: queries/blank.sql",
            "query: queries/blnk.sql",
            "requirements.preconditions[0].query",
            "does not exist",
        ),
        ("query: queries/blank.sql", "query: ../blank.sql", "requirements.preconditions[0].query", "is outside"),
        ("    name: prepare", "    name: prepared", "migrations[0].name", "20250101000000_prepared.sql does not exist"),
        ("    - {name: large}", "    - {name: large, below_rows: 20}", "volume.classes[1]", "the last class takes"),
        ("small: [1, 2]", "tiny: [1, 2]", "migrations[0].expected_minutes", "give minutes for each of large, small"),
        ("small: [1, 2]", "small: [3, 2]", "migrations[0].expected_minutes.small", "3 minutes is more than 2"),
        ("type: boolean", "type: bool", "settings[0].type", "'bool' is not one of boolean, integer, text"),
        ("table: public.orders, key: id}\nv", "table: orders, key: id}\nv", "protected_tables[0].table", "not match"),
        ("    expect: {left: 0}", "    expect: {}", "checks[0]", "a check without expect proves nothing"),
        (
            "    query: queries/check.sql\n    expect: {left: 0}",
            "    offenders: queries/check.sql\n    expect: {left: 0}",
            "checks[0]",
            "a check without query has offenders and counted_by, and no expect",
        ),
        ("    query: queries/check.sql\n    expect: {left: 0}\n", "", "checks[0]", "a check without query has off"),
        (
            "    expect: {left: 0}",
            "    expect: {left: {atleast: 0}}",
            "checks[0].expect.left.atleast",
            "unknown key; known here: at_least, at_most, contains, equals",
        ),
        (
            "    - {name: orders, table: public.orders, key: id}",
            "    - {name: orders, key: id}",
            "snapshot.fingerprints[0]",
            "give exactly one of table or query",
        ),
        (
            "title: Orders split",
            "title: Orders split\nchange_log: [{table: public.lines, kept_columns: [order_id]}]",
            "change_log[0].table",
            "public.lines is not in protected_tables",
        ),
        (
            "    - {name: orders, table: public.orders, key: id}",
            "    - {name: orders, table: public.orders, key: id, by_application: queries/count.sql}",
            "snapshot.fingerprints[0].by_application",
            "belongs to a fingerprint of a query",
        ),
        ("title: Orders split", "title: Orders split\ntitle: again", "title", "duplicate key, first in line 2"),
    ],
)
def test_an_error_names_file_line_and_key(tmp_path: pathlib.Path, old: str, new: str, key: str, message: str) -> None:
    assert old in PLAN
    text = PLAN.replace(old, new)
    found = [error for error in errors_of(tmp_path, text) if f": {key}: " in error]
    assert found
    assert message in found[0]
    path, line, _ = found[0].split(":", 2)
    assert path == str(tmp_path / "plan.yml")
    last = key.rsplit(".", 1)[-1].split("[")[0]
    assert last in text.splitlines()[int(line) - 1] or "[" in key


def test_the_line_is_the_one_of_the_key(tmp_path: pathlib.Path) -> None:
    text = PLAN.replace("queries/blank.sql", "queries/nothing.sql")
    (error,) = errors_of(tmp_path, text)
    assert error.startswith(f"{tmp_path}/plan.yml:{line_of(text, 'nothing.sql')}: ")


def test_all_errors_come_at_once(tmp_path: pathlib.Path) -> None:
    text = PLAN.replace("queries/blank.sql", "queries/a.sql").replace("queries/volume.sql", "queries/b.sql")
    assert [error.rsplit("/", 1)[0] for error in errors_of(tmp_path, text)] != []
    assert len(errors_of(tmp_path, text)) == 2


def test_a_name_used_twice_names_both_lines(tmp_path: pathlib.Path) -> None:
    entry = "    - {name: order_count, query: queries/count.sql, after_migration: equal}\n"
    text = PLAN.replace(entry, entry + entry)
    first = line_of(text, "order_count")
    assert any(f"order_count is used twice, first in line {first}" in error for error in errors_of(tmp_path, text))


def test_a_version_must_come_after_the_one_before(tmp_path: pathlib.Path) -> None:
    data: dict[str, Any] = yaml.safe_load(PLAN)
    data["migrations"].append({"version": "20240101000000", "name": "late", "title": "Late"})
    errors = errors_of(tmp_path, yaml.safe_dump(data))
    assert any("20240101000000 does not come after 20250101000000" in error for error in errors)


def test_a_migration_file_the_plan_does_not_name_is_an_error(tmp_path: pathlib.Path) -> None:
    write_plan(tmp_path)
    (tmp_path / "migrations/20250102000000_more.sql").write_text("SELECT 1;\n")
    (error,) = errors_of(tmp_path, PLAN)
    assert "migrations/20250102000000_more.sql exists and is not in the plan" in error


def test_text_that_is_not_yaml_names_the_line(tmp_path: pathlib.Path) -> None:
    (error,) = errors_of(tmp_path, PLAN.replace("schemas: [public]", "schemas: [public"))
    assert "not YAML" in error
    assert f"{tmp_path}/plan.yml:4:" in error


def test_troubleshooting_points_only_at_things_of_the_plan(tmp_path: pathlib.Path) -> None:
    text = PLAN + (
        "troubleshooting:\n"
        "  - {issue: i, when: {checks: [nope], slow_migrations: ['20250101000000']},"
        " cause: c, solution: s, action: a}\n"
    )
    (error,) = errors_of(tmp_path, text)
    assert "troubleshooting[0].when.checks[0]: nope is not in the plan" in error


def test_the_hash_changes_with_content_and_name_and_not_with_the_place(tmp_path: pathlib.Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    first, second = (write_plan(tmp_path / name) for name in ("a", "b"))
    assert plan_hash(first) == plan_hash(second)
    (tmp_path / "b/.plan.yml.swp").write_text("an editor's file")
    assert plan_hash(first) == plan_hash(second)
    (tmp_path / "b/queries/volume.sql").write_text("SELECT 2;\n")
    assert plan_hash(first) != plan_hash(second)


def test_a_lock_of_the_offline_form_is_read_before_the_window_not_in_it() -> None:
    def errors(lock: str) -> list[str]:
        offline = {"function": "orders_split.move_at_once", "locks": [lock]}
        backfill = {"function": "orders_split.move", "table": "public.orders", "key": "id", "offline": offline}
        return [error.message for error in jsonschema.Draft202012Validator(BACKFILL).iter_errors(backfill)]

    assert errors("public.orders ACCESS EXCLUSIVE") == []
    assert "'public.orders EXCLUSIV' does not match" in errors("public.orders EXCLUSIV")[0]


def test_rows_that_are_left_aside_want_a_query_that_proves_that_they_are_moved() -> None:
    aside = {"function": "orders_split.move_aside", "table": "orders_split.aside", "key": "order_id"}
    backfill = {"function": "orders_split.move", "table": "public.orders", "key": "id", "left_aside": aside}
    (error,) = jsonschema.Draft202012Validator(BACKFILL).iter_errors(backfill)
    assert error.message == "'remaining' is a dependency of 'left_aside'"
    backfill["remaining"] = "queries/remaining.sql"
    assert not list(jsonschema.Draft202012Validator(BACKFILL).iter_errors(backfill))
