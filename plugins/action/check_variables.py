"""Check variables and inventory before anything runs: who may set a variable, its type, the environment."""

from __future__ import annotations

import difflib
import importlib.util
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleUndefinedVariable
from ansible.module_utils.datatag import native_type_name
from ansible.plugins.action import ActionBase
from ansible.plugins.loader import lookup_loader
from ansible.utils.vars import load_extra_vars

DOCUMENTATION = r"""
name: check_variables
short_description: Refuse variables that would be misread, and find the environment of a host
description:
  - C(-e name=value) makes every value a text, and an extra variable wins over everything that a playbook or an
    inventory says. So each variable of the runbook is checked by its declared type, extra variables that would undo a
    guard are refused, and the environment is taken from the groups of the inventory.
  - The keys of a mapping are those of the module that the mapping is handed to; any other key is refused. So is a
    variable of the inventory that is named like an option of a role and is none.
  - The types of a role's options are those of its C(meta/argument_specs.yml). The playbooks include roles with
    C(rolespec_validate=false), because Ansible would check the same again with a task for each inclusion.
  - An inventory that lacks a setting, a password that is no text, and a connection with an empty option are refused.
options:
  environment:
    description:
      - Whether the host must belong to an environment and have a complete inventory. False for playbooks of the
        demonstration.
    type: bool
    default: true
"""

HERE = Path(__file__).resolve().parent

# Ansible imports a plugin without its neighbours.
_spec = importlib.util.spec_from_file_location("declared_options", HERE / "declared_options.py")
assert _spec is not None
assert _spec.loader is not None
_declared = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_declared)
known, keys_of = _declared.known, _declared.keys_of
is_internal, meant_by = _declared.is_internal, _declared.meant_by

#: The words that the filter ``bool`` accepts.
WORDS = ("true", "yes", "on", "1", "false", "no", "off", "0")
INTEGER = re.compile(r"-?[0-9]{1,18}")
DECIMAL = re.compile(r"-?[0-9]{1,18}(\.[0-9]{1,18})?([eE]-?[0-9]{1,3})?")
PARENT = "databases"
#: Settings that every host of the runbook needs.
SETTINGS = ("database_connection", "migration_plan_directory", "migration_plan_settings")
Options = dict[str, dict[str, Any]]


def fault_of(name: str, value: Any, option: Mapping[str, Any], rules: Mapping[str, Any]) -> str:
    """Return why a value does not have its option's type; empty if it does."""
    kind = option.get("type", "str")
    given = f"{name}={value!r}" if isinstance(value, str) else f"{name}={value}"
    if kind == "bool":
        fits = isinstance(value, bool) or (isinstance(value, (str, int)) and str(value).lower() in WORDS)
        return "" if fits else f"{given} is neither true nor false; write true or false (also yes, no, on, off, 1, 0)"
    if kind == "raw" and value in ("", None):
        return ""
    if kind in ("int", "float", "raw"):
        return _number_fault(name, given, value, kind, rules)
    choices = option.get("choices")
    if choices and value not in choices:
        return f"{given} is not among {', '.join(str(choice) or '(empty)' for choice in choices)}"
    if kind in ("list", "dict", "pairs") and value not in ("", None):
        return _container_fault(name, given, value, option, rules)
    if kind in ("str", "path") and isinstance(value, (list, dict)):
        return f"{given} is not a string; write {name}=<text>"
    return ""


def _number_fault(name: str, given: str, value: Any, kind: str, rules: Mapping[str, Any]) -> str:
    wanted, pattern = ("a number", DECIMAL) if kind == "float" else ("a whole number", INTEGER)
    example = "0.5" if kind == "float" else "5"
    text = str(value)
    if isinstance(value, bool) or not isinstance(value, (int, float, str)) or not pattern.fullmatch(text):
        return f"{given} is not {wanted}; write it in digits, for example {name}={example}"
    number = float(text)
    if not math.isfinite(number):
        return f"{given} is too large"
    names = {name, name.rpartition(".")[2]}
    if names.intersection(rules["at_least_one"]) and number < 1:
        return f"{given} is too small; the minimum is 1"
    if names.intersection(rules["above_zero"]) and number <= 0:
        return f"{given} is too small; it must be greater than 0"
    return f"{given} is negative; the minimum is 0" if number < 0 else ""


def _faults_inside(name: str, value: Any, options: Options, rules: Mapping[str, Any]) -> Iterator[str]:
    """Yield the keys of a mapping that its option does not declare, and the values of another type."""
    for key in value if options else ():
        if key not in options:
            near = difflib.get_close_matches(str(key), options, 1)
            known = f"did you mean {near[0]}?" if near else f"it takes {', '.join(sorted(options))}"
            yield f"{name} has no option {key}; {known}"
        elif fault := fault_of(f"{name}.{key}", value[key], options[key], rules):
            yield fault


def _container_fault(name: str, given: str, value: Any, option: Mapping[str, Any], rules: Mapping[str, Any]) -> str:
    """Return what is wrong with a list or mapping. Ansible would turn any text into a list."""
    if option["type"] == "list":
        kind = {"dict": Mapping, "int": int}.get(str(option.get("elements")), object)
        if isinstance(value, list) and all(isinstance(one, kind) for one in value):
            return ""
        return f"""{given} is not a list of this kind; write it in an inventory, or as -e '{{"{name}": [...]}}'"""
    if isinstance(value, Mapping) or (option["type"] == "pairs" and isinstance(value, str) and "=" in value):
        options = keys_of(name, rules) or option.get("suboptions") or option.get("options") or {}
        return next(_faults_inside(name, value, options, rules), "")
    example = f"{name}=<name>=<value>" if option["type"] == "pairs" else f"""-e '{{"{name}": {{...}}}}'"""
    return f"{given} does not name its values; write {example}"


def extra_faults(extra: Mapping[str, Any], environment: str, rules: Mapping[str, Any]) -> Iterator[str]:
    """Yield the extra variables that may not be given with -e."""
    guarded = rules["inventory_only"] if environment not in ("", "local") else []
    for name in sorted(extra):
        value = extra[name]
        named = [name, *(f"{name}.{key}" for key in value)] if isinstance(value, Mapping) else [name]
        if name == "runbook_environment" and value != environment:
            yield (
                f"-e {name}={value}: the environment is {environment}; it is the group of the host in the "
                "inventory, and -e does not change it"
            )
        elif is_internal(name, rules):
            meant = meant_by(name, rules, 0.85)
            yield f"-e {name}: {meant or 'this is no option; the playbooks set it themselves'}"
        elif meant := "" if name in rules["options"] else meant_by(name, rules, 0.9):
            yield f"-e {name}: {meant}"
        else:
            for only in sorted(set(named).intersection(guarded)):
                yield f"-e {only}: outside local this is read only from the inventory of {environment}"


def inventory_faults(names: Iterable[str], rules: Mapping[str, Any]) -> Iterator[str]:
    """Yield the variables of an inventory that resemble an option of a role but do not exist."""
    for name in sorted(names):
        if name.startswith(tuple(rules["roles"])) and name not in rules["options"]:
            yield f"{name} in the inventory: {meant_by(name, rules, 0.85) or 'there is no such option'}"


def setting_faults(extra: Mapping[str, Any], settings: Any) -> Iterator[str]:
    """Yield the extra variables that have the name of a plan setting, because they do not change it."""
    for name in sorted(extra.keys() & settings.keys() if isinstance(settings, Mapping) else ()):
        if str(extra[name]).lower() != str(settings[name]).lower():
            yield (
                f"-e {name}={extra[name]}: a setting of the plan is read from migration_plan_settings in the "
                f"inventory, which says {settings[name]}; change it there"
            )


def environment_of(host: str, inventory: Any) -> tuple[str, str]:
    """Return the environment of a host, and why it has none: the group directly below ``databases`` that holds it."""
    parent = inventory.groups.get(PARENT)
    below = [group.name for group in parent.child_groups] if parent else []
    found = inventory.get_host(host)
    groups = {group.name for group in found.get_groups()} if found else set()
    names = sorted(groups & set(below))
    if len(names) == 1:
        return names[0], ""
    what = f"several environments ({', '.join(names)})" if names else "no environment"
    return "", (
        f"host {host} belongs to {what}: the environment is the one group directly below {PARENT} that contains the "
        "host; inventories/staging/hosts.yml shows it"
    )


def incomplete(host: str, missing: list[str], connection: Any, empty_options: list[str]) -> str:
    """Return what the inventory lacks to connect to a database; empty if it is complete."""
    if missing:
        return (
            f"The inventory of {host} lacks {', '.join(missing)}. Nothing was changed. Next: set it in "
            "inventories/<environment>/group_vars/<environment>.yml (inventories/staging/group_vars/staging.yml shows "
            "every setting)."
        )
    password = connection.get("password", "") if isinstance(connection, Mapping) else ""
    if not isinstance(password, str):
        return (
            f"database_connection.password is not a string: YAML reads it as {native_type_name(password)}. Nothing was "
            'changed. Next: put it into quotation marks in the inventory or the vault, password: "…" '
            "(docs/runbook.md, section 1), then run the same command again."
        )
    if empty_options:
        return (
            f"The connection of {host} is incomplete: {'; '.join(empty_options)}. libpq's own variables (PGHOST, "
            "PGPASSWORD and the others) are ignored. Nothing was changed. Next: export the variable, or correct "
            "database_connection in the inventory, then run the same command again."
        )
    return ""


class ActionModule(ActionBase):
    """Runs on the controller, where extra variables and the groups of the inventory are known."""

    TRANSFERS_FILES = False
    _VALID_ARGS = frozenset(("environment",))

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Check the variables as this host sees them, then its inventory."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        variables = task_vars or {}
        rules, extra = known(), load_extra_vars(self._loader)
        faults: list[str] = []
        environment, in_environment = "", self._task.args.get("environment", True)
        if in_environment:
            inventory = variables["hostvars"]._inventory
            environment, why_not = environment_of(variables["inventory_hostname"], inventory)
            faults += [why_not] if why_not else []
            # For every host of the play: one command works on one environment.
            result["environments"] = sorted(
                {environment_of(host, inventory)[0] for host in variables["ansible_play_hosts_all"]}
            )
            result["ansible_facts"] = {"runbook_environment": environment}
        faults += extra_faults(extra, environment, rules)
        faults += setting_faults(extra, self._value(variables.get("migration_plan_settings")))
        lookup = lookup_loader.get("merged_options", loader=self._loader, templar=self._templar)
        faults += inventory_faults(lookup.inventory_variables(variables), rules)
        for name in sorted(set(variables) & set(rules["options"])):
            value = self._value(variables[name])
            if name in extra and name in rules["mappings"]:
                value = lookup.run([name], variables)[0]
            fault = "" if value is self else fault_of(name, value, rules["options"][name], rules)
            faults += [fault] if fault else []
        stated = self._value(variables.get("runbook_environment", environment))
        if environment and "runbook_environment" not in extra and stated != environment:
            faults.append(f"runbook_environment is {stated} in the inventory, but the host's group is {environment}")
        result.update(changed=False, environment=environment)
        message = ""
        if faults:
            listed = "".join(f"\n- {fault}" for fault in faults)
            message = f"Refused:{listed}\nNothing was changed. Next: the same command with these corrected or left out"
        elif in_environment:
            message = self._incomplete(variables)
        if message:
            result.update(failed=True, msg=message)
        return result

    def _incomplete(self, variables: dict[str, Any]) -> str:
        missing = [name for name in SETTINGS if name not in variables]
        connection = {} if missing else self._templar.template(variables["database_connection"])
        lookup = lookup_loader.get("empty_connection_options", loader=self._loader, templar=self._templar)
        empty = [] if missing else lookup.run(["database_connection"], variables)
        return incomplete(variables["inventory_hostname"], missing, connection, empty)

    def _value(self, value: Any) -> Any:
        """Return a value as tasks see it; this object if it depends on an undefined variable."""
        try:
            return self._templar.template(value)
        except AnsibleUndefinedVariable:
            return self
