"""Measure restores in place and by swap with open sessions: their duration and the application's downtime.

Usage: python -m bench.restores [--audio-posts 1000000] [--postgres 17] [--modes in_place swap] [--lock FILE …]
       [--output bench/results/restores.json]
Changes: a temporary server below /tmp; the output file.
For each mode: migrate.yml, rows damaged, rollback.yml -e method=restore while the application writes; then rows and
catalogue are compared with what they were, and the safety backup is restored into a scratch database.
For swap the same dump is also loaded by bare pg_restore -j2: while the application writes, as it does during the swap's
load, and on the idle server.
Exit status 1 when something differs, fails, or swap takes more than 1.15 of bare pg_restore beside the application.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from ansible.module_utils.runbook.backup.tools import find_tool, tool_environment
from support.catalogue import catalogue
from support.modules import run_module
from support.playbooks import Operator
from support.servers import REPOSITORY, SUPERUSER, Options, Server, connect, query

from bench import BENCH
from bench.restore_stage import Application
from bench.server import copy_of, running_server, settle, template
from bench.turn import Turn

JOBS = 2
LIMIT = 1.15
TIMEOUT_SECONDS = 7200
SQL = REPOSITORY / "molecule" / "sql"
PLAN = REPOSITORY / "sql" / "tracks_posts_separation"

# The application writes comments all the time; the restore compares them, this file does not.
ROWS = """
SELECT 'public.posts', count(*), sum(hashtextextended(t::text, 0)) FROM public.posts t
UNION ALL SELECT 'public.tracks', count(*), sum(hashtextextended(t::text, 0)) FROM public.tracks t
UNION ALL SELECT 'public.playlists', count(*), sum(hashtextextended(t::text, 0)) FROM public.playlists t
UNION ALL SELECT 'public.playlist_tracks', count(*), sum(hashtextextended(t::text, 0)) FROM public.playlist_tracks t
UNION ALL SELECT 'auth.users', count(*), sum(hashtextextended(t::text, 0)) FROM auth.users t
"""


def main() -> int:
    """Measure, print and write the result."""
    parser = argparse.ArgumentParser(prog="python -m bench.restores", description=__doc__)
    parser.add_argument("--audio-posts", type=int, default=1_000_000)
    parser.add_argument("--postgres", type=int, default=17)
    parser.add_argument("--modes", nargs="+", choices=["in_place", "swap"], default=["in_place", "swap"])
    parser.add_argument("--lock", nargs="*", default=[], help="files to lock during a measurement")
    parser.add_argument("--output", type=Path, default=BENCH / "results" / "restores.json")
    given = parser.parse_args()
    results: dict[str, Any] = {"audio_posts": given.audio_posts, "postgres": given.postgres}
    turn = Turn(given.lock)
    with running_server(given.postgres, "default") as server, template(server, given.audio_posts, turn) as source:
        for mode in given.modes:
            with turn, tempfile.TemporaryDirectory(prefix="bench-restore-") as directory:
                results[mode] = measure(server, source, mode, Path(directory))
            print(json.dumps({mode: results[mode]}, indent=2), flush=True)
    turn.end()
    given.output.parent.mkdir(parents=True, exist_ok=True)
    given.output.write_text(json.dumps(results, indent=2) + "\n")
    return int(any(results[mode]["problems"] for mode in given.modes))


def measure(server: Server, source: str, mode: str, directory: Path) -> dict[str, Any]:
    """Measure a migration and its restore on a copy of the demo's rows."""
    with copy_of(server, source) as owner:
        script(owner, SQL / "swappable.sql", SQL / "database_level.sql")
        options = {**owner, "user": "swap_owner"}
        before = state(owner)
        application = Application(owner, directory / "application")
        operator = Operator(
            directory, options, database_backup_scope="database" if mode == "swap" else "tables",
            rollback_options={"except_own_role": False}, database_backup_restore_drill=False, **application.hooks(),
        )  # fmt: skip
        typed(operator, "migrate.yml")
        script(owner, SQL / "damage_posts.sql")
        settle(owner)
        with application:
            time.sleep(1)
            started = time.monotonic()
            typed(operator, "rollback.yml", "-e", "method=restore", "-e", f"restore_mode={mode}")
            total = time.monotonic() - started
            time.sleep(1)
        found = {
            "total_seconds": total,
            "away_seconds": application.away_seconds(),
            "longest_gap_seconds": application.longest_gap_seconds(),
            "statements": len(application.done_at),
            "lost_sessions": application.failed,
            **of_results(operator, mode),
        }
        after = state(owner)
        problems = [
            f"{name}: {before[name]} became {after[name]}"[:500] for name in before if after[name] != before[name]
        ]
        problems += safety_backup(operator, options, mode, found)
        if mode == "swap":
            archive = operator.runs()[-1] / "backup" / "data"
            swap_seconds = found["load_seconds"] + found["switch_seconds"]
            settle(owner)
            with Application(owner, directory / "application_beside"):
                found["pg_restore_seconds"] = bare(server, archive)
            settle(owner)
            found["pg_restore_idle_seconds"] = bare(server, archive)
            found["swap_over_pg_restore"] = swap_seconds / found["pg_restore_seconds"]
            found["swap_over_idle_pg_restore"] = swap_seconds / found["pg_restore_idle_seconds"]
            problems += [f"swap took {found['swap_over_pg_restore']:.2f} of pg_restore"] * (
                found["swap_over_pg_restore"] > LIMIT
            )
            server.drop_database({"dbname": found["kept_database"]})
        rounded = {name: round(value, 3) if isinstance(value, float) else value for name, value in found.items()}
        return {**rounded, "problems": problems}


def of_results(operator: Operator, mode: str) -> dict[str, Any]:
    """Return the times that the modules measured."""
    restored = result(operator, "71-restore")
    if mode == "in_place":
        return {name: restored[name] for name in ("load_seconds", "locked_seconds", "lock_attempts")}
    prepared = result(operator, "66-swap_prepare")
    names = ("load_seconds", "analyze_seconds", "verify_seconds", "rows_compared", "schema_lines")
    switched = ("switch_seconds", "rename_seconds", "rename_attempts", "kept_database")
    return {**{name: prepared[name] for name in names}, **{name: restored[name] for name in switched}}


def safety_backup(operator: Operator, options: Options, mode: str, found: dict[str, Any]) -> list[str]:
    """Restore the backup into a scratch database, and return problems."""
    kept = {**options, "dbname": found["kept_database"]} if mode == "swap" else options
    (directory,) = operator.runs()[-1].glob("rollback-*/safety_backup")
    drilled = run_module(
        "pg_restore_drill", connection=kept, backup_directory=str(directory), jobs=JOBS,
        prerequisites_file=str(PLAN / "prerequisites.sql"),
    )  # fmt: skip
    found["safety_backup_restored_seconds"] = drilled["restore_seconds"]
    found["safety_backup_rows"] = sum(drilled["rows"].values())
    return [f"safety backup: {drilled['msg']}"] * bool(drilled["failed"])


def bare(server: Server, archive: Path) -> float:
    """Return the seconds of pg_restore for the same dump, without the triggers whose functions no dump contains."""
    with copy_of(server, "template0", "bare") as options:
        admin = {**options, "user": SUPERUSER}
        tool = str(find_tool("pg_restore", server.major, server.bin_directory))
        environment = tool_environment(admin, "bench")
        listed = subprocess.run([tool, "--list", archive], env=environment, check=True, capture_output=True, text=True)
        entries = archive.parent.parent / "entries.txt"
        entries.write_text("\n".join(line for line in listed.stdout.splitlines() if "runbook_change_log" not in line))
        command = [tool, f"--jobs={JOBS}", f"--use-list={entries}", "--exit-on-error", f"--dbname={options['dbname']}"]
        started = time.monotonic()
        subprocess.run([*command, archive], env=environment, check=True, capture_output=True)
        return time.monotonic() - started


def state(owner: Options) -> dict[str, Any]:
    """Return the hash of every row, and the catalog."""
    rows = query({**owner, "user": SUPERUSER}, ROWS)
    return {**{f"rows of {name}": (count, hashes) for name, count, hashes in rows}, **catalogue(owner)}


def result(operator: Operator, name: str) -> dict[str, Any]:
    """Read a result file of the newest run."""
    found: dict[str, Any] = json.loads((operator.runs()[-1] / "results" / f"{name}.json").read_text())
    return found


def typed(operator: Operator, *arguments: str) -> None:
    """Run a playbook that must succeed."""
    outcome = operator.finish(operator.start(*arguments), TIMEOUT_SECONDS)
    if outcome.status:
        raise SystemExit(f"{' '.join(arguments)} ended with {outcome.status}: {outcome.text[-3000:]}")


def script(options: Options, *paths: Path) -> None:
    """Run SQL files as a superuser."""
    with connect({**options, "user": SUPERUSER}) as connection, connection.cursor() as cursor:
        for path in paths:
            cursor.execute(path.read_text(encoding="utf-8"))


if __name__ == "__main__":
    sys.exit(main())
