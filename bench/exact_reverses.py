"""Check that a reverse is exact with a table that references tracks: no created track is left, no row is lost.

Usage: python -m bench.exact_reverses [--audio-posts 5000] [--reverses 20] [--workers 4] [--postgres 17]
Changes: a temporary server below /tmp.
Half of the reverses find an empty table, half one with rows that reference created tracks. Those must be refused while
the rows exist; after their deletion the reverse continues. Uses pg_migration without playbooks. Exit status 1 if a
created track is left, a row is lost, or a reverse that must be refused is not.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

from ansible.module_utils.runbook.plan.loader import load_plan
from support.modules import run_module
from support.servers import Options, load_demo, query, running_server, value

from . import REPOSITORY

ROWS = 500
TABLE = "CREATE TABLE public.saved_tracks (track_id uuid REFERENCES public.tracks ON DELETE CASCADE)"
FILL = (
    "INSERT INTO public.saved_tracks SELECT t.id FROM public.tracks AS t JOIN public.posts AS p ON p.id = t.id"
    " ORDER BY t.id LIMIT %s"
)
LEFT = "SELECT count(*) FROM public.tracks WHERE id <> ALL (%s::uuid[])"
SAVED = "SELECT count(*) FROM public.saved_tracks"
PLAN: dict[str, Any] = load_plan(str(REPOSITORY / "sql" / "tracks_posts_separation"))
VERSIONS = [migration["version"] for migration in PLAN["migrations"]]


def migrate(options: Options, version: str, state: str, workers: int) -> dict[str, Any]:
    return run_module(
        "pg_migration",
        connection=dict(options),
        plan=PLAN,
        version=version,
        state=state,
        plan_settings={"migrated_tracks_are_public": True},
        limits={"workers": workers},
    )


def reverse(options: Options, workers: int) -> str:
    """Reverse every applied migration, and return why it stopped, or an empty text."""
    for version in reversed(VERSIONS):
        done = migrate(options, version, "reverted", workers)
        if done["failed"]:
            return str(done["msg"])
    return ""


def one(options: Options, uploads: list[str], workers: int, *, filled: bool) -> tuple[str, bool]:
    """Reverse a migrated database, and return a line about it and whether it was exact."""
    query(options, TABLE)
    refused, lost = "", 0
    if filled:
        query(options, FILL, (ROWS,))
        before = value(options, SAVED)
        refused = reverse(options, workers)
        lost = before - value(options, SAVED)
        query(options, "DELETE FROM public.saved_tracks")
    stopped = reverse(options, workers)
    left = value(options, LEFT, (uploads,))
    exact = not (left or lost or stopped) and bool(refused) == filled
    said = f"created tracks left {left}, rows lost {lost}" + (", refused while it had rows" if refused else "")
    return said + (f"; stopped: {stopped}" if stopped else ""), exact


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--audio-posts", type=int, default=5000)
    parser.add_argument("--reverses", type=int, default=20)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--postgres", type=int, default=17)
    given = parser.parse_args()
    all_exact = True
    with running_server(given.postgres) as server:
        template = server.create_database()
        load_demo(template, given.audio_posts)
        uploads = [str(track) for (track,) in query(template, "SELECT id FROM public.tracks")]
        for version in VERSIONS:
            done = migrate(template, version, "applied", given.workers)
            if done["failed"]:
                raise RuntimeError(done["msg"])
        made = value(template, LEFT, (uploads,))
        print(f"{given.audio_posts} audio posts, {made} tracks made, {given.workers} workers", flush=True)
        for number in range(given.reverses):
            options = server.create_database(str(template["dbname"]))
            filled = number % 2 == 1
            said, exact = one(options, uploads, given.workers, filled=filled)
            all_exact = all_exact and exact
            kind = f"{ROWS} rows" if filled else "empty table"
            print(f"{number + 1:3} {kind}: {said}", flush=True)
            server.drop_database(options)
    print("every reverse was exact" if all_exact else "NOT every reverse was exact")
    return 0 if all_exact else 1


if __name__ == "__main__":
    sys.exit(main())
