"""Before a migration or its reverse begins: does the schema hold anything that the plan cannot work with, by now?"""

from __future__ import annotations

from ..environment.survey.survey import refuse_blocking, survey_again
from ..session.connection import Connection, read_only_snapshot
from .call import Call


def require_known_schema(call: Call, connection: Connection, *, begun: bool) -> None:
    """Survey the tables that the plan writes: others may have deployed since the last look.

    :param begun: whether steps of this migration are done already.
    :raises RunbookError: a blocking finding that the inventory does not accept.
    """
    with read_only_snapshot(connection) as cursor:
        findings = survey_again(
            cursor, call.plan, call.direction, call.params.get("accept") or [], call.params["settings"]
        )
    call.result["findings"] = [finding.as_dict() for finding in findings]
    verb = "migration" if call.direction == "applied" else "the reverse of"
    refuse_blocking(
        findings,
        f"{verb} {call.result['version']}",
        "resumable" if begun else "unchanged",
        call.resume_command or "the same task again",
        call.result,
    )
