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
