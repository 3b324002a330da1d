"""Write the lines of status.yml, monitor.yml and the issue takes_too_long."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping
from typing import Any

Facts = Mapping[str, Any]

#: Without a heartbeat for this long a run counts as inactive, even with a lease.
ALIVE_SECONDS = 10


def status_lines(run: Facts, history: Facts, journal: Facts, change_log: Facts) -> Iterator[str]:
    """Yield what is applied and open, what the application wrote, and the next command.

    :param run: as pg_run_info returns it.
    """
    half_reverted = [row["version"] for row in history["migrations"] if row["partial"] == "reverted"]
    restored = _half_restored(journal)
    yield from (_migration(row) for row in history["migrations"])
    yield from _run(run, journal)
    if journal["lease"].get("in_use"):
        lease = journal["lease"]
        age = lease["heartbeat_age_seconds"]
        yield f"run {lease['run_id']} is writing now ({lease['holder']}, last heartbeat {age} s ago)"
    commits = [event for event in journal["events"] if event["phase"] in ("commit_unconfirmed", "commit_confirmed")]
    if commits and commits[-1]["phase"] == "commit_unconfirmed":
        yield f"{commits[-1]['details']['object']}: committed here, not confirmed by a standby ({commits[-1]['at']})"
    yield from _written(change_log)
    yield from journal["summary"]
    yield from _new_application(run, half_reverted)
    if restored:
        left = "the rollback is not complete: it starts the application and closes the run"
        yield f"the backup of run {_newest(journal)['run_id']} is restored, and {left}"
    yield f"next: {_next(run, journal, half_reverted, restored)}"


def monitor_lines(journal: Facts, now: datetime.datetime) -> Iterator[str]:
    """Yield the progress of the open run."""
    if open_run := journal["open_run"]:
        nobody = "" if journal["lease"].get("in_use") else ": no session is writing now"
        yield f"{now:%H:%M:%S} run {open_run['run_id']}{nobody}"
    else:
        newest = next((f"{run['run_id']} is {run['state']}" for run in journal["runs"]), "there has never been one")
        yield f"{now:%H:%M:%S} no run is open: {newest}"
    yield from journal["summary"]
    for entry in journal["progress"]:
        if entry["version"] != journal["running"].get("version"):
            yield f"{entry['version']} {entry['title']}: {_how_far(entry)}"


def too_long_lines(run: Facts, journal: Facts, now: datetime.datetime) -> Iterator[str]:
    """Yield the progress, the sessions, and the time of each migration with the expected time."""
    yield from monitor_lines(journal, now)
    for session in journal["activity"]:
        phase = f", {session['phase']}" if session["phase"] else ""
        waits = session["waits_for"] or "nothing"
        seconds = f"{session['seconds']} s in this statement"
        yield f"session {session['pid']}: {seconds}, waits for {waits}{phase}: {session['query']}"
    verified = [event["details"] for event in journal["events"] if event["phase"] == "environment_verified"]
    size = ((verified[-1] if verified else {}).get("volume") or {}).get("class", "")
    work: dict[str, float] = {}
    for step in journal["steps"]:
        if not step["superseded_at"]:
            work[step["version"]] = work.get(step["version"], 0.0) + float(step["seconds"]) / 60
    expectations = {one["version"]: one.get("expected_minutes") or {} for one in run["plan"]["migrations"]}
    for version, minutes in sorted(work.items()):
        expected = expectations.get(version, {}).get(size)
        yield f"{version}: {minutes:.1f} minutes of work so far{_expected(minutes, expected, size)}"
    if journal["lease"].get("in_use"):
        yield "next: wait while rows move; ansible-playbook playbooks/monitor.yml follows"
    elif journal["open_run"]:
        yield "next: no session is writing; ansible-playbook migrate.yml resumes the run"
    else:
        yield "next: nothing to do; no run is open"


def _newest(journal: Facts) -> Facts:
    newest: Facts = journal["open_run"] or next(iter(journal["runs"]), {})
    return newest


def _half_restored(journal: Facts) -> Facts:
    """Return the event of a committed restore that nothing of its run followed, else None."""
    restored: Facts = next((event for event in reversed(journal["events"]) if event["phase"] == "restored"), {})
    if not restored or _newest(journal).get("state") == "rolled_back":
        return {}
    return {} if any(step["started_at"] > restored["at"] for step in journal["steps"]) else restored


def _migration(row: Facts) -> str:
    state = f"half {row['partial']}" if row["partial"] else "applied" if row["remote"] else "pending"
    edited = "  EDITED SINCE" if row["drift"] == "edited" else ""
    disagreement = f"  {row['disagreement']}" if row["disagreement"] else ""
    return f"{row['version']}  {state}  {row['name']}{edited}{disagreement}"


def _run(run: Facts, journal: Facts) -> Iterator[str]:
    if open_run := journal["open_run"]:
        done = ", ".join(run["phases_done"]) or "nothing yet"
        yield f"run {open_run['run_id']} has been open since {open_run['started_at']}; done: {done}"
        if run["begun_elsewhere"]:
            yield run["begun_elsewhere"]
    elif journal["runs"]:
        newest = journal["runs"][0]
        abandoned = " (it changed no table of the plan)" if newest["state"] == "abandoned" else ""
        yield f"newest run {newest['run_id']}: {newest['state']}{abandoned}, finished {newest['finished_at']}"
    else:
        yield "this database has never had a run"


def _written(change_log: Facts) -> Iterator[str]:
    if not change_log["exists"]:
        return
    written = [table for table in change_log["tables"] if table["changes"]]
    yield f"written by the application since {change_log['since']}: {'' if written else 'nothing'}".rstrip()
    for table in written:
        rows = f"{table['inserted']} rows inserted, {table['updated']} updated, {table['deleted']} deleted"
        truncated = ", TRUNCATED" if table["truncations"] else ""
        yield f"  {table['table']}: {rows}{truncated}, last at {table['last_at']}"


def _new_application(run: Facts, half_reverted: list[str]) -> Iterator[str]:
    after = run["plan"].get("new_application_after")
    if not after:
        return
    if half_reverted:
        yield f"the new application must not run: migration {', '.join(half_reverted)} is half reverted"
    elif after in run["applied"]:
        yield "the new application may start"
    else:
        yield f"the new application must wait for migration {after}"


def _next(run: Facts, journal: Facts, half_reverted: list[str], restored: Facts) -> str:
    local = run["environment"] == "local"
    target = "" if local else f" -i inventories/{run['environment']} -e confirm={run['host']}"
    if journal["lease"].get("in_use") and float(journal["lease"]["heartbeat_age_seconds"]) < ALIVE_SECONDS:
        watches = f"ansible-playbook playbooks/monitor.yml{target} watches it"
        return f"{watches}; playbooks/control.yml controls it (-e control=resume ends a pause)"
    if restored:
        swap = " -e restore_mode=swap" if restored["details"].get("mode") == "swap" else ""
        return f"ansible-playbook rollback.yml{target} -e method=restore{swap}"
    if half_reverted:
        return f"ansible-playbook rollback.yml{target} -e method=reverse"
    if run["begun_elsewhere"]:
        return f"the same command with -i inventories/{journal['open_run']['environment']}"
    if run["pending"]:
        return f"ansible-playbook migrate.yml{target}"
    return "nothing is pending; playbooks/verify.yml runs every check"


def _how_far(entry: Facts) -> str:
    if entry["applied"]:
        return "applied"
    if entry["problem"]:
        return str(entry["problem"])
    percent = "" if entry["percent"] is None else f" ({entry['percent']} %)"
    return f"{entry['rows_done']} of {entry['rows_total']} rows{percent}"


def _expected(minutes: float, expected: list[float] | None, size: str) -> str:
    if not expected:
        return ""
    judged = "longer than expected" if minutes > expected[1] else "within the expected duration"
    return f"; the guide expects {expected[0]} to {expected[1]} for a {size} database: {judged}"
