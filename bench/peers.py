"""Measure other tools with the same migration files where possible."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible.module_utils.runbook.embedded.binaries import locate
from ansible.module_utils.runbook.plan.loader import load_plan
from psycopg2 import sql
from support.servers import REPOSITORY, SUPERUSER, Options, connect, value

from . import peer_files
from .contenders import PLAN_DIRECTORY, NotBuiltError, Outcome

CACHE = REPOSITORY / ".cache" / "peers"

#: Settings that our files require, without timeouts of a role: the same for every peer.
SETTINGS = {
    "tracks_posts_separation.migrated_tracks_are_public": "true",
    "tracks_posts_separation.whole_table_limit_rows": "1000000000",
    "statement_timeout": "0",
}


@dataclass(frozen=True)
class Peer:
    """A tool, and how to find, prepare and run it.

    :param install: the command that installs it where it is missing.
    :param command: makes the files it needs in a directory, and returns the command that applies them.
    """

    title: str
    install: str
    program: Callable[[], str | None]
    command: Callable[[str, Options, Path], list[str]]


def run_peer(name: str) -> Callable[[Options, float], Outcome]:
    """Return the contender that applies our four files with a peer."""

    def contender(options: Options, limit_seconds: float) -> Outcome:
        with tempfile.TemporaryDirectory(prefix="bench-peer-") as directory:
            command, environment = prepare(name, options, Path(directory))
            started = time.monotonic()
            try:
                ran = subprocess.run(
                    command, cwd=directory, env=environment, capture_output=True, text=True, timeout=limit_seconds,
                    check=False, stdin=subprocess.DEVNULL,
                )  # fmt: skip
            except subprocess.TimeoutExpired:
                return Outcome(limit_seconds, failure=f"not done after {limit_seconds:g} s")
            seconds = time.monotonic() - started
        said = f"{ran.stdout}\n{ran.stderr}".strip()
        left = value(
            {**options, "user": SUPERUSER},
            "SELECT count(*) FILTER (WHERE convalidated) FROM pg_constraint"
            " WHERE conname IN ('audio_posts_must_have_track', 'playlist_tracks_track_id_fkey')",
        )
        failure = f"status {ran.returncode}: {said[-1000:]}" if ran.returncode or left != 2 else ""
        return Outcome(seconds, failure=failure)

    return contender


def prepare(name: str, options: Options, directory: Path) -> tuple[list[str], dict[str, str]]:
    """Give the database the settings, write the peer's files, and return its command and environment.

    :raises NotBuiltError: the tool is not installed; the message holds the command that installs it.
    """
    peer = PEERS[name]
    program = peer.program()
    if program is None:
        raise NotBuiltError(f"{peer.title} is missing; install it: {peer.install}")
    with connect({**options, "user": SUPERUSER}) as connection, connection.cursor() as cursor:
        for setting, wanted in SETTINGS.items():
            cursor.execute(
                sql.SQL("ALTER ROLE {} IN DATABASE {} SET {} = {}").format(
                    sql.Identifier(options["user"]),
                    sql.Identifier(options["dbname"]),
                    sql.Identifier(*setting.split(".")),
                    sql.Literal(wanted),
                )
            )
    names = {"HOME": str(directory), "SQITCH_FULLNAME": "bench", "SQITCH_EMAIL": "bench@example.org"}
    environment = {**os.environ, **names, "LC_ALL": "C.UTF-8", "SUPABASE_TELEMETRY_DISABLED": "1"}
    return peer.command(program, options, directory), environment


def _npm(name: str) -> Callable[[], str | None]:
    def find() -> str | None:
        path = CACHE / "node_modules" / ".bin" / name
        return str(path) if path.exists() else None

    return find


def _psql() -> str | None:
    found = Path(locate(17).bin_directory) / "psql"
    return str(found) if found.exists() else shutil.which("psql")


def _migrations() -> list[Mapping[str, Any]]:
    migrations: list[Mapping[str, Any]] = load_plan(str(PLAN_DIRECTORY))["migrations"]
    return migrations


def _run_psql(program: str, options: Options, _directory: Path) -> list[str]:
    files = [f"--file={migration['file']}" for migration in _migrations()]
    target = [f"--host={options['host']}", f"--port={options['port']}", f"--username={options['user']}"]
    return [
        program,
        "--no-psqlrc",
        "--quiet",
        "--set=ON_ERROR_STOP=1",
        *target,
        f"--dbname={options['dbname']}",
        *files,
    ]


def _run_supabase(program: str, options: Options, directory: Path) -> list[str]:
    peer_files.for_supabase(_migrations(), directory)
    return [program, "db", "push", "--yes", "--workdir", str(directory), f"--remote={_url('postgresql', options)}"]


def _run_dbmate(program: str, options: Options, directory: Path) -> list[str]:
    peer_files.for_dbmate(_migrations(), directory)
    return [program, "--url", _url("postgres", options), "--migrations-dir", str(directory), "--no-dump-schema", "up"]


def _run_sqitch(program: str, options: Options, directory: Path) -> list[str]:
    peer_files.for_sqitch(_migrations(), directory)
    target = f"db:pg://{options['user']}@/{options['dbname']}?host={options['host']}&port={options['port']}"
    return [program, "--chdir", str(directory), "deploy", "--verify", "--target", target]


def _url(scheme: str, options: Options) -> str:
    place = f"localhost:{options['port']}/{options['dbname']}?host={options['host']}"
    return f"{scheme}://{options['user']}@{place}&sslmode=disable"


PEERS: dict[str, Peer] = {
    "psql": Peer(
        "psql", "make test  (psql comes with the embedded server of the locked requirements)", _psql, _run_psql
    ),
    "supabase": Peer("Supabase CLI", "make bench-peers", _npm("supabase"), _run_supabase),
    "dbmate": Peer("dbmate", "make bench-peers", _npm("dbmate"), _run_dbmate),
    "sqitch": Peer("sqitch", "apt-get install sqitch libdbd-pg-perl", lambda: shutil.which("sqitch"), _run_sqitch),
}
