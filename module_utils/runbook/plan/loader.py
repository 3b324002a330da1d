"""The plan: one directory with plan.yml and the SQL files it names, read once and checked whole."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from typing import Any

from .document import Place, PlanDocument, files_in, fill_defaults
from .schema import PLAN
from .schema_parts import check_trials, check_writes


def check_change_log(document: PlanDocument, plan: dict[str, Any]) -> None:
    """What is read from the log: old values of protected tables, rows of queries, writes before versions."""
    for number, entry in enumerate(plan["rollback"]["new_application_writes"]):
        if entry["below"] not in {migration["version"] for migration in plan["migrations"]}:
            document.complain(("rollback", "new_application_writes", number, "below"), f"no version {entry['below']}")
    protected = {entry["table"] for entry in plan["protected_tables"]}
    for number, entry in enumerate(plan["change_log"]):
        if entry["table"] not in protected:
            document.complain(("change_log", number, "table"), f"{entry['table']} is not in protected_tables")
    for number, entry in enumerate(plan["snapshot"]["fingerprints"]):
        if entry.get("table") and entry["by_application"] is not None:
            place = ("snapshot", "fingerprints", number, "by_application")
            document.complain(place, "is for fingerprints of a query; of a table the change log knows it")


PLAN_FILE = "plan.yml"

Plan = dict[str, Any]


def load_plan(directory: str) -> Plan:
    """Read, check and complete a plan.

    :returns: plan.yml as a dict with every optional key present, every path absolute, ``file``, ``revert_file`` and
        ``revert_functions`` of each migration, ``directory`` and ``plan_hash``.
    :raises RunbookError: everything wrong with the plan at once, each with file, line and key.
    """
    directory = os.path.abspath(directory)
    document = PlanDocument(os.path.join(directory, PLAN_FILE))
    document.refuse()
    document.validate(PLAN)
    document.refuse()
    plan: Plan = fill_defaults(PLAN, document.data)
    _check_names(document, plan)
    _check_migrations(document, plan)
    _check_references(document, plan)
    check_change_log(document, plan)
    check_trials(document, plan)
    check_writes(document, plan)
    _check_repairs(document, plan)
    _find_files(document, plan, directory)
    document.refuse()
    _count_offenders(plan)
    _add_repairs_to_troubleshooting(plan)
    plan["directory"] = directory
    plan["plan_hash"] = plan_hash(directory)
    return plan


def plan_hash(directory: str) -> str:
    """Return the SHA-256 over every file of the plan, by relative path and content. Hidden files do not count."""
    digest = hashlib.sha256()
    for path in sorted(_files_below(directory)):
        with open(os.path.join(directory, path), "rb") as file:
            content = file.read()
        digest.update(f"{path}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()


def all_checks(plan: Plan) -> list[tuple[Place, dict[str, Any]]]:
    """Return every check of the plan with its place, those of the migrations first."""
    checks: list[tuple[Place, dict[str, Any]]] = []
    for number, migration in enumerate(plan["migrations"]):
        checks += [(("migrations", number, "checks", at), check) for at, check in enumerate(migration["checks"])]
    return checks + [(("checks", at), check) for at, check in enumerate(plan["checks"])]


def _files_below(directory: str) -> Iterable[str]:
    for folder, folders, names in os.walk(directory):
        folders[:] = [name for name in folders if not name.startswith((".", "__"))]
        for name in names:
            if not name.startswith("."):
                yield os.path.relpath(os.path.join(folder, name), directory)


def _check_names(document: PlanDocument, plan: Plan) -> None:
    """Names are how results, counts and messages refer to things: each list has each name once."""
    lists: list[tuple[Place, str, list[dict[str, Any]]]] = [
        (("settings",), "name", plan["settings"]),
        (("protected_tables",), "table", plan["protected_tables"]),
        (("change_log",), "table", plan["change_log"]),
        (("volume", "classes"), "name", plan["volume"]["classes"]),
        (("requirements", "tables"), "table", plan["requirements"]["tables"]),
        (("requirements", "preconditions"), "name", plan["requirements"]["preconditions"]),
        (("migrations",), "name", plan["migrations"]),
        (("checks",), "name", plan["checks"]),
        (("performance",), "name", plan["performance"]),
        (("repairs",), "issue", plan["repairs"]),
        (("trials",), "name", plan["trials"]),
    ]
    lists += [(("repairs", at, "remedies"), "name", entry["remedies"]) for at, entry in enumerate(plan["repairs"])]
    lists += [(("snapshot", part), "name", plan["snapshot"][part]) for part in ("counts", "samples", "fingerprints")]
    lists += [(("migrations", at, "checks"), "name", item["checks"]) for at, item in enumerate(plan["migrations"])]
    for place, key, entries in lists:
        first: dict[str, int] = {}
        for number, entry in enumerate(entries):
            if entry[key] in first:
                line = document.line((*place, first[entry[key]], key))
                document.complain((*place, number, key), f"{entry[key]} is used twice, first in line {line}")
            first.setdefault(entry[key], number)


def _check_migrations(document: PlanDocument, plan: Plan) -> None:
    """Versions ascend, volume classes are ordered, and expected minutes are given for exactly those classes."""
    classes = plan["volume"]["classes"]
    bounds = [entry["below_rows"] for entry in classes]
    if bounds[-1] is not None:
        document.complain(("volume", "classes", len(classes) - 1), "the last class has no below_rows: it is the rest")
    for number, bound in enumerate(bounds[:-1]):
        before = bounds[number - 1] if number else 0
        if bound is None or (before is not None and bound <= before):
            document.complain(("volume", "classes", number), "below_rows is needed and must be higher than before")
    names = {entry["name"] for entry in classes}
    last = ""
    for number, migration in enumerate(plan["migrations"]):
        place: Place = ("migrations", number)
        if migration["version"] <= last:
            document.complain((*place, "version"), f"{migration['version']} does not come after {last}")
        last = migration["version"]
        minutes = migration["expected_minutes"]
        if minutes and set(minutes) != names:
            document.complain((*place, "expected_minutes"), f"give minutes for each of {', '.join(sorted(names))}")
        for name, (low, high) in minutes.items():
            if low > high:
                document.complain((*place, "expected_minutes", name), f"{low} minutes is more than {high}")


def _check_check(document: PlanDocument, place: Place, check: dict[str, Any], counts: set[str]) -> None:
    """A check has something to expect: of the row of its query, or no offenders."""
    if check["counted_by"] is not None and check["counted_by"] not in counts:
        document.complain((*place, "counted_by"), f"{check['counted_by']} is not in snapshot.counts")
    if check["query"] is None:
        if check["offenders"] is None or check["counted_by"] is None or check["expect"] or check["informational"]:
            document.complain(place, "a check without query has offenders and counted_by, and no expect")
    elif not check["expect"] and not check["informational"]:
        document.complain(place, "a check without expect proves nothing: give expect, or informational: true")


def _check_references(document: PlanDocument, plan: Plan) -> None:
    """What one part of the plan says of another must exist there."""
    counts = {entry["name"] for entry in plan["snapshot"]["counts"]}
    versions = {entry["version"] for entry in plan["migrations"]}
    checks = all_checks(plan)
    for place, check in checks:
        _check_check(document, place, check, counts)
    for number, precondition in enumerate(plan["requirements"]["preconditions"]):
        if precondition["until"] is not None and precondition["until"] not in versions:
            place = ("requirements", "preconditions", number, "until")
            document.complain(place, f"{precondition['until']} is not a version in migrations")
    known = {"checks": {check["name"] for _, check in checks}, "failed_migrations": versions}
    known["slow_migrations"] = versions
    for part in ("troubleshooting", "repairs"):
        for number, entry in enumerate(plan[part]):
            for key, names in known.items():
                for at, name in enumerate((entry["when"] or {}).get(key, ())):
                    if name not in names:
                        document.complain((part, number, "when", key, at), f"{name} is not in the plan")


def _check_repairs(document: PlanDocument, plan: Plan) -> None:
    """A repair works on protected tables, and has an archive for what it takes away."""
    after = (plan["retirement"] or {}).get("after")
    if after and after not in {entry["version"] for entry in plan["migrations"]}:
        document.complain(("retirement", "after"), f"{after} is not a version in migrations")
    for number, entry in enumerate(plan["repairs"]):
        if entry["table"] not in {table["table"] for table in plan["protected_tables"]}:
            document.complain(("repairs", number, "table"), f"{entry['table']} is not in protected_tables")
    if plan["repairs"] and plan["archive"] is None:
        document.complain(("repairs",), "the plan needs an archive: rows that a repair takes away are kept there")


def _find_files(document: PlanDocument, plan: Plan, directory: str) -> None:
    """Make every path absolute; complain about files that are missing, outside the plan, or not in the plan."""
    for place, path in list(files_in(PLAN, plan)):
        _set(plan, place, _existing(document, place, directory, path))
    for number, migration in enumerate(plan["migrations"]):
        file_name = f"{migration['version']}_{migration['name']}.sql"
        for key, folder in (("file", "migrations"), ("revert_file", "revert")):
            place = ("migrations", number, "name")
            migration[key] = _existing(document, place, directory, f"{folder}/{file_name}")
        migration["revert_functions"] = plan["rollback"]["functions"]
    for folder, key in (("migrations", "file"), ("revert", "revert_file")):
        wanted = {os.path.basename(migration[key]) for migration in plan["migrations"]}
        present = os.path.join(directory, folder)
        for name in sorted(os.listdir(present)) if os.path.isdir(present) else []:
            if name.endswith(".sql") and name not in wanted:
                # The command line tool of the hosted service would push it all the same.
                document.complain(("migrations",), f"{folder}/{name} exists and is not in the plan")


def _add_repairs_to_troubleshooting(plan: Plan) -> None:
    """Complete the known issues by those that a repair describes."""
    for repair in plan["repairs"]:
        if repair["when"] is not None:
            entry = {key: repair[key] for key in ("when", "cause", "solution", "action")}
            command = f"ansible-playbook playbooks/repair.yml{{target}} -e issue={repair['issue']}"
            entry |= {"issue": repair["title"], "query": repair["find"], "next_command": command}
            plan["troubleshooting"].append(entry)


def _count_offenders(plan: Plan) -> None:
    """Complete the checks without a query: their offenders are counted, among the rows that ``counted_by`` counts."""
    counts = {entry["name"]: entry["query"] for entry in plan["snapshot"]["counts"]}
    for _, check in all_checks(plan):
        check["examined"] = None
        if check["query"] is None:
            check["examined"] = counts.get(check["counted_by"])
            check["expect"] = {"offending_rows": 0}


def _existing(document: PlanDocument, place: Place, directory: str, path: str) -> str:
    absolute = os.path.normpath(os.path.join(directory, path))
    if not absolute.startswith(directory + os.sep):
        document.complain(place, f"{path} leads out of the plan's directory")
    elif not os.path.isfile(absolute):
        document.complain(place, f"the file {path} does not exist in {directory}")
    return absolute


def _set(plan: Plan, place: Place, value: str) -> None:
    target: Any = plan
    for part in place[:-1]:
        target = target[part]
    target[place[-1]] = value
