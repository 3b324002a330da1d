"""A mixed application load on a database of the demo's schema (sql/demo), before, during or after its migration.

Usage: python -m bench.traffic --host DIRECTORY --dbname postgres --superuser supabase_admin --seconds 60
It ends after --seconds, when the file --until-file appears, or when told by SIGTERM or Ctrl-C, and writes its output.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

from .generator import Load, run


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.traffic", description=__doc__)
    parser.add_argument("--host", required=True, help="host name, or the directory of a Unix socket")
    parser.add_argument("--port", type=int, default=5432)
    parser.add_argument("--dbname", default="postgres")
    parser.add_argument("--superuser", default="supabase_admin", help="deletes accounts and looks at what is there")
    parser.add_argument("--login", default="authenticator", help="the role that the requests log in as")
    parser.add_argument("--rate", type=float, default=200, help="statements per second")
    parser.add_argument("--write-share", type=float, default=0.1, help="how many of the statements write, of 1")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--until-file", type=Path, help="end when this file exists")
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--output", type=Path, help="write the result here as JSON (default: standard output)")
    return parser.parse_args()


def main() -> int:
    given = arguments()
    told = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: told.set())
    result = run(
        Load(
            server={"host": given.host, "port": given.port, "dbname": given.dbname},
            superuser=given.superuser,
            login=given.login,
            rate=given.rate,
            write_share=given.write_share,
            seconds=given.seconds,
            connections=given.connections,
            seed=given.seed,
            until=lambda: told.is_set() or bool(given.until_file and given.until_file.exists()),
        )
    )
    write(result, given.output)
    return 0


def write(result: dict[str, Any], output: Path | None) -> None:
    """Write the result whole or not at all: somebody may be waiting for the file."""
    text = json.dumps(result, indent=1, default=str) + "\n"
    if output is None:
        sys.stdout.write(text)
        return
    draft = output.with_name(output.name + ".new")
    draft.write_text(text, encoding="utf-8")
    os.replace(draft, output)


if __name__ == "__main__":
    raise SystemExit(main())
