"""Measure what the change log costs a statement of the application, as ratios in one run on a temporary server.

    python bench/change_log_cost.py [--postgres 17] [--rounds 300] [--audio-posts 20000]

Each statement runs in pairs, with and without the log (in a copy of the database), alternately; prints medians of the
pairs as one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ansible.module_utils

ROOT = Path(__file__).resolve().parent.parent
ansible.module_utils.__path__.append(str(ROOT / "module_utils"))
sys.path[:0] = [str(ROOT / "tests")]

from support.modules import run_module  # noqa: E402
from support.servers import application_session, connect, load_demo, query, running_server  # noqa: E402

TABLES = ("tracks", "posts", "comments", "playlists", "playlist_tracks")

INSERT = "INSERT INTO public.posts (id, user_id, content, post_type) VALUES ('{new}', '{user}', 'edit {round}', 'text')"
#: Name, statement, rounds as a share of --rounds. Each is one statement and one transaction.
STATEMENTS: list[tuple[str, str, float]] = [
    ("insert of one row", INSERT, 1.0),
    ("update of one row", "UPDATE public.posts SET content = 'edit {round}' WHERE id = '{new}'", 1.0),
    ("delete of one row", "DELETE FROM public.posts WHERE id = '{new}'", 1.0),
    (
        "update of 1000 rows",
        "UPDATE public.posts SET content = 'edit {round}' WHERE id = ANY (SELECT id FROM public.measured)",
        0.1,
    ),
]


def measure(execute: Callable[[str], Any], statement: str) -> float:
    """Return the milliseconds of one statement, including its commit."""
    start = time.perf_counter()
    execute(statement)
    return (time.perf_counter() - start) * 1000


def compare(
    sides: dict[str, Callable[[str], Any]], statements: list[tuple[str, str, float]], user: str, rounds: int
) -> list[dict[str, Any]]:
    """Run every statement on both sides alternately; the first side alternates too."""
    times: dict[str, dict[str, list[float]]] = {name: {side: [] for side in sides} for name, _, _ in statements}
    for number in range(rounds):
        new = f"00000000-0000-4000-9000-{number:012d}"
        order = list(sides.items())[:: 1 if number % 2 else -1]
        for name, statement, share in statements:
            if number % round(1 / share):
                continue
            text = statement.format(user=user, new=new, round=number)
            for side, execute in order:
                times[name][side].append(measure(execute, text))
    return [
        {
            "statement": name,
            "pairs": len(by_side["with_log"]),
            "without_log_ms": round(statistics.median(by_side["without_log"]), 4),
            "with_log_ms": round(statistics.median(by_side["with_log"]), 4),
            "ratio": round(statistics.median(by_side["with_log"]) / statistics.median(by_side["without_log"]), 3),
            "added_ms": round(
                statistics.median(a - b for a, b in zip(by_side["with_log"], by_side["without_log"], strict=True)),
                4,
            ),
        }
        for name, by_side in times.items()
    ]


def main() -> None:
    """Measure as the table's owner, and as a signed-in user under row-level security."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--postgres", type=int, default=17)
    parser.add_argument("--rounds", type=int, default=300)
    parser.add_argument("--audio-posts", type=int, default=20000)
    wanted = parser.parse_args()
    with running_server(wanted.postgres) as server:
        without = server.create_database()
        load_demo(without, audio_posts=wanted.audio_posts)
        query(without, "CREATE TABLE public.measured AS SELECT id FROM public.posts ORDER BY id LIMIT 1000")
        logged = server.create_database(str(without["dbname"]))
        made = run_module(
            "pg_change_log",
            connection=logged,
            tables=[{"table": f"public.{name}", "key": "id"} for name in TABLES],
            kept=[
                {"table": "public.posts", "kept_columns": ["post_type"]},
                {"table": "public.playlist_tracks", "kept_columns": ["playlist_id"]},
            ],
        )
        assert made["changed"], made["msg"]
        ((user,),) = query(without, "SELECT user_id::text FROM public.posts ORDER BY id LIMIT 1")
        results = {}
        for role, open_session, statements in (
            ("owner", connect, STATEMENTS),
            # Under row-level security, a user could change only some of the 1000 rows.
            ("authenticated", lambda options: application_session(options, user), STATEMENTS[:3]),
        ):
            with open_session(logged) as one, open_session(without) as other:
                sides = {"with_log": one.cursor().execute, "without_log": other.cursor().execute}
                compare(sides, statements, user, 20)  # warm: plans, caches
                results[role] = compare(sides, statements, user, wanted.rounds)
        ((rows, bytes_),) = query(
            logged, "SELECT count(*), pg_relation_size('migration_runbook.change') FROM migration_runbook.change"
        )
        print(
            json.dumps(
                {
                    "postgres": server.facts.get("version", server.major),
                    "cores": os.cpu_count(),
                    "load_average": os.getloadavg()[0],
                    "statements": results,
                    "log": {"rows": rows, "bytes_per_row": round(bytes_ / max(rows, 1), 1)},
                },
                indent=2,
            )
        )


if __name__ == "__main__":
    main()
