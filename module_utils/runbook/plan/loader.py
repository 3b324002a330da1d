"""Load a plan: a directory with plan.yml and the SQL files it names."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from typing import Any

from .document import Place, PlanDocument, files_in, fill_defaults
from .schema import PLAN
from .schema_parts import A_VERSION, check_trials, check_writes

PLAN_FILE = "plan.yml"

Plan = dict[str, Any]


def load_plan(directory: str) -> Plan:
    """Read and validate a plan, and fill in its defaults.

    :returns: plan.yml as a dict with every optional key present, every path absolute, ``file``, ``revert_file`` and
        ``revert_functions`` of each migration, ``directory`` and ``plan_hash``.
    :raises RunbookError: all errors of the plan, each with file, line and key.
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
    _check_tables(document, plan)
    check_trials(document, plan)
    check_writes(document, plan)
    _find_files(document, plan, directory)
    document.refuse()
    _count_offenders(plan)
    _add_repairs_to_troubleshooting(plan)
    plan["directory"] = directory
    plan["plan_hash"] = plan_hash(directory)
    return plan


def plan_hash(directory: str) -> str:
    """Return the SHA-256 over every file of the plan, by relative path and content; hidden files are left out."""
    digest = hashlib.sha256()
    for path in sorted(_files_below(directory)):
        with open(os.path.join(directory, path), "rb") as file:
            content = file.read()
        digest.update(f"{path}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()


def all_checks(plan: Plan) -> list[tuple[Place, dict[str, Any]]]:
    """Return every check of the plan with its place; the checks of migrations come first."""
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
    """Require each name once in its list: results, counts and messages refer to entries by name."""
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
                document.add_error((*place, number, key), f"{entry[key]} is used twice, first in line {line}")
            first.setdefault(entry[key], number)


def _check_migrations(document: PlanDocument, plan: Plan) -> None:
    """Require ascending versions, ordered volume classes, and expected minutes for exactly these classes."""
    classes = plan["volume"]["classes"]
    bounds = [entry["below_rows"] for entry in classes]
    if bounds[-1] is not None:
        document.add_error(("volume", "classes", len(classes) - 1), "the last class takes the rest: remove below_rows")
    for number, bound in enumerate(bounds[:-1]):
        before = bounds[number - 1] if number else 0
        if bound is None or (before is not None and bound <= before):
            document.add_error(("volume", "classes", number), "give below_rows, higher than in the class before")
    names = {entry["name"] for entry in classes}
    last = ""
    for number, migration in enumerate(plan["migrations"]):
        place: Place = ("migrations", number)
        if migration["version"] <= last:
            document.add_error((*place, "version"), f"{migration['version']} does not come after {last}")
        last = migration["version"]
        minutes = migration["expected_minutes"]
        if minutes and set(minutes) != names:
            document.add_error((*place, "expected_minutes"), f"give minutes for each of {', '.join(sorted(names))}")
        for name, (low, high) in minutes.items():
            if low > high:
                document.add_error((*place, "expected_minutes", name), f"{low} minutes is more than {high}")


def _check_check(document: PlanDocument, place: Place, check: dict[str, Any], counts: set[str]) -> None:
    """Require that a check expects something of its row, or counts offenders."""
    document.require((*place, "counted_by"), check["counted_by"], counts, "in snapshot.counts")
    if check["query"] is None:
        if check["offenders"] is None or check["counted_by"] is None or check["expect"] or check["informational"]:
            document.add_error(place, "a check without query has offenders and counted_by, and no expect")
    elif not check["expect"] and not check["informational"]:
        document.add_error(place, "a check without expect proves nothing: give expect, or informational: true")


def _check_references(document: PlanDocument, plan: Plan) -> None:
    """Require that the names which one part of the plan uses exist in the other part."""
    counts = {entry["name"] for entry in plan["snapshot"]["counts"]}
    versions = {entry["version"] for entry in plan["migrations"]}
    checks = all_checks(plan)
    for place, check in checks:
        _check_check(document, place, check, counts)
    lists: list[tuple[str, str, str]] = [
        ("requirements", "preconditions", "until"),
        ("rollback", "new_application_writes", "below"),
    ]
    for part, name, key in lists:
        for number, entry in enumerate(plan[part][name]):
            document.require((part, name, number, key), entry[key], versions, A_VERSION)
    document.require(("retirement", "after"), (plan["retirement"] or {}).get("after"), versions, A_VERSION)
    known = {"checks": {check["name"] for _, check in checks}, "failed_migrations": versions}
    known["slow_migrations"] = versions
    for part in ("troubleshooting", "repairs"):
        for number, entry in enumerate(plan[part]):
            for key, names in known.items():
                for at, name in enumerate((entry["when"] or {}).get(key, ())):
                    document.require((part, number, "when", key, at), name, names, "in the plan")


def _check_tables(document: PlanDocument, plan: Plan) -> None:
    """Require that change log, fingerprints and repairs fit the protected tables and the archive."""
    protected = {entry["table"] for entry in plan["protected_tables"]}
    for part in ("change_log", "repairs"):
        for number, entry in enumerate(plan[part]):
            document.require((part, number, "table"), entry["table"], protected, "in protected_tables")
    for number, entry in enumerate(plan["snapshot"]["fingerprints"]):
        if entry.get("table") and entry["by_application"] is not None:
            place = ("snapshot", "fingerprints", number, "by_application")
            document.add_error(place, "belongs to a fingerprint of a query; the change log covers tables")
    if plan["repairs"] and plan["archive"] is None:
        document.add_error(("repairs",), "the plan needs an archive for rows that a repair removes")


def _find_files(document: PlanDocument, plan: Plan, directory: str) -> None:
    """Make every path absolute; report files that are missing, outside the plan's directory, or not in the plan."""
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
                # `supabase db push` would apply it all the same.
                document.add_error(("migrations",), f"{folder}/{name} exists and is not in the plan")


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
        document.add_error(place, f"{path} is outside the plan's directory")
    elif not os.path.isfile(absolute):
        document.add_error(place, f"the file {path} does not exist in {directory}")
    return absolute


def _set(plan: Plan, place: Place, value: str) -> None:
    target: Any = plan
    for part in place[:-1]:
        target = target[part]
    target[place[-1]] = value
