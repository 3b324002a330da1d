"""The survey as one more check of a verification: what a later release of the application put in the plan's way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...session.connection import Cursor, Stopwatch
from .survey import survey_again

NAME = "survey"


def survey_check(
    cursor: Cursor, plan: Mapping[str, Any], settings: Mapping[str, Any], accepted: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """Survey the schema and return it as the result of a check; blocking findings are its offending rows."""
    stopwatch = Stopwatch()
    findings = survey_again(cursor, plan, "applied", accepted, settings)
    offenders = [
        {"finding": finding.name, "object": finding.object, "found": finding.found, "repair": finding.repair}
        for finding in findings
        if finding.severity == "blocking"
    ]
    return {
        "name": NAME,
        "title": "The schema holds nothing that the plan cannot work with",
        "query": "",
        "query_file": "",
        "expectation": "blocking = 0",
        "observed": {"blocking": len(offenders)},
        "rows_examined": len(plan["protected_tables"]),
        "seconds": stopwatch.seconds(),
        "status": "failed" if offenders else "passed",
        "why": f"found {', '.join(str(entry['finding']) for entry in offenders)}" if offenders else "",
        "error": "",
        "sqlstate": "",
        "offenders": offenders,
        "offenders_total": len(offenders),
    }
