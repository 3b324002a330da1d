"""Decide for each rollback method whether it is possible now, what it loses and how long it takes. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..journal.changes import OVER
from ..journal.runs import playbook_command
from . import losses, rows_of_others

Facts = Mapping[str, Any]

#: Time of revert steps relative to forward steps, measured with a million rows, and the time of the command itself.
REVERSE_SHARE = 1.8
COMMAND_SECONDS = 8.0

#: With this an operator confirms that the new application is stopped.
STOPPED = "-e rollback_application_stopped=true"


def judge(facts: Facts, params: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the methods, the preferred one first."""
    in_place = _restore(facts, params)
    return [_reverse(facts, params), in_place, _swap(facts, in_place), _forward_fix(facts, params)]


def _method(name: str, refused: tuple[str, str] | None, loses: str, seconds: float | None) -> dict[str, Any]:
    why_not, next_command = refused or ("", "")
    return {
        "name": name,
        "possible": refused is None,
        "why_not": why_not,
        "next_command": next_command,
        "loses": loses,
        "seconds": seconds,
    }


def _reverse(facts: Facts, params: Mapping[str, Any]) -> dict[str, Any]:
    archived = "; ".join(f"{entry['rows']} {entry['what']}" for entry in facts["archived_by_reverse"])
    loses = "nothing the application wrote"
    if facts["rows_of_others"]:
        loses = "nothing except the rows of other tables named above; the method is refused while they exist"
    if archived:
        loses += f". A full rollback moves these to the archive, and the next migration restores them: {archived}"
    forward = facts["forward_seconds"]
    seconds = None if forward is None else COMMAND_SECONDS + REVERSE_SHARE * forward
    return _method("reverse", _reverse_refused(facts, params), loses, seconds)


def _reverse_refused(facts: Facts, params: Mapping[str, Any]) -> tuple[str, str] | None:
    run, target = params["run"], params["rollback_to"]
    assessment = playbook_command("rollback.yml", run)
    known = ", ".join(facts["versions"])
    if target and target not in facts["versions"]:
        return f"rollback_to={target} is not a version of the plan; choose one of {known}", (
            f"{assessment} -e method=reverse"
        )
    if target and target not in facts["applied"]:
        return f"migration {target} is not applied, so nothing can be rolled back to it", assessment
    if facts["reversed"] and facts["run_state"] == "open" and not target:
        return None  # the command was killed after the last step: it only has to close the run
    if not facts["to_revert"]:
        return _nothing_to_revert(facts, target, run)
    if not facts["same_plan"]:
        return "the plan's files differ from those of the run", "restore the plan's files of the run"
    if facts["run_state"] in OVER:
        state = facts["run_state"].replace("_", " ")
        return f"run {run['id']} is already {state}", playbook_command("playbooks/status.yml", run)
    if facts["rows_of_others"]:
        found = rows_of_others.to_text(facts["rows_of_others"])
        again = rows_of_others.next_command(facts["rows_of_others"], f"{assessment} -e method=reverse")
        return f"rows of other tables block it: {found}", again
    return _refused_by_application(facts, params)


def _refused_by_application(facts: Facts, params: Mapping[str, Any]) -> tuple[str, str] | None:
    if params["application_stopped"] or not params["plan"]["rollback"]["new_application_writes"]:
        return None
    assessment = playbook_command("rollback.yml", params["run"])
    stop = f"{assessment} -e method=reverse {STOPPED}"
    if _writer_unknown(facts, params):
        return (
            f"writes of the new application cannot be detected: {facts['log_incomplete']}. Stop it, then confirm that",
            stop,
        )
    if facts["new_application_writes"]:
        found = "; ".join(f"{entry['rows']} {entry['meaning']}" for entry in facts["new_application_writes"])
        return (
            f"the new application wrote in the last {params['quiet_seconds']} s: {found}. Deploy the old application "
            "first, then run the same command again. If the new application is already stopped, confirm that",
            stop,
        )
    return None


def _writer_unknown(facts: Facts, params: Mapping[str, Any]) -> bool:
    """Return whether the new application may write to what is undone without a change log that shows it."""
    writes = params["plan"]["rollback"]["new_application_writes"]
    return bool(facts["log_incomplete"]) and any(entry["below"] in facts["to_revert"] for entry in writes)


def waits_for_confirmation(facts: Facts, params: Mapping[str, Any]) -> bool:
    """Return whether the only obstacle to a reverse is a missing confirmation that the application is stopped."""
    refused = _reverse_refused(facts, params)
    return bool(refused and refused == _refused_by_application(facts, params) and _writer_unknown(facts, params))


def _nothing_to_revert(facts: Facts, target: str, run: Mapping[str, Any]) -> tuple[str, str]:
    if facts["restored"]:
        return "the run's backup has been restored", f"{playbook_command('rollback.yml', run)} -e method=restore"
    where = f"nothing after {target}" if target else "nothing of the plan"
    return f"{where} is applied", playbook_command("migrate.yml", run)


def _restore(facts: Facts, params: Mapping[str, Any]) -> dict[str, Any]:
    run, refused = params["run"], None
    if not facts["changed"] and facts["run_state"] != "rolled_back":
        # All differences from the backup are writes of the application.
        refused = (
            f"run {run['id']} has changed nothing, so a restore would only remove what the application has written "
            "since the backup",
            playbook_command("migrate.yml", run),
        )
    elif not facts["backup_is_there"]:
        refused = f"the run has no backup in {run['directory']}", playbook_command("rollback.yml", run)
    elif facts["run_state"] == "rolled_back":
        refused = "the run is already rolled back", playbook_command("playbooks/status.yml", run)
    elif facts["restored"]:
        return _method(
            "restore", None, "nothing: the restore is done; the application's start and the report remain", 0
        )
    elif outside := rows_of_others.left_by_restore(facts["rows_of_others"], params["plan"]):
        # It restores rows without firing triggers, then checks every key: rows of other tables would have no parent.
        refused = (
            f"its check of every foreign key would fail: {rows_of_others.to_text(outside)}",
            rows_of_others.next_command(outside, f"{playbook_command('rollback.yml', run)} -e method=restore"),
        )
    written = facts["written"]
    rows = losses.rows_written(written)
    loses = f"{rows} rows written since the snapshot; the safety backup contains them"
    if written["not_known"]:
        loses = (
            f"every write since the snapshot, number unknown: {written['not_known']}; the safety backup contains them"
        )
    elif rows == 0:
        loses = "nothing: the application has written nothing since the snapshot"
    return _method("restore", refused, loses, facts["restore_seconds"])


def _swap(facts: Facts, in_place: Facts) -> dict[str, Any]:
    """Return the restore of the same backup as a whole new database. Its name continues the option ``method=``."""
    refused = None if in_place["possible"] else (in_place["why_not"], in_place["next_command"])
    loses = "every write since the backup, to any table; the old database and the safety backup contain them"
    return _method("restore -e restore_mode=swap", refused or facts["swap_refused"], loses, facts["restore_seconds"])


def _over(facts: Facts, run: Mapping[str, Any]) -> list[str]:
    """Return the state of a run that is over, and the command for a new one."""
    applied = ", ".join(facts["applied"]) or "nothing"
    ended = "already rolled back" if facts["run_state"] == "rolled_back" else "closed; it had changed nothing"
    return [
        f"Run {run['id']} is {ended}. Nothing was changed. Applied: {applied}",
        f"Report: {run['directory']}/report.md",
        f"Next, once the cause is removed: {facts['next_command']}",
    ]


def _forward_fix(facts: Facts, params: Mapping[str, Any]) -> dict[str, Any]:
    refused = None
    if facts["run_state"] in OVER or not facts["to_revert"]:
        refused = "there is no migration to continue", playbook_command("migrate.yml", params["run"])
    elif facts["half_reverted"]:
        refused = (
            f"migration {', '.join(facts['half_reverted'])} is half reverted; it must be reverted completely first",
            f"{playbook_command('rollback.yml', params['run'])} -e method=reverse",
        )
    elif facts["run_state"] != "open":
        state = facts["run_state"].replace("_", " ")
        refused = (
            f"the run is {state} and cannot be continued (roll back with reverse or restore; playbooks/repair.yml "
            "finds what is wrong with the data)",
            playbook_command("playbooks/verify.yml", params["run"]),
        )
    return _method("forward_fix", refused, "nothing", None)


def lines(facts: Facts, plan: Facts, run: Facts) -> list[str]:
    """Return the assessment as it is printed; the last line is the command to type."""
    if facts["run_state"] in OVER:
        return _over(facts, run)
    titles = {migration["version"]: migration["title"] for migration in plan["migrations"]}
    text = [f"Run {run['id']} is {facts['run_state'].replace('_', ' ')}. Applied:"]
    half = facts["half_reverted"]
    text += [
        f"  {version} {titles[version]}{' (half reverted)' if version in half else ''}" for version in facts["applied"]
    ] or ["  nothing"]
    if facts["rows_of_others"]:
        text += ["Rows of other tables block a reverse:"]
        text += rows_of_others.to_lines(facts["rows_of_others"])
    written = losses.to_lines(facts["written"])
    text += ["The application has written since the snapshot:", *(f"  {line}" for line in written)]
    for method in facts["methods"]:
        possible = "possible now" if method["possible"] else f"not possible now: {method['why_not']}"
        seconds = "not measured" if method["seconds"] is None else f"about {method['seconds']:.0f} s"
        text += [f"{method['name']}: {possible}"]
        if method["name"] == "reverse" and not method["possible"] and not facts["rows_of_others"]:
            text += [f"  next command for it: {method['next_command']}"]
        text += [f"  loses: {method['loses']}", f"  takes: {seconds}"]
    text += [f"{entry['what']}, for example: {', '.join(entry['keys'])}" for entry in facts["archived_by_reverse"]]
    text += [
        "Roll back if the new application cannot serve users and cannot be fixed soon.",
        "Do not roll back because a step waits for a lock, is slow or found bad rows: fix that and resume the run.",
    ]
    if facts["new_application_writes"]:
        text += ["The new application still writes: deploy the old application first."]
    if plan["rollback"]["cannot_be_seen"]:
        text += [f"Not detected as writes of the new application: {plan['rollback']['cannot_be_seen']}"]
    if not facts["changed"] and not facts["to_revert"]:
        text += [
            "This run has changed no table of the plan, so there is nothing to roll back. migrate.yml continues it, "
            "or closes it if the plan's files have changed; playbooks/end_change_log.yml closes it without a new run."
        ]
    return [*text, f"Next: {facts['next_command']}"]
