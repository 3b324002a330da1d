"""Write a run's report and close the run: what needs the database and the file system beside ``report.py``."""

from __future__ import annotations

import datetime
import os
from collections.abc import Mapping
from typing import Any

from ..errors import RunbookError
from ..journal.runs import close_run, exists
from ..module import write_result
from ..plain import to_plain
from ..private_files import replace_file
from ..session.connection import Cursor, SessionSettings, read_only_snapshot, rows_as_dicts, session
from . import incident
from .report import build, read_results
from .undone import in_lines, read_reversed

CLOSED_BY_REPORT = ("complete", "complete_with_warnings")


def make_report(
    connection_options: Mapping[str, Any],
    run: Mapping[str, Any],
    template: str | None,
    *,
    check_mode: bool,
    incident_template: str | None = None,
) -> dict[str, Any]:
    """Build the report, write it, close the run. See pg_run_report for the result.

    :param template: of report.md; None writes report.json only.
    :param incident_template: likewise of incident.md, for a run that failed or was rolled back.
    """
    facts = {
        "plan_name": run["plan"]["plan"],
        **{key: run[key] for key in ("id", "directory", "plan_hash", "environment", "host", "hosts", "resumed")},
        **{key: run[key] for key in ("pending", "to_apply", "stop_after")},
    }
    journal, unreachable = _read_journal(connection_options, run["id"])
    report = build(facts, read_results(run["directory"]), journal, read_reversed(run["directory"]))
    if unreachable:
        report["warnings"].append(unreachable)
    report["written_at"] = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    report = to_plain(report)
    path = os.path.join(run["directory"], "report.json")
    if check_mode:
        checked = "check mode: nothing was written, anywhere"
        return {"msg": checked, "report": report, "path": "", "incident": "", "summary": [checked, *_would_apply(run)]}
    write_result(path, report)
    if template:
        write_page(os.path.join(run["directory"], "report.md"), template, report)
    kept = _write_incident(report, journal, incident_template) if report["state"] in incident.STATES else ""
    closed = bool(journal.get("open")) and report["state"] in CLOSED_BY_REPORT
    if closed:
        with session(connection_options, SessionSettings(application_name=f"runbook {run['id']}")) as connection:
            close_run(connection, run["id"], report["state"])
    return {
        "changed": closed,
        "msg": f"Run {run['id']} is {report['state'].replace('_', ' ')}; report: {path}",
        "report": report,
        "path": path,
        "incident": kept,
        "summary": summary(report, path, kept),
    }


def _write_incident(report: Mapping[str, Any], journal: Mapping[str, Any], template: str | None) -> str:
    """Write the incident report and keep its evidence. Returns where."""
    directory = incident.directory_of(report)
    evidence = incident.keep_evidence(report["run"]["directory"], directory)
    found = {**incident.build(report, journal), "evidence": evidence}
    write_result(os.path.join(directory, "incident.json"), found)
    if template:
        write_page(os.path.join(directory, "incident.md"), template, found)
    return directory


def write_page(path: str, template: str, report: Mapping[str, Any]) -> None:
    """Write a report for people.

    :raises RunbookError: the template cannot be read or filled in.
    """
    import jinja2  # of ansible-core; only needed here

    folder, name = os.path.split(template)
    try:
        loader = jinja2.FileSystemLoader(folder)
        environment = jinja2.Environment(  # noqa: S701 - Markdown, not HTML
            loader=loader, undefined=jinja2.StrictUndefined, trim_blocks=True, keep_trailing_newline=True
        )
        replace_file(path, environment.get_template(name).render(report=report))
    except jinja2.TemplateError as error:
        raise RunbookError(
            f"{path} cannot be written: {template}: {error}.",
            object_name=template,
            next_command="correct the template; playbooks/report.yml makes the report again",
        ) from error


def summary(report: Mapping[str, Any], path: str, kept: str = "") -> list[str]:
    """The last lines of a run's screen: state, numbers, what comes next."""
    checks = [check["status"] for check in report["checks"]]
    lines = [f"run {report['run']['id']}: {report['state'].replace('_', ' ')}"]
    if report["failure"]:
        lines.append(f"failed in {report['failure']['phase']}: {report['failure']['msg']}")
    lines += in_lines(report)
    if checks:
        before = " before the rollback" if report["state"] == "rolled_back" else ""
        lines.append(
            f"checks{before}: {checks.count('passed')} passed, {checks.count('failed')} failed,"
            f" {checks.count('nothing_to_examine')} with nothing to examine,"
            f" {checks.count('information')} for information"
        )
    if report["trials"]:
        outcomes = [trial["outcome"] for trial in report["trials"]]
        lines.append(
            f"trials: {outcomes.count('passed')} passed, {outcomes.count('failed')} failed,"
            f" {outcomes.count('not_examined')} not examined, {outcomes.count('nothing_to_examine')} without rows"
        )
    lines += [f"warning: {warning}" for warning in report["warnings"]]
    lines += [f"report: {os.path.splitext(path)[0]}.md", *([f"incident: {kept}/incident.md"] if kept else [])]
    return [*lines, f"next: {report['next_command']}"]


def _would_apply(run: Mapping[str, Any]) -> list[str]:
    return [f"would apply {version}" for version in run["to_apply"]] or ["nothing is pending"]


def _read_journal(connection_options: Mapping[str, Any], run_id: str) -> tuple[dict[str, Any], str]:
    """Return events and steps of the run, and why they could not be read (empty when they could)."""
    try:
        wanted = SessionSettings(application_name="runbook report", read_only=True)
        with session(connection_options, wanted) as connection, read_only_snapshot(connection) as cursor:
            if not exists(cursor):
                return {}, ""
            cursor.execute(
                "SELECT state = 'open' AS open, state, started_at, finished_at"
                " FROM migration_runbook.run WHERE run_id = %s",
                (run_id,),
            )
            rows = rows_as_dicts(cursor)
            if not rows:
                return {}, ""
            cursor.execute(
                "SELECT at, phase, status, details FROM migration_runbook.event WHERE run_id = %s ORDER BY id",
                (run_id,),
            )
            events = rows_as_dicts(cursor)
            details = {event["phase"]: event.pop("details") for event in events}
            cursor.execute(
                "SELECT version, direction, step_number, name, kind, state, rows_moved, attempts,"
                " started_at, finished_at, superseded_at FROM migration_runbook.step WHERE run_id = %s ORDER BY id",
                (run_id,),
            )
            steps = rows_as_dicts(cursor)
            found = {**rows[0], "events": events, "steps": [step for step in steps if not step["superseded_at"]]}
            found["superseded_steps"] = [step for step in steps if step["superseded_at"]]
            found["application_away"] = details.get("application_away") or {}
            return {**found, **_beside(cursor, run_id)}, ""
    except RunbookError as error:
        return {}, f"the journal could not be read: {error.msg}"


def _beside(cursor: Cursor, run_id: str) -> dict[str, Any]:
    """Pauses of the run, and repairs since it began; a journal of an earlier version has neither."""
    found: dict[str, Any] = {"pauses": [], "repairs": []}
    cursor.execute(
        "SELECT to_regclass('migration_runbook.pause') IS NOT NULL, to_regclass('migration_runbook.repair') IS NOT NULL"
    )
    pauses, repairs = cursor.fetchone() or (False, False)
    if pauses:
        cursor.execute(
            "SELECT version, signal, reason, started_at, ended_at FROM migration_runbook.pause"
            " WHERE run_id = %s ORDER BY id",
            (run_id,),
        )
        found["pauses"] = rows_as_dicts(cursor)
    if repairs:
        cursor.execute(
            "SELECT at, repair_id, issue, remedy, rows_changed, rows_archived FROM migration_runbook.repair"
            " WHERE run_id = %s ORDER BY at",
            (run_id,),
        )
        found["repairs"] = rows_as_dicts(cursor)
    return found
