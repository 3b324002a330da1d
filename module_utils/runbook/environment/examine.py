"""Run all examinations in one read-only transaction and return every finding at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from ..database.connection import SessionSettings
from ..database.pooler import PoolerError
from ..database.readers import for_reading, readers
from ..errors import RunbookError
from ..verification.findings import Finding, in_order, to_text
from ..verification.trials.outcome import Result
from . import (
    activity,
    connection,
    data,
    disk,
    drill,
    history,
    objects,
    privileges,
    references,
    replication,
    requirements,
    server,
)
from .survey import survey
from .trials import examine_trials
from .view import View, refusal_as_finding

Examination = Callable[[View], Iterator[Finding]]

#: Where one of these has a blocking finding, nothing is tried in the database, not even to be rolled back.
OF_THE_SERVER: tuple[Examination, ...] = (
    server.examine_identity,
    connection.examine_tls,
    connection.examine_read_only,
)

#: In the order of interest to an operator. Those before ``examine_history`` need no table of the plan.
EXAMINATIONS: tuple[Examination, ...] = (
    connection.examine_client_environment,
    connection.examine_overridden_parameters,
    server.examine_server,
    server.examine_tools,
    server.examine_timeouts,
    requirements.examine_settings,
    requirements.examine_extensions,
    requirements.examine_tables,
    privileges.examine_ownership,
    privileges.examine_create,
    privileges.examine_replica_role,
    history.examine_history,
    history.examine_files,
    activity.examine_transactions,
    activity.examine_prepared,
    activity.examine_locks,
    objects.examine_indexes,
    objects.examine_constraints,
    survey.examine_survey,
    references.examine_references,
    drill.examine_drill,
    data.examine_volume,
    data.examine_data,
    replication.examine_publications,
    replication.examine_slots,
    replication.examine_synchronous_commit,
    disk.examine_disk,
)


def examine(params: dict[str, Any], *, check_mode: bool = False) -> dict[str, Any]:
    """Return the findings and facts about a database.

    :param params: the options of the module.
    :param check_mode: insert no sample rows and run no trials.
    :raises RunbookError: the connection failed.
    """
    wanted = SessionSettings(
        application_name="runbook pg_environment_info",
        statement_timeout_seconds=params["statement_timeout_seconds"],
    )
    wanted = for_reading(wanted, params["work_memory_megabytes"])
    try:
        with readers(params["connection"], wanted, params["sessions"]) as side_by_side:
            view = View(
                cursor=side_by_side.first,
                plan=params["plan"],
                settings=params["plan_settings"],
                expected={**params["expected"], "tls": params["tls"]},
                thresholds=params["thresholds"],
                disk={name: params[name] for name in ("free_disk_bytes", "disk_path")},
                options=params["connection"],
                tools_directory=params["tools_directory"],
                accepted_versions=tuple(params["accepted_versions"]),
                unpublish=params["unpublish_during_backfill"],
                accepted=tuple(params["accept"]),
                drill=params["drill"],
                scratch=params["scratch_connection"],
                side_by_side=side_by_side,
            )
            server.read_server(view)
            history.read_history(view)
            findings = _found(view, OF_THE_SERVER)
            view.sampling = not check_mode and not any(finding.severity == "blocking" for finding in findings)
            findings += _found(view, EXAMINATIONS)
    except PoolerError as error:
        harm = "a lock or a setting would last for one statement only, or stay in a session of the application"
        finding = Finding("transaction_pooler", "blocking", error.object_name, error.msg, harm, error.next_command)
        return facts_of([finding], {})
    tried: list[Finding] = []
    results: list[Result] = []
    if view.sampling or check_mode:
        tried, results = examine_trials(params, view.facts.get("applied", []), check_mode=check_mode)
    return facts_of([*findings, *tried], {**view.facts, "trials": [result.as_dict() for result in results]})


def facts_of(findings: list[Finding], facts: dict[str, Any]) -> dict[str, Any]:
    """Return the result keys, the same for a success and a failure."""
    ordered = in_order(findings)
    counts = {severity: sum(entry.severity == severity for entry in ordered) for severity in ("blocking", "warning")}
    listed = f":\n{to_text(ordered)}" if ordered else ""
    return {
        "msg": f"{len(ordered)} findings, {counts['blocking']} blocking{listed}",
        "findings": [finding.as_dict() for finding in ordered],
        "blocking": [finding.name for finding in ordered if finding.severity == "blocking"],
        "server": facts.get("server", {}),
        "volume": facts.get("volume", {"rows": None, "class": ""}),
        "applied": facts.get("applied", []),
        "pending": facts.get("pending", []),
        "trials": facts.get("trials", []),
        "disk": facts.get("disk", {"protected_tables_bytes": None, "needed_bytes": None, "free_bytes": None}),
    }


def refuse_blocking(facts: dict[str, Any]) -> None:
    """Raise one error with every finding if one of them is blocking.

    :raises RunbookError: with ``facts`` as result keys.
    """
    if facts["blocking"]:
        raise RunbookError(
            f"environment verification found blocking problems. {facts['msg']}\n",
            object_name=", ".join(dict.fromkeys(facts["blocking"])),
            next_command="correct what is marked as blocking above, then run the same command again",
            facts={key: value for key, value in facts.items() if key != "msg"},
        )


def _found(view: View, examinations: Sequence[Examination]) -> list[Finding]:
    return [
        finding
        for examination in examinations
        for finding in refusal_as_finding(
            examination.__name__.removeprefix("examine_"), view.cursor, partial(examination, view)
        )
    ]
