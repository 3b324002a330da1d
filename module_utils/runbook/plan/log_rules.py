"""What a plan says of the change log must fit the rest of it."""

from __future__ import annotations

from typing import Any

from .document import PlanDocument


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
