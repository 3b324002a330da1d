"""Write a run's report and close the run: what needs database and file system, beside ``report.py``."""

from __future__ import annotations

import datetime
import os
from collections.abc import Mapping
from typing import Any

import psycopg2

from ..database.connection import SessionSettings, session
from ..errors import RunbookError
from ..evidence.change_log_end import end_refused
from ..journal.changes import ABANDONED
from ..journal.runs import close_run
from ..module import write_result
from ..plain import to_plain
from ..private_files import replace_file
from ..report import incident, markdown
from ..report.failure import read_reversed, to_lines
from ..report.report import build, read_results
from ..visible import printable
from .journal_of_run import read_journal

CLOSED_BY_REPORT = ("complete", "complete_with_warnings")

#: States of a command that ended before its run changed a table of the plan: the run is closed then.
REFUSED = ("refused", "failed", "interrupted")


def make_report(
    connection_options: Mapping[str, Any],
    run: Mapping[str, Any],
    template: str | None,
    *,
    check_mode: bool,
    incident_template: str | None = None,
    ends_refused: bool = False,
) -> dict[str, Any]:
    """Build the report, write it, and close the run. See pg_run_report for the result.

    :param template: of report.md; None writes report.json only.
    :param incident_template: likewise of incident.md, for a run that failed or was rolled back.
    :param ends_refused: close a run that failed before it changed a table of the plan.
    """
    facts = {
        "plan_name": run["plan"]["plan"],
        **{key: run[key] for key in ("id", "directory", "plan_hash", "environment", "host", "hosts", "resumed")},
        **{key: run[key] for key in ("pending", "to_apply", "stop_after")},
    }
    journal, unreachable = read_journal(connection_options, run["id"])
    report = build(facts, read_results(run["directory"]), journal, read_reversed(run["directory"]))
    if unreachable:
        report["warnings"].append(unreachable)
    ended = ends_refused and not check_mode and _end_refused(connection_options, report, journal)
    report["written_at"] = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    report = printable(to_plain(report))
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
        "changed": closed or ended,
        "msg": f"Run {run['id']} is {report['state'].replace('_', ' ')}; report: {path}",
        "report": report,
        "path": path,
        "incident": kept,
        "summary": summary(report, path, kept),
    }


def _end_refused(options: Mapping[str, Any], report: dict[str, Any], journal: Mapping[str, Any]) -> bool:
    """Close a run that was refused before it changed a table of the plan. Return whether it is closed.

    A run that the operator aborted stays open, and the same command continues it.
    """
    if not journal.get("open") or journal["changed"] or journal["aborted"] or report["state"] not in REFUSED:
        return False
    failure = report["failure"] or {}
    try:
        end_refused(options, report["run"]["id"], failure.get("msg") or "a task failed")
    except (RunbookError, psycopg2.Error) as error:
        why = error.msg if isinstance(error, RunbookError) else str(error).strip()
        report["warnings"].append(f"the run has changed no table of the plan and could not be closed: {why}")
        return False
    report["state"] = "refused"
    report["journal"]["state"] = ABANDONED
    return True


def _write_incident(report: Mapping[str, Any], journal: Mapping[str, Any], template: str | None) -> str:
    """Write the incident report and keep its evidence. Return its path."""
    directory = incident.directory_of(report)
    evidence = incident.keep_evidence(report["run"]["directory"], directory)
    found = {**incident.build(report, journal), "evidence": evidence}
    write_result(os.path.join(directory, "incident.json"), found)
    if template:
        write_page(os.path.join(directory, "incident.md"), template, found)
    return directory


def write_page(path: str, template: str, report: Mapping[str, Any]) -> None:
    """Write a report from its template.

    :raises RunbookError: the template cannot be read or filled in.
    """
    import jinja2  # of ansible-core; only needed here

    folder, name = os.path.split(template)
    try:
        loader = jinja2.FileSystemLoader(folder)
        environment = jinja2.Environment(  # noqa: S701 - Markdown, not HTML
            loader=loader,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            keep_trailing_newline=True,
            finalize=markdown.text,
        )
        environment.filters |= markdown.FILTERS
        replace_file(path, environment.get_template(name).render(report=report))
    except jinja2.TemplateError as error:
        raise RunbookError(
            f"{path} cannot be written: {template}: {error}.",
            object_name=template,
            next_command="correct the template; playbooks/report.yml writes the report again",
        ) from error


def summary(report: Mapping[str, Any], path: str, kept: str = "") -> list[str]:
    """Return the last lines of a run's screen: state, numbers, next command."""
    checks = [check["status"] for check in report["checks"]]
    lines = [f"run {report['run']['id']}: {report['state'].replace('_', ' ')}"]
    if report["failure"]:
        lines.append(f"failed in {report['failure']['phase']}: {report['failure']['msg']}")
    if report["journal"].get("state") == ABANDONED:
        lines.append("the run is closed: it has changed no table of the plan, and its change log is removed")
    lines += to_lines(report)
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
