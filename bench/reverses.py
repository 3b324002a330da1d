"""Measure rollback.yml -e method=reverse relative to migrate.yml on the same rows.

Usage: python -m bench.reverses [--audio-posts 1000000] [--postgres 17] [--limit 1.0] [--output FILE]
Changes: a temporary server below /tmp; the output file.
Both are whole commands as an operator types them; the seconds of the migrations alone stand beside, with the steps that
took longest. Exit status 1 when the whole reverse takes longer than --limit times the whole way forward.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

from support.servers import Options, query, value

from bench.soak_stage import Operator, running_demo

COMMANDS = {
    "forward": ("migrate.yml",),
    "reverse": ("rollback.yml", "-e", "method=reverse", "-e", "rollback_application_stopped=true"),
}
DIRECTIONS = {"forward": "applied", "reverse": "reverted"}
LIMIT_SECONDS = 7200
STEPS = """
SELECT version, step_number, name, extract(epoch FROM finished_at - started_at)::float8, rows_moved
  FROM migration_runbook.step
 WHERE direction = %s AND kind <> 'ledger' AND finished_at IS NOT NULL
 ORDER BY 4 DESC
"""


def timed(operator: Operator, options: Options, name: str) -> dict[str, Any]:
    """Run a command, and read the times of its steps from the journal."""
    query(options, "CHECKPOINT")
    begun = time.monotonic()
    done = operator.finish(operator.start(*COMMANDS[name]), LIMIT_SECONDS)
    seconds = time.monotonic() - begun
    if done.status:
        raise RuntimeError(f"{name} failed:\n{done.screen[-4000:]}")
    steps = [dict(zip(("version", "step", "name", "seconds", "rows"), row, strict=True))
             for row in query(options, STEPS, (DIRECTIONS[name],))]  # fmt: skip
    found = {"seconds": seconds, "migrations_seconds": sum(step["seconds"] for step in steps), "steps": steps[:8]}
    print(
        f"{name}: {seconds:.1f} s, its migrations {found['migrations_seconds']:.1f} s; the longest steps:", flush=True
    )
    for step in steps[:6]:
        print(f"  {step['seconds']:.2f} s {step['version']} {step['step']} {step['name']}", flush=True)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--audio-posts", type=int, default=1000000)
    parser.add_argument("--postgres", type=int, default=17)
    parser.add_argument("--limit", type=float, default=1.0)
    parser.add_argument("--output", type=Path, default=Path("bench/results/reverses.json"))
    given = parser.parse_args()
    with running_demo(given.postgres, given.audio_posts) as (server, directory):
        superuser = server.superuser_options | {"dbname": server.options["dbname"]}
        operator = Operator(directory, server.options)
        posts = value(server.options, "SELECT count(*) FROM public.posts WHERE post_type = 'audio'")
        result = {"audio_posts": posts, **{name: timed(operator, superuser, name) for name in COMMANDS}}
    for kind in ("seconds", "migrations_seconds"):
        result[f"ratio_{kind}"] = round(result["reverse"][kind] / result["forward"][kind], 3)
    given.output.parent.mkdir(parents=True, exist_ok=True)
    given.output.write_text(json.dumps(result, indent=2, default=str) + "\n", encoding="utf-8")
    ratio = result["ratio_seconds"]
    print(f"{posts} audio posts: reverse / forward {ratio} (limit {given.limit}); migrations alone "
          f"{result['ratio_migrations_seconds']}")  # fmt: skip
    return 0 if ratio <= given.limit else 1


if __name__ == "__main__":
    sys.exit(main())
