"""Variables of a command: their types, where they may be set, and that no boolean is read as a text."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
SPEC = importlib.util.spec_from_file_location("check_variables", ROOT / "plugins/action/check_variables.py")
assert SPEC is not None
assert SPEC.loader is not None
checking = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(checking)
RULES = checking.known()
TASKS = sorted([*(ROOT / "playbooks").rglob("*.yml"), *(ROOT / "roles").glob("*/tasks/*.yml")])
READ = [
    *TASKS,
    *(ROOT / "roles").glob("*/defaults/*.yml"),
    *(ROOT / "roles").glob("*/vars/*.yml"),
    *(ROOT / "playbooks").rglob("*.j2"),
]


def fault(name: str, value: Any) -> str:
    return str(checking.fault_of(name, value, RULES["options"][name], RULES))


@pytest.mark.parametrize("value", [True, False, 0, 1, "true", "False", "no", "YES", "on", "off", "0", "1"])
def test_a_boolean_is_read_by_its_type(value: Any) -> None:
    assert fault("database_backup_restore_drill", value) == ""


@pytest.mark.parametrize("value", ["abc", "", " ", "yes ", "2", 2, 1.0, None, [], "t", "y", "none"])
def test_what_is_no_boolean_is_refused_with_the_words_that_are(value: Any) -> None:
    said = fault("database_backup_restore_drill", value)
    assert said.startswith("database_backup_restore_drill=")
    assert "is neither true nor false; write true or false (also yes, no, on, off, 1, 0)" in said


@pytest.mark.parametrize("value", [1, "1", "007", 10**12])
def test_a_whole_number_is_read_by_its_type(value: Any) -> None:
    assert fault("monitor_limit_seconds", value) == ""


@pytest.mark.parametrize("value", ["abc", "", "10.5", 10.5, "1e3", "1_000", True, None, "0x10", "٣", " 1", "9" * 40])
def test_what_is_no_whole_number_is_refused(value: Any) -> None:
    said = fault("monitor_limit_seconds", value)
    assert "is not a whole number; write it in digits, for example monitor_limit_seconds=5" in said


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("workers", -1, "is negative; the minimum is 0"),
        ("workers", "-1", "is negative; the minimum is 0"),
        ("monitor_interval_seconds", 0, "is too small; the minimum is 1"),
        ("batch_budget_milliseconds", "nan", "is not a number"),
        ("batch_budget_milliseconds", float("inf"), "is not a number"),
        ("batch_budget_milliseconds", "1e999", "is too large"),
        ("migration_execution_strategy", "offlin", "is not among online, offline"),
        ("database_free_disk_bytes", "plenty", "is not a whole number"),
        ("confirm", ["a"], "is not a string"),
        ("batch_rows", "", "is not a whole number"),
        ("database_accepted_findings", "all", "is not a list of this kind"),
        ("database_accepted_findings", ["all"], "is not a list of this kind"),
        ("application_control_stop", {"command": "stop it"}, "is not a list of this kind"),
        ("application_control_hook", {"status_codes": [200, "abc"]}, "is not a list of this kind"),
        ("application_control_hook", {"environment": "[]"}, "does not name its values"),
        ("application_control_hook", "[]", "does not name its values"),
        ("migration_execution_health_levels", ["a"], "does not name its values"),
        ("slow_at", [1], "does not name its values; write slow_at=<name>=<value>"),
        ("slow_at", "never", "does not name its values"),
    ],
)
def test_a_value_that_makes_no_sense_is_refused(name: str, value: Any, words: str) -> None:
    assert words in fault(name, value)


def test_a_number_that_may_be_left_out_may_be_empty() -> None:
    assert fault("database_free_disk_bytes", "") == ""
    assert fault("migration_execution_limits", {"workers": 0}) == "", "0 takes what suits the server"
    assert fault("slow_at", "transactions_per_second=200") == fault("slow_at", {"transactions_per_second": 200}) == ""
    assert fault("application_control_stop", {"command": ["/bin/stop", "now"]}) == ""
    assert fault("migration_execution_limits", {"lock_timeout_seconds": "0.25"}) == ""


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"wrokers": 4}, "migration_execution_limits has no option wrokers; did you mean workers?"),
        ({"colour": 4}, "migration_execution_limits has no option colour; it takes batch_attempts, "),
        ({"workers": "abc"}, "migration_execution_limits.workers='abc' is not a whole number; write it in digits, "),
        ({"workers": -1}, "migration_execution_limits.workers=-1 is negative"),
        ({"batch_rows_least": 0}, "migration_execution_limits.batch_rows_least=0 is too small; the minimum is 1"),
        (
            {"lock_timeout_seconds": 0},
            "migration_execution_limits.lock_timeout_seconds=0 is too small; it must be greater than",
        ),
    ],
)
def test_a_key_of_a_mapping_is_checked_by_the_module_that_takes_it(value: Any, words: str) -> None:
    assert fault("migration_execution_limits", value).startswith(words)


def test_every_key_of_a_mapping_is_declared_by_a_module() -> None:
    for name in RULES["mappings"]:
        keys = checking.keys_of(name, RULES)
        assert keys, name
        assert all("description" in option for option in keys.values()), name
        assert RULES["options"][name]["type"] == "dict"
        document = (ROOT / "docs/runbook.md").read_text()
        stem = name.removeprefix("application_control")
        assert name in document or f"`…{stem}`" in document, f"docs/runbook.md lacks {name}"
    # A fragment and its variants are read too, and mappings inside mappings.
    assert "has no option hst; did you mean host?" in fault(
        "database_backup_restore_drill_options", {"scratch_connection": {"hst": "x"}}
    )
    assert "rollback_options.locking has no option lock_atempts" in fault(
        "rollback_options", {"locking": {"lock_atempts": 2}}
    )


#: A value that no option of the type takes.
WRONG = {
    "bool": "maybe", "int": "many", "float": "soon", "raw": "plenty", "dict": "plain", "list": "plain", "str": ["a"],
    "path": ["a"],
}  # fmt: skip


@pytest.mark.parametrize("path", sorted((ROOT / "roles").glob("*/meta/argument_specs.yml")), ids=lambda p: p.parts[-3])
def test_a_wrong_type_of_each_option_of_a_role_is_refused(path: Path) -> None:
    options: dict[str, Any] = {}
    for entry in yaml.safe_load(path.read_text())["argument_specs"].values():
        options |= entry.get("options") or {}
    assert options
    for name, option in options.items():
        assert name in fault(name, WRONG[option.get("type", "str")]), name


def test_the_values_inside_an_option_are_checked_where_it_declares_them() -> None:
    options = {"attempts": {"type": "int"}, "wait": {"type": "float"}}
    rules = {"at_least_one": ["role_locking.attempts"], "above_zero": []}

    def inside(value: Any) -> str:
        return str(checking.fault_of("role_locking", value, {"type": "dict", "options": options}, rules))

    assert inside({"attempts": 3, "wait": "0.5"}) == inside({}) == ""
    assert inside({"attempts": "x"}) == (
        "role_locking.attempts='x' is not a whole number; write it in digits, for example role_locking.attempts=5"
    )
    assert inside({"attempts": 0}) == "role_locking.attempts=0 is too small; the minimum is 1"
    assert inside({"atempts": 3}) == "role_locking has no option atempts; did you mean attempts?"
    assert inside({"x": 3}) == "role_locking has no option x; it takes attempts, wait"


def included_roles(node: Any) -> Iterator[dict[str, Any]]:
    """The arguments of every include_role in a file of tasks or plays."""
    if isinstance(node, list):
        for entry in node:
            yield from included_roles(entry)
    elif isinstance(node, dict):
        if isinstance(role := node.get("ansible.builtin.include_role"), dict):
            yield role
        for value in node.values():
            yield from included_roles(value)


def test_the_options_of_a_role_are_checked_once_and_not_at_each_inclusion() -> None:
    found = [(path, role) for path in TASKS for role in included_roles(yaml.safe_load(path.read_text()))]
    assert len(found) > 10
    for path, role in found:
        assert role["rolespec_validate"] is False, f"{path.relative_to(ROOT)} includes {role['name']}"
    for path in (ROOT / "playbooks").glob("*.yml"):
        text = path.read_text()
        assert "include_role" not in text or "identify" in text or "check_variables" in text, path.name


def extra(environment: str = "production", **given: Any) -> str:
    return "; ".join(checking.extra_faults(given, environment, RULES))


@pytest.mark.parametrize("given", ["local", "databases", "", None])
def test_an_extra_variable_does_not_change_the_environment(given: Any) -> None:
    assert "the environment is production" in extra(runbook_environment=given)
    assert extra(runbook_environment="production") == ""


@pytest.mark.parametrize(
    "name",
    [
        "identify_changes_database", "identify_existing", "run", "migration_execution_state", "change_log_state",
        "database_backup_in_run", "rollback_method", "inventory_hostname", "group_names", "rollback_would_do",
    ],
)  # fmt: skip
def test_what_the_playbooks_set_is_not_taken_from_an_extra_variable(name: str) -> None:
    assert "this is no option; the playbooks set it themselves" in extra("local", **{name: "x"})


@pytest.mark.parametrize("name", RULES["inventory_only"])
def test_outside_local_a_guard_is_set_by_the_inventory_alone(name: str) -> None:
    variable, _, key = name.partition(".")
    given = {variable: {key: "x"} if key else "x"}
    assert f"-e {name}: outside local this is read only from the inventory of production" in extra(**given)
    assert extra("local", **given) == ""


def test_a_key_that_stands_alone_is_refused_with_the_mapping_that_takes_it() -> None:
    for name, meant in (
        ("migration_execution_workers", "it is a key: migration_execution_limits: {workers: …}"),
        ("rollback_quiet_seconds", "it is a key: rollback_options: {quiet_seconds: …}"),
        ("application_control_stop_command", "it is a key: application_control_stop: {command: …}"),
    ):
        assert extra(**{name: "x"}).endswith(meant)
        (fault,) = checking.inventory_faults([name, "rollback_options", "database_connection", "anything"], RULES)
        assert fault.startswith(f"{name} in the inventory: there is no such option")
        assert fault.endswith(meant)


def test_a_misspelt_option_is_refused_with_the_one_that_was_meant() -> None:
    for name, meant in (("stopafter", "stop_after"), ("metod", "method"), ("rollback_option", "rollback_options")):
        assert f"there is no such option; did you mean {meant}?" in extra(**{name: "x"})
    assert extra(vault_production_database_password="x", key="x", region="x") == ""


@pytest.mark.parametrize("name", ["STOP_AFTER", "Stop_After", "stopAfter", "stop-after", "STOPAFTER"])
def test_an_option_in_other_letters_is_refused_and_not_left_out(name: str) -> None:
    assert "there is no such option; did you mean stop_after?" in extra(**{name: "x"})


def test_a_setting_of_the_plan_is_not_left_out_when_it_is_typed() -> None:
    settings = {"rows_are_public": True, "limit": 5}
    (fault,) = checking.setting_faults({"rows_are_public": "no", "limit": "5"}, settings)
    assert fault.startswith("-e rows_are_public=no: a setting of the plan is read from migration_plan_settings")
    assert "which says True; change it there" in fault
    # An inventory may look the variable up: then both are the same.
    assert list(checking.setting_faults({"rows_are_public": "true"}, settings)) == []
    assert list(checking.setting_faults({"rows_are_public": "true"}, None)) == []


def test_an_inventory_that_reaches_no_database_is_refused() -> None:
    def said(missing: tuple[str, ...] = (), connection: Any = None, empty: tuple[str, ...] = ()) -> str:
        return str(checking.incomplete("orders", [*missing], {} if connection is None else connection, [*empty]))

    assert said() == said(connection={"password": "0123"}) == ""
    lacks = said(missing=("migration_plan_directory", "migration_plan_settings"))
    assert lacks.startswith("The inventory of orders lacks migration_plan_directory, migration_plan_settings. Nothing ")
    assert "inventories/staging/group_vars/staging.yml shows every setting" in lacks
    assert "database_connection.password is not a string: YAML reads it as int" in said(connection={"password": 83})
    assert "YAML reads it as NoneType" in said(connection={"password": None})
    empty = said(empty=("database_connection.host is empty", "database_connection.user is empty"))
    assert empty.startswith(
        "The connection of orders is incomplete: database_connection.host is empty; database_connection.user is empty. "
    )
    assert "Next: export the variable" in empty


def inventory(tree: dict[str, Any], host: str) -> Any:
    """A host in each group of the tree, as Ansible's inventory shows it."""
    below = [SimpleNamespace(name=name) for name in tree["databases"]]
    groups = [SimpleNamespace(name=name) for name in tree["groups"]]
    held = SimpleNamespace(get_groups=lambda: groups)
    return SimpleNamespace(
        groups={"databases": SimpleNamespace(child_groups=below)}, get_host=lambda name: held if name == host else None
    )


def test_the_environment_is_the_group_below_databases() -> None:
    def of(below: list[str], *groups: str) -> tuple[str, str]:
        found: tuple[str, str] = checking.environment_of("db", inventory({"databases": below, "groups": groups}, "db"))
        return found

    assert of(["staging", "production"], "all", "databases", "production", "emea") == ("production", "")
    assert "belongs to no environment" in of(["staging"], "all", "databases")[1]
    assert "several environments (local, production)" in of(["local", "production"], "production", "local")[1]


def set_by(node: Any, found: set[str]) -> set[str]:
    """Every variable that tasks set, register or loop over."""
    if isinstance(node, list):
        for entry in node:
            set_by(entry, found)
    elif isinstance(node, dict):
        for key, value in node.items():
            if isinstance(value, dict) and (key == "vars" or str(key).endswith("set_fact")):
                found.update(value)
            elif key in ("register", "loop_var"):
                found.add(value)
            elif key in ("block", "always", "rescue", "tasks", "loop_control"):
                set_by(value, found)
    return found


def test_every_variable_that_tasks_set_is_kept_from_extra_variables() -> None:
    found: set[str] = set()
    for path in TASKS:
        set_by(yaml.safe_load(path.read_text()), found)
    for path in (ROOT / "roles").glob("*/vars/*.yml"):
        found.update(yaml.safe_load(path.read_text()))
    assert {name for name in found if not checking.is_internal(name, RULES)} == set()


def test_every_option_that_a_playbook_reads_is_declared() -> None:
    named = re.compile(r"-e ([a-z][a-z_]+)=")
    for path in sorted((ROOT / "playbooks").glob("*.yml")):
        for name in named.findall(path.read_text()):
            assert name in RULES["options"], f"{path.name} names -e {name}; plugins/action/variables.yml lacks it"


def expressions(path: Path) -> list[str]:
    """The Jinja expressions of a file."""
    inside = re.compile(r"\{\{.*?\}\}|\{%.*?%\}", re.S)
    if path.suffix == ".j2":
        return inside.findall(path.read_text())
    found: list[str] = []

    def walk(node: Any, *, bare: bool) -> None:
        if isinstance(node, dict):
            for key, value in node.items():
                walk(value, bare=key in ("when", "that", "failed_when", "changed_when", "until"))
        elif isinstance(node, list):
            for entry in node:
                walk(entry, bare=bare)
        elif isinstance(node, str):
            found.extend([node] if bare else inside.findall(node))

    walk(yaml.safe_load(path.read_text()), bare=False)
    return found


def test_no_boolean_is_read_as_a_text() -> None:
    """``-e name=false`` is the text false, which is true: each use goes through the filter bool."""
    booleans = [name for name, option in RULES["options"].items() if option.get("type") == "bool"]
    assert len(booleans) > 15
    use = re.compile(
        rf"(?<![\w./'-])({'|'.join(booleans)})\b(?!')"
        r"(?!\s*\|\s*bool)(?!\s*\|\s*default\(omit\))(?!\s*\|\s*default\([^()]*\)\s*\|\s*bool)"
    )
    found = [f"{path.relative_to(ROOT)}: {text}" for path in READ for text in expressions(path) if use.search(text)]
    assert not found, "\n".join(found)
