"""Each way back: whether it is possible now and why not, what it loses, how long it takes. No database in here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..journal.changes import OVER
from ..journal.runs import playbook_command
from . import losses, rows_of_others

Facts = Mapping[str, Any]

#: Steps back take longer than those forward (measured at a million rows), and the command around them takes its time.
REVERSE_SHARE = 1.8
COMMAND_SECONDS = 8.0

#: What an operator adds to a reverse to say that the new application is stopped.
STOPPED = "-e rollback_application_stopped=true"


def judge(facts: Facts, params: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the methods, the one to prefer first."""
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
        loses = "nothing but the rows of other tables named above, and it is refused while they are there"
    if archived:
        loses += f". With all undone these go to the archive, and come forward again: {archived}"
    forward = facts["forward_seconds"]
    seconds = None if forward is None else COMMAND_SECONDS + REVERSE_SHARE * forward
    return _method("reverse", _reverse_refused(facts, params), loses, seconds)


def _reverse_refused(facts: Facts, params: Mapping[str, Any]) -> tuple[str, str] | None:
    run, target = params["run"], params["rollback_to"]
    assessment = playbook_command("rollback.yml", run)
    known = ", ".join(facts["versions"])
    if target and target not in facts["versions"]:
        return f"rollback_to={target} is no version of the plan; it has {known}", f"{assessment} -e method=reverse"
    if target and target not in facts["applied"]:
        return f"migration {target} is not applied, so nothing can be rolled back to it", assessment
    if facts["reversed"] and facts["run_state"] == "open" and not target:
        return None  # by a command that was killed: only the run is left to be closed
    if not facts["to_revert"]:
        return _nothing_to_revert(facts, target, run)
    if not facts["same_plan"]:
        return "the plan's files are not those of the run", "put the plan's files back as they were"
    if facts["run_state"] in OVER:
        state = facts["run_state"].replace("_", " ")
        return f"run {run['id']} is {state} already", playbook_command("playbooks/status.yml", run)
    if facts["rows_of_others"]:
        found = rows_of_others.to_text(facts["rows_of_others"])
        again = rows_of_others.next_command(facts["rows_of_others"], f"{assessment} -e method=reverse")
        return f"rows of other tables are in its way: {found}", again
    return _refused_by_application(facts, params)


def _refused_by_application(facts: Facts, params: Mapping[str, Any]) -> tuple[str, str] | None:
    if params["application_stopped"] or not params["plan"]["rollback"]["new_application_writes"]:
        return None
    assessment = playbook_command("rollback.yml", params["run"])
    stop = f"{assessment} -e method=reverse {STOPPED}"
    if _writer_unknown(facts, params):
        return (
            f"whether the new application still writes cannot be told: {facts['log_incomplete']}. Stop it, then say so",
            stop,
        )
    if facts["new_application_writes"]:
        found = "; ".join(f"{entry['rows']} {entry['meaning']}" for entry in facts["new_application_writes"])
        return (
            f"the new application wrote in the last {params['quiet_seconds']} s: {found}. First the application, then "
            "the schema: put the old application back, then type the same command again. If it is stopped, say so",
            stop,
        )
    return None


def _writer_unknown(facts: Facts, params: Mapping[str, Any]) -> bool:
    """Return whether the new application may write to what is undone, and no change log would show it."""
    writes = params["plan"]["rollback"]["new_application_writes"]
    return bool(facts["log_incomplete"]) and any(entry["below"] in facts["to_revert"] for entry in writes)


def waits_for_confirmation(facts: Facts, params: Mapping[str, Any]) -> bool:
    """Return whether a reverse is refused for nothing but that nobody has said that the application is stopped."""
    refused = _reverse_refused(facts, params)
    return bool(refused and refused == _refused_by_application(facts, params) and _writer_unknown(facts, params))


def _nothing_to_revert(facts: Facts, target: str, run: Mapping[str, Any]) -> tuple[str, str]:
    if facts["restored"]:
        return "the run's backup is restored", f"{playbook_command('rollback.yml', run)} -e method=restore"
    where = f"nothing after {target}" if target else "nothing of the plan"
    return f"{where} is applied", playbook_command("migrate.yml", run)


def _restore(facts: Facts, params: Mapping[str, Any]) -> dict[str, Any]:
    refused = None
    if not facts["changed"] and facts["run_state"] != "rolled_back":
        # What differs from its backup is the application's work alone.
        refused = (
            f"run {params['run']['id']} has changed nothing, so its backup would only remove what the application "
            "wrote since",
            playbook_command("migrate.yml", params["run"]),
        )
    elif not facts["backup_is_there"]:
        refused = (
            f"the run has no backup in {params['run']['directory']}",
            playbook_command("rollback.yml", params["run"]),
        )
    elif facts["run_state"] == "rolled_back":
        refused = "the run is rolled back already", playbook_command("playbooks/status.yml", params["run"])
    # It puts rows back without firing triggers, then checks every key: rows of other tables would point at nothing.
    outside = rows_of_others.left_by_restore(facts["rows_of_others"], params["plan"])
    if outside and not refused and not facts["restored"]:
        refused = (
            f"its check of every foreign key would fail: {rows_of_others.to_text(outside)}",
            rows_of_others.next_command(
                outside, f"{playbook_command('rollback.yml', params['run'])} -e method=restore"
            ),
        )
    if facts["restored"] and not refused:
        return _method(
            "restore", None, "nothing: it is done, only the start of the application and the report are left", 0
        )
    written = facts["written"]
    rows = losses.rows_written(written)
    loses = f"{rows} rows that the application wrote since; the safety backup has them"
    if written["not_known"]:
        why = f"how many is not known: {written['not_known']}"
        loses = f"every write since; {why}; the safety backup has them"
    elif rows == 0:
        loses = "nothing: the application has written nothing since"
    return _method("restore", refused, loses, facts["restore_seconds"])


def _swap(facts: Facts, in_place: Facts) -> dict[str, Any]:
    """The same backup, as a whole database in the live one's place. Its name is what is typed after ``method=``."""
    refused = None if in_place["possible"] else (in_place["why_not"], in_place["next_command"])
    loses = "every write since to any table of the database; the old database stays, and its safety backup"
    return _method("restore -e restore_mode=swap", refused or facts["swap_refused"], loses, facts["restore_seconds"])


def _over(facts: Facts, run: Mapping[str, Any]) -> list[str]:
    """There is nothing to choose from any more: what became of it, and how to begin anew."""
    applied = ", ".join(facts["applied"]) or "nothing"
    ended = "rolled back already" if facts["run_state"] == "rolled_back" else "closed; it had changed nothing"
    return [
        f"Run {run['id']} is {ended}. Nothing was changed. Applied: {applied}",
        f"How it ended: {run['directory']}/report.md",
        f"Next, once the cause is removed: {facts['next_command']}",
    ]


def _forward_fix(facts: Facts, params: Mapping[str, Any]) -> dict[str, Any]:
    refused = None
    if facts["run_state"] in OVER or not facts["to_revert"]:
        refused = "there is nothing to go on with", playbook_command("migrate.yml", params["run"])
    elif facts["half_reverted"]:
        refused = (
            f"migration {', '.join(facts['half_reverted'])} is half reverted; nothing can be built on what is left",
            f"{playbook_command('rollback.yml', params['run'])} -e method=reverse",
        )
    elif facts["run_state"] != "open":
        state = facts["run_state"].replace("_", " ")
        refused = (
            f"the run is {state}, so there is nothing to go on with (the ways back are reverse and restore; "
            "playbooks/repair.yml finds what is wrong with the data)",
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
        text += ["Rows of other tables are in the way of a reverse:"]
        text += rows_of_others.to_lines(facts["rows_of_others"])
    text += ["The application wrote since:", *(f"  {line}" for line in losses.to_lines(facts["written"]))]
    for method in facts["methods"]:
        possible = "possible now" if method["possible"] else f"not possible now: {method['why_not']}"
        seconds = "not measured" if method["seconds"] is None else f"about {method['seconds']:.0f} s"
        text += [f"{method['name']}: {possible}"]
        if method["name"] == "reverse" and not method["possible"] and not facts["rows_of_others"]:
            text += [f"  next command for it: {method['next_command']}"]
        text += [f"  loses: {method['loses']}", f"  takes: {seconds}"]
    text += [f"{entry['what']}, for example: {', '.join(entry['keys'])}" for entry in facts["archived_by_reverse"]]
    text += [
        "Roll back when the new application cannot serve and cannot be mended soon.",
        "Do not when a step waits for a lock, is slow or found bad rows: the run can be mended and resumed.",
    ]
    if facts["new_application_writes"]:
        text += ["The new application still writes: put the old one back first."]
    if plan["rollback"]["cannot_be_seen"]:
        text += [f"Not seen as writes of the new application: {plan['rollback']['cannot_be_seen']}"]
    if not facts["changed"] and not facts["to_revert"]:
        text += [
            "This run has changed no table of the plan, so there is nothing to roll back. migrate.yml goes on with it, "
            "or closes it where the plan's files have changed; playbooks/end_change_log.yml closes it without a "
            "new run."
        ]
    return [*text, f"Next: {facts['next_command']}"]
